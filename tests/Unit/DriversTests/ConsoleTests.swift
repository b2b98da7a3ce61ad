// SPDX-License-Identifier: Apache-2.0
// ConsoleTests.swift: the console driver against a made-up device, honest and lying.

import Testing

@testable import ApusDrivers

@Suite struct ConsoleStartTests {
  @Test(arguments: Reach.allCases)
  func `opens port 1 with the modern interface in the order of the standard`(reach: Reach) throws {
    let board = board(reach)
    let console = try #require(find(board))
    #expect(!console.isBroken)
    #expect(board.console.statusHistory == [0, 1, 3, 11, 15])
    #expect(board.console.driverFeatures == 1 << 32 | 1 << 1)
    #expect(board.console.openPorts == [1])
    #expect(board.console.queues.allSatisfy { $0.isReady && $0.size == 16 })
    #expect(board.console.queues[4].notifications == 1)
  }

  @Test(arguments: Reach.allCases)
  func `a device with one port is used through queues 0 and 1`(reach: Reach) throws {
    let board = board(reach)
    board.console.features = 1 << 32 | 1
    let console = try #require(find(board))
    #expect(board.console.driverFeatures == 1 << 32)
    #expect(board.console.queues.map { $0.isReady } == [true, true, false, false, false, false])
    _ = try #require(console.beginOutput())
    #expect(console.send(header: 7, count: 0))
    #expect(board.console.takeAll(1) == [[7, 0, 0, 0]])
  }

  @Test(arguments: Reach.allCases)
  func `port 0 is taken if it is the one there is`(reach: Reach) {
    let board = board(reach)
    board.console.ports = [9, 0]
    #expect(find(board) != nil)
    #expect(board.console.openPorts == [0])
  }

  @Test(arguments: Reach.allCases)
  func `refuses a device without the modern interface and tells it`(reach: Reach) {
    let board = board(reach)
    board.console.features = 1 << 1
    #expect(find(board) == nil)
    #expect(board.console.status & 128 != 0)
  }

  @Test(arguments: Reach.allCases)
  func `refuses a device that does not accept the features`(reach: Reach) {
    let board = board(reach)
    board.console.refusesFeatures = true
    #expect(find(board) == nil)
    #expect(board.console.status & 128 != 0)
  }

  @Test(arguments: Reach.allCases)
  func `refuses a device whose queues are too small and resets it`(reach: Reach) {
    let board = board(reach)
    board.console.queueLimit = 8
    #expect(find(board) == nil)
    #expect(board.console.status == 0)
  }

  @Test(arguments: Reach.allCases)
  func `gives up on a device that does not reset`(reach: Reach) {
    let board = board(reach)
    board.console.setStatus(1)
    board.console.neverResets = true
    #expect(find(board) == nil)
    #expect(board.console.openPorts.isEmpty)
  }

  @Test func `nothing is found where nothing is`() {
    #expect(find(FakeBoard(frameCount: VirtioConsole<FakeBoard>.frameCount)) == nil)
  }
}

@Suite struct ConsoleOutputTests {
  @Test(arguments: Reach.allCases)
  func `a record arrives as header and payload`(reach: Reach) throws {
    let board = board(reach)
    let console = try #require(find(board))
    let address = try #require(console.beginOutput())
    board.memory.store(address, Array("hello".utf8))
    #expect(console.send(header: 0x0005_0201, count: 5))
    #expect(board.console.queues[5].notifications == 1)
    #expect(board.console.takeAll(5) == [[1, 2, 5, 0] + Array("hello".utf8)])
  }

  @Test func `records of every size keep apart and in order`() throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    for round in 0..<200 {
      var expected: [[UInt8]] = []
      for index in 0...(round % 16) {
        let count = (round * 331 + index * 1021) % 4097
        let address = try #require(console.beginOutput())
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ round) }
        board.memory.store(address, bytes)
        #expect(console.send(header: UInt32(count) << 16 | 1, count: count))
        expected.append([1, 0, UInt8(count & 255), UInt8(count >> 8)] + bytes)
      }
      #expect(board.console.takeAll(5) == expected)
    }
  }

  @Test func `sends nothing that was not begun or is too long`() throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    #expect(!console.send(header: 0, count: 0))
    _ = try #require(console.beginOutput())
    #expect(!console.send(header: 0, count: 4097))
    #expect(!console.send(header: 0, count: -1))
    #expect(console.send(header: 0, count: 4096))
    #expect(!console.send(header: 0, count: 0))
    #expect(board.console.takeAll(5).count == 1)
  }

  @Test func `beginning twice gives the same buffer`() throws {
    let console = try #require(find(board(.mmio)))
    #expect(console.beginOutput() == console.beginOutput())
  }

  @Test(arguments: Reach.allCases)
  func `without room it asks for an interrupt and says when there is room`(reach: Reach) throws {
    let board = board(reach)
    let console = try #require(find(board))
    for _ in 0..<16 {
      _ = try #require(console.beginOutput())
      #expect(console.send(header: 0, count: 1))
      #expect(!board.console.wantsInterrupts(5))
    }
    #expect(console.beginOutput() == nil)
    #expect(board.console.wantsInterrupts(5))
    #expect(console.acknowledgeInterrupt().outputFreed == false)
    #expect(board.console.wantsInterrupts(5))
    #expect(board.console.takeAll(5).count == 16)
    #expect(console.acknowledgeInterrupt().outputFreed)
    #expect(!board.console.wantsInterrupts(5))
    #expect(console.beginOutput() != nil)
  }

  @Test func `buffers that come back in another order are used again`() throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    for index in 0..<16 {
      _ = try #require(console.beginOutput())
      #expect(console.send(header: UInt32(index), count: 0))
    }
    let held = board.console.hold(5)
    for record in held.reversed().prefix(3) {
      board.console.giveBack(5, slot: UInt32(record.slot), count: 0)
    }
    for _ in 0..<3 {
      _ = try #require(console.beginOutput())
      #expect(console.send(header: 99, count: 0))
    }
    #expect(console.beginOutput() == nil)
    #expect(Set(board.console.hold(5).map { $0.slot }) == [13, 14, 15])
  }

  @Test func `draining ends when all was taken, and is bounded when it never is`() throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    #expect(console.drainOutput(polls: 1))
    #expect(!console.awaitOutput())
    _ = try #require(console.beginOutput())
    #expect(console.send(header: 0, count: 3))
    #expect(!console.drainOutput(polls: 1000))
    #expect(console.awaitOutput())
    #expect(board.console.wantsInterrupts(5))
    _ = board.console.takeAll(5)
    #expect(!console.awaitOutput())
    #expect(console.drainOutput(polls: 1))
  }
}

