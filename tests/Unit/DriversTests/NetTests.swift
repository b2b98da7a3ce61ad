// SPDX-License-Identifier: Apache-2.0
// NetTests.swift: the network card's driver against a made-up device, honest and lying.

import Testing

@testable import ApusDrivers

/// Memory behind the driver's own, for packets' parts.
private let spare = FakeMemory.start + UInt64(VirtioNet<FakeBoard>.frameCount) * 4096

private func part(_ offset: UInt64, _ count: Int) -> PhysicalBytes {
  PhysicalBytes(address: spare + offset, count: count)
}

/// A machine with a network card.
private func netBoard(_ reach: Reach = .mmio) -> FakeBoard {
  let board = FakeBoard(frameCount: VirtioNet<FakeBoard>.frameCount + 4)
  board.deviceKind = 1
  board.ownConfiguration = [0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0]
  board.console.features = 1 << 32 | 1 << 5 | 1 << 15 | 0b11
  board.console.queueLimit = 256
  switch reach {
  case .mmio: board.mmioBase = 0xfeb0_0e00
  case .pci: board.plugIntoPCI(deviceNumber: 0x1041)
  }
  return board
}

private func findNet(_ board: FakeBoard) -> NetUnderTest? {
  let card = VirtioNetCard(
    access: board, interrupt: InterruptTarget(vector: 0x24, processor: 5), commandLine: { _ in 0 })
  return card.flatMap { VirtioNet($0, memory: FakeMemory.start) }.map(NetUnderTest.init)
}

/// The driver, shared: an expectation cannot change a variable.
private final class NetUnderTest {
  var driver: VirtioNet<FakeBoard>

  init(_ driver: VirtioNet<FakeBoard>) { self.driver = driver }

  func takeReceived() -> ReceivedPacket? { driver.takeReceived() }
  func giveBack(_ packet: ReceivedPacket) {
    driver.giveBack(packet)
    driver.announceBuffers()
  }
  func takeTransmitted() -> UInt16? { driver.takeTransmitted() }

  /// Sends a packet; false without a vacant slot.
  func send(_ board: FakeBoard, header: [UInt8], runs: [PhysicalBytes] = []) -> Bool {
    guard let slot = driver.vacantTransmitSlot else { return false }
    board.memory.store(driver.headerAddress(slot), header)
    for (index, run) in runs.enumerated() {
      driver.setRun(
        slot, UInt16(index), address: run.address, count: UInt32(run.count), isLast: index == runs.count - 1)
    }
    driver.send(slot, headerCount: header.count, hasRuns: !runs.isEmpty)
    driver.announceTransmissions()
    return true
  }
}

private let prefix = [UInt8](repeating: 0, count: 12)

@Suite struct NetStartTests {
  @Test(arguments: Reach.allCases)
  func `agrees on plain packets, in the order of the standard`(reach: Reach) throws {
    let board = netBoard(reach)
    let net = try #require(findNet(board))
    #expect(board.console.statusHistory == [0, 1, 3, 11, 15])
    #expect(board.console.driverFeatures == 1 << 32 | 1 << 5)
    #expect(board.console.queues.map { $0.isReady } == [true, true, false, false, false, false])
    #expect(board.console.queues[0].size == 256 && board.console.queues[1].size == 256)
    #expect(board.console.queues[0].notifications == 1)
    #expect(net.driver.address == 0x5634_1200_5452)
  }

  @Test func `a card without an address has none`() throws {
    let board = netBoard()
    board.console.features = 1 << 32
    #expect(try #require(findNet(board)).driver.address == 0)
  }

  @Test(arguments: Reach.allCases)
  func `cards that cannot be driven are refused and left in peace`(reach: Reach) {
    let small = netBoard(reach)
    small.console.queueLimit = 128
    #expect(findNet(small) == nil)
    #expect(small.console.status == 0)
    let old = netBoard(reach)
    old.console.features = 1 << 5
    #expect(findNet(old) == nil)
    #expect(old.console.status & 128 != 0)
  }

  @Test func `a console is no card`() {
    let board = FakeBoard(frameCount: 1)
    board.mmioBase = 0xfeb0_0e00
    #expect(findNet(board) == nil)
    #expect(board.console.statusHistory.isEmpty)
  }
}

