// SPDX-License-Identifier: Apache-2.0
// DiscoveryTests.swift: where devices are looked for, and where their interrupts are sent.

import Testing

@testable import ApusDrivers

/// The slots that a command line declares.
private func slots(_ line: String) -> [VirtioSlot] {
  let characters = Array(line.utf8)
  var declared = DeclaredSlots()
  var result: [VirtioSlot] = []
  while let slot = declared.next(in: { $0 < characters.count ? characters[$0] : 0 }) {
    result.append(slot)
  }
  return result
}

@Suite struct DeclaredSlotsTests {
  @Test func `slots stand among other words`() {
    #expect(
      slots("a=1 virtio_mmio.device=512@0xfeb00e00:12 b virtio_mmio.device=4K@4272950784:0x2f") == [
        VirtioSlot(base: 0xfeb0_0e00, line: 12), VirtioSlot(base: 0xfeb0_0e00, line: 47),
      ])
  }

  @Test(arguments: [
    "", " ", "virtio_mmio.device=", "virtio_mmio.device=512", "virtio_mmio.device=512@",
    "virtio_mmio.device=512@0x", "virtio_mmio.device=512@0x:1", "virtio_mmio.device=512@0x10",
    "virtio_mmio.device=512@0x10:", "virtio_mmio.device=512@0x10:x",
    "virtio_mmio.device=512@0x10000000000000000:1", "virtio_mmio.device=512@0x10:4294967296",
    "xvirtio_mmio.device=512@0x10:1", "virtio_mmio.device=512 @0x10:1",
  ])
  func `what has not the form is passed over`(line: String) {
    #expect(slots(line) == [])
    #expect(slots(line + " virtio_mmio.device=1@2:3") == [VirtioSlot(base: 2, line: 3)])
  }

  @Test func `a line without an end is read to a limit`() {
    var declared = DeclaredSlots()
    let slot = declared.next(in: { _ in 0x61 })
    #expect(slot == nil)
  }
}

@Suite struct MMIODiscoveryTests {
  @Test func `a declared slot is used with its line`() throws {
    let board = board(.mmio)
    let line = "virtio_mmio.device=512@0xfeb00000:3 virtio_mmio.device=512@0xfeb00e00:12"
    _ = try #require(find(board, commandLine: line))
    #expect(board.redirections == [12: 5 << 56 | 0x21])
  }

  @Test func `only declared slots are tried when some are`() {
    let board = board(.mmio)
    #expect(find(board, commandLine: "virtio_mmio.device=512@0xfeb00000:5") == nil)
    #expect(board.strayReads == [0xfeb0_0000])
  }

  @Test(arguments: [(1, 7, 23), (1, 0, 16), (2, 7, 31), (2, 23, 47)])
  func `customary slots have customary lines`(controllers: Int, slot: UInt64, line: Int) throws {
    let board = board(.mmio)
    board.controllerCount = controllers
    board.mmioBase = 0xfeb0_0000 + slot * 512
    _ = try #require(find(board))
    #expect(board.redirections == [line: 5 << 56 | 0x21])
  }

  @Test func `the legacy layout is refused`() {
    let board = board(.mmio)
    board.mmioVersion = 1
    #expect(find(board) == nil)
    #expect(board.console.statusHistory.isEmpty)
  }

  @Test(arguments: [24, 48, 4_000_000_000])
  func `a line that no controller has is refused`(line: Int) {
    let board = board(.mmio)
    #expect(find(board, commandLine: "virtio_mmio.device=512@0xfeb00e00:\(line)") == nil)
    #expect(board.redirections.isEmpty)
  }

  @Test(arguments: [0x1000, 0xffff_ff80, 0xffff_ffff_ffff_ff00] as [UInt64])
  func `registers outside the kernel's reach are not touched`(base: UInt64) {
    let board = board(.mmio)
    let address = String(base, radix: 16)
    #expect(find(board, commandLine: "virtio_mmio.device=512@0x\(address):5") == nil)
    #expect(board.strayReads.isEmpty)
  }

  @Test func `an interrupt is acknowledged by exactly the bits that were up`() throws {
    let board = board(.mmio)
    let console = try #require(find(board))
    board.interruptStatus = 3
    _ = console.acknowledgeInterrupt()
    #expect(board.interruptsAcknowledged == 3)
    #expect(board.interruptStatus == 0)
  }
}

@Suite struct PCIDiscoveryTests {
  @Test(arguments: [0x1003, 0x1043] as [UInt32])
  func `both device numbers are known, behind a function of several`(number: UInt32) throws {
    let board = FakeBoard(frameCount: VirtioConsole<FakeBoard>.frameCount)
    board.plugIntoPCI(deviceNumber: number)
    _ = try #require(find(board))
    #expect(board.configuration(33, 4) & 0x406 == 0x406)
    #expect(board.configuration(33, 0x98) >> 30 == 0b10)
    #expect(board.messageTable == [0xfee0_5000, 0, 0x21, 0])
    #expect(board.console.queues.allSatisfy { $0.vector == 0 })
  }

  @Test func `where there is PCI no other address is probed`() {
    let board = FakeBoard(frameCount: VirtioConsole<FakeBoard>.frameCount)
    board.plugIntoPCI(deviceNumber: 0x1041)
    board.mmioBase = 0xfeb0_0000
    #expect(find(board) == nil)
    #expect(board.strayReads.isEmpty)
    #expect(board.console.statusHistory.isEmpty)
  }

  @Test func `a device without vectors is refused`() {
    let board = board(.pci)
    board.console.hasVectors = false
    #expect(find(board) == nil)
    #expect(board.console.status == 0)
  }

  /// What makes a function's description unusable: an offset in configuration space and its value.
  @Test(arguments: [
    (0x20, 0),  // BAR 4 empty
    (0x20, 0xfe00_0001),  // ports
    (0x20, 0x2000_0008),  // below the kernel's reach
    (0x24, 1),  // above it
    (0x54, 6),  // a BAR that does not exist
    (0x54, 5),  // one that is empty
    (0x58, 0xffff_fff0),  // past its end
    (0x5c, 0x37),  // too short
    (0x7c, 1),  // doorbells too short
    (0x7c, 0x15),  // by one byte for the last queue
    (0x80, 0xffff_ffff),  // doorbells too far apart
    (0x04, 0),  // no capabilities
    (0x34, 0x70),  // list without the common registers
    (0x98, 0x11 | 0x98 << 8),  // list that ends in a circle
    (0x9c, 0x2007),  // vectors in a BAR that does not exist
  ])
  func `a damaged description is refused`(offset: Int, value: UInt32) {
    let board = board(.pci)
    board.setConfiguration(33, offset, value)
    #expect(find(board) == nil)
    #expect(board.strayReads.isEmpty)
  }
}