@Suite struct ConsoleInputTests {
  @Test(arguments: Reach.allCases)
  func `input is shown until it is consumed and its buffers go back`(reach: Reach) throws {
    let board = board(reach)
    let console = try #require(find(board))
    #expect(console.arrivedInput() == nil)
    #expect(!console.acknowledgeInterrupt().inputArrived)
    #expect(board.console.fill(4, Array("abcdef".utf8)))
    #expect(console.acknowledgeInterrupt().inputArrived)
    let first = try #require(console.arrivedInput())
    #expect(board.memory.load(first.address, first.count) == Array("abcdef".utf8))
    console.consumeInput(2)
    #expect(console.acknowledgeInterrupt().inputArrived)
    let rest = try #require(console.arrivedInput())
    #expect(board.memory.load(rest.address, rest.count) == Array("cdef".utf8))
    let notifications = board.console.queues[4].notifications
    console.consumeInput(100)
    #expect(board.console.queues[4].notifications == notifications + 1)
    #expect(console.arrivedInput() == nil)
    console.consumeInput(1)
    #expect(board.console.queues[4].notifications == notifications + 1)
  }

  @Test func `sixteen buffers of a page each hold input, again and again`() throws {
    let board = board(.pci)
    let console = try #require(find(board))
    for round in 0..<50 {
      for index in 0..<16 {
        #expect(board.console.fill(4, [UInt8](repeating: UInt8(round ^ index), count: 4096)))
      }
      #expect(!board.console.fill(4, [1]))
      for index in 0..<16 {
        let piece = try #require(console.arrivedInput())
        #expect(piece.count == 4096)
        #expect(board.memory.load(piece.address, 1) == [UInt8(round ^ index)])
        console.consumeInput(piece.count)
      }
      #expect(console.arrivedInput() == nil)
    }
  }

  @Test func `an empty buffer is given back unseen`() throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    #expect(board.console.fill(4, []))
    #expect(board.console.fill(4, [1, 2]))
    #expect(console.arrivedInput()?.count == 2)
  }
}

@Suite struct ConsoleDistrustTests {
  private func expectSwitchedOff(_ console: ConsoleUnderTest, _ board: FakeBoard) {
    #expect(console.isBroken)
    #expect(board.console.status == 0)
    #expect(console.beginOutput() == nil)
    #expect(console.arrivedInput() == nil)
    #expect(!console.send(header: 0, count: 0))
    #expect(!console.awaitOutput())
    #expect(!console.drainOutput(polls: 10))
    #expect(
      console.acknowledgeInterrupt() == ConsoleEvents(inputArrived: false, outputFreed: false))
  }

  @Test func `more input than a buffer holds is cut to the buffer`() throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    board.console.giveBack(4, slot: 0, count: 0x7fff_ffff)
    #expect(console.arrivedInput()?.count == 4096)
  }

  @Test(arguments: [16, 0xffff, 0xffff_ffff] as [UInt32])
  func `an input slot that does not exist switches it off`(slot: UInt32) throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    board.console.giveBack(4, slot: slot, count: 1)
    #expect(console.arrivedInput() == nil)
    expectSwitchedOff(console, board)
  }

  @Test func `an output slot given back twice switches it off`() throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    for _ in 0..<2 {
      _ = try #require(console.beginOutput())
      #expect(console.send(header: 0, count: 0))
    }
    board.console.giveBack(5, slot: 0, count: 0)
    board.console.giveBack(5, slot: 0, count: 0)
    #expect(!console.awaitOutput())
    expectSwitchedOff(console, board)
  }

  @Test func `an output slot that is not in flight switches it off`() throws {
    let board = board(.pci)
    let console = try #require(find(board))
    _ = try #require(console.beginOutput())
    #expect(console.send(header: 0, count: 0))
    board.console.giveBack(5, slot: 1, count: 0)
    #expect(!console.awaitOutput())
    expectSwitchedOff(console, board)
  }

  @Test(arguments: [17, 0x8000, 0xffff] as [UInt64])
  func `nothing is believed of a device whose used index runs ahead`(index: UInt64) throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    #expect(board.console.fill(4, [1]))
    board.memory.setNumber(board.console.queues[4].used + 2, 2, index)
    #expect(console.arrivedInput() == nil)
    expectSwitchedOff(console, board)
  }

  @Test(arguments: [2, 17, 0x8000, 0xffff] as [UInt64])
  func `a used index that runs ahead switches it off`(index: UInt64) throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    _ = try #require(console.beginOutput())
    #expect(console.send(header: 0, count: 0))
    board.memory.setNumber(board.console.queues[5].used + 2, 2, index)
    #expect(!console.drainOutput(polls: 10))
    expectSwitchedOff(console, board)
  }
}