@Suite struct NetReceiveTests {
  @Test(arguments: Reach.allCases)
  func `packets arrive in order, and their buffers are used again and again`(reach: Reach) throws {
    let board = netBoard(reach)
    let net = try #require(findNet(board))
    #expect(!net.driver.hasWork)
    for round in 0..<5 {
      for index in 0..<256 {
        let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: round + index), count: 60 + index)
        #expect(board.console.fill(0, prefix + bytes))
      }
      #expect(!board.console.fill(0, prefix))
      #expect(net.driver.hasWork)
      for index in 0..<256 {
        let packet = try #require(net.takeReceived())
        #expect(packet.count == 60 + index)
        #expect(board.memory.load(packet.address, 2) == [UInt8](repeating: UInt8((round + index) & 255), count: 2))
        net.giveBack(packet)
      }
      #expect(net.takeReceived() == nil)
    }
  }

  @Test func `a buffer is not given back twice`() throws {
    let board = netBoard()
    let net = try #require(findNet(board))
    #expect(board.console.fill(0, prefix + [1, 2, 3]))
    let packet = try #require(net.takeReceived())
    #expect(packet.count == 3)
    net.giveBack(packet)
    net.giveBack(packet)
    for _ in 0..<256 { #expect(board.console.fill(0, prefix)) }
    #expect(!board.console.fill(0, prefix))
  }

  @Test(arguments: [(0, 11), (0, 2049), (256, 60), (3, 60)])
  func `a device that lies about a packet is switched off`(slot: UInt32, count: Int) throws {
    let board = netBoard()
    let net = try #require(findNet(board))
    if slot == 3 { for _ in 0..<4 { _ = board.console.fill(0, prefix) } }
    if slot == 3 { for _ in 0..<4 { #expect(net.takeReceived() != nil) } }
    board.console.giveBack(0, slot: slot, count: count)
    #expect(net.takeReceived() == nil)
    #expect(net.driver.isBroken)
    #expect(board.console.status == 0)
    #expect(!net.driver.hasWork && net.driver.vacantTransmitSlot == nil)
  }
}

@Suite struct NetTransmitTests {
  @Test(arguments: Reach.allCases)
  func `a packet leaves as prefix, header and parts`(reach: Reach) throws {
    let board = netBoard(reach)
    let net = try #require(findNet(board))
    board.memory.store(spare, Array("payload, in two parts".utf8))
    #expect(net.send(board, header: [UInt8](1...20)))
    #expect(net.send(board, header: [9, 8], runs: [part(0, 7), part(9, 12)]))
    let sent = board.console.holdChains(1)
    #expect(
      sent.map { $0.parts } == [
        [prefix + [UInt8](1...20)], [prefix + [9, 8], Array("payload".utf8), Array("in two parts".utf8)],
      ])
    #expect(net.takeTransmitted() == nil)
    for chain in sent.reversed() { board.console.giveBack(1, slot: UInt32(chain.head), count: 0) }
    #expect(net.takeTransmitted() == 1)
    #expect(net.takeTransmitted() == 0)
    #expect(net.takeTransmitted() == nil)
  }

  @Test func `sixty-four packets are on their way, and not one more`() throws {
    let board = netBoard()
    let net = try #require(findNet(board))
    for round in 0..<4 {
      for index in 0..<64 {
        #expect(net.send(board, header: [UInt8(index), UInt8(round)], runs: [part(0, 1), part(0, 2), part(0, 3)]))
      }
      #expect(!net.send(board, header: [1]))
      #expect(net.driver.transmitting == 64)
      let sent = board.console.holdChains(1)
      #expect(sent.map { $0.parts[0].suffix(2) } == (0..<64).map { [UInt8($0), UInt8(round)] })
      for chain in sent { board.console.giveBack(1, slot: UInt32(chain.head), count: 0) }
      for _ in 0..<64 { #expect(net.takeTransmitted() != nil) }
    }
  }

  @Test func `a device that says so is not told of packets, and is asked for no interrupts`() throws {
    let board = netBoard()
    let net = try #require(findNet(board))
    board.memory.setNumber(board.console.queues[1].used, 2, 1)
    #expect(net.send(board, header: [1]))
    #expect(board.console.queues[1].notifications == 0)
    board.memory.setNumber(board.console.queues[1].used, 2, 0)
    #expect(net.send(board, header: [1]))
    #expect(board.console.queues[1].notifications == 1)
    #expect(board.console.wantsInterrupts(0) && board.console.wantsInterrupts(1))
    net.driver.setInterrupts(false)
    #expect(!board.console.wantsInterrupts(0) && !board.console.wantsInterrupts(1))
  }

  @Test(arguments: [1, 4, 256] as [UInt32])
  func `when a device gives back what it has not got, all memory comes back once it is off`(head: UInt32) throws {
    let board = netBoard()
    let net = try #require(findNet(board))
    #expect(net.send(board, header: [1]) && net.send(board, header: [2]) && net.send(board, header: [3]))
    _ = board.console.holdChains(1)
    board.console.giveBack(1, slot: 8, count: 0)
    #expect(net.takeTransmitted() == 2)
    board.console.giveBack(1, slot: head == 4 ? 8 : head, count: 0)
    #expect(net.takeTransmitted() == nil)
    #expect(net.driver.isBroken && board.console.status == 0)
    #expect(net.takeTransmitted() == 0)
    #expect(net.takeTransmitted() == 1)
    #expect(net.takeTransmitted() == nil)
  }

  @Test func `a device that does not obey keeps its memory`() throws {
    let board = netBoard()
    let net = try #require(findNet(board))
    #expect(net.send(board, header: [1]))
    _ = board.console.holdChains(1)
    board.console.neverResets = true
    board.console.giveBack(1, slot: 99, count: 0)
    #expect(net.takeTransmitted() == nil)
    #expect(net.driver.isBroken)
    #expect(net.takeTransmitted() == nil)
    #expect(net.driver.transmitting == 1)
  }
}
