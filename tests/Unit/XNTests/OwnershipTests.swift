// SPDX-License-Identifier: Apache-2.0
// OwnershipTests.swift: what XN accepts and refuses, call by call.

import ApusBPF
import ApusBPFTools
import Testing

@testable import ApusXN

@Suite("XN's proofs")
struct OwnershipTests {
  private let disk: SimulatedDisk
  private var xn: XN<SimulatedDisk>

  init() throws {
    disk = try SimulatedDisk(blockCount: 400)
    xn = XN(memory: disk)
  }

  private mutating func refused(_ expected: XNError, _ body: (inout XN<SimulatedDisk>) throws(XNError) -> Void) {
    let before = (0..<disk.blockCount).map { disk.contents[Int($0)] }
    #expect(throws: expected) { try body(&xn) }
    #expect((0..<disk.blockCount).map { disk.contents[Int($0)] } == before)
  }

  @Test
  func programsPassTheVerifier() throws {
    for (_, programs) in disk.programs {
      for (index, program) in programs.enumerated() {
        let kind = try #require(TemplateProgram(rawValue: UInt8(index)))
        let verification = Verification(program, for: .template(kind))
        #expect(verification.verdict != nil, "\(String(describing: verification.rule)) \(verification.registers)")
      }
    }
  }

  @Test
  mutating func onlyWhatIsProvenIsAllocated() throws {
    let layout = Layout.forward
    _ = try xn.addRoot(100, type: 1, name: 7, isTemporary: false)
    _ = try xn.addRoot(101, type: 2, name: 8, isTemporary: false)
    let extent = Extent(first: 200, count: 3, type: 0)
    try xn.allocate(extent, for: 100, layout.change(0, to: extent))
    #expect(disk[200].state == .owned && disk[201].state == .part && disk[200].parent == 100)
    // One of two told twice in place of the other: as many as before, all its own.
    let second = Extent(first: 230, count: 1, type: 0)
    try xn.allocate(second, for: 100, layout.change(5, to: second))
    refused(.wrongOwnership) { xn throws(XNError) in try xn.modify(100, layout.change(5, to: extent)) }
    let other = Extent(first: 210, count: 1, type: 0)
    // Another extent than claimed; none; the claim and one more; a count that is not the claim's.
    refused(.wrongOwnership) { xn throws(XNError) in
      try xn.allocate(other, for: 100, layout.change(1, to: Extent(first: 211, count: 1, type: 0)))
    }
    refused(.wrongOwnership) { xn throws(XNError) in try xn.allocate(other, for: 100, Changes()) }
    refused(.wrongOwnership) { xn throws(XNError) in
      try xn.allocate(
        other, for: 100, layout.change(1, to: other) + layout.change(2, to: Extent(first: 212, count: 1, type: 0)))
    }
    refused(.wrongOwnership) { xn throws(XNError) in
      try xn.allocate(other, for: 100, layout.change(1, to: Extent(first: 210, count: 2, type: 0)))
    }
    // The claim and, hidden in it, the loss of what it has.
    refused(.wrongOwnership) { xn throws(XNError) in try xn.allocate(other, for: 100, layout.change(0, to: other)) }
    // The same twice; a part of it; somebody else's; the catalogue; beyond the end.
    refused(.wrongOwnership) { xn throws(XNError) in try xn.modify(100, layout.change(1, to: extent)) }
    refused(.wrongOwnership) { xn throws(XNError) in
      try xn.modify(100, layout.change(1, to: Extent(first: 201, count: 1, type: 0)))
    }
    refused(.notFree) { xn throws(XNError) in
      try xn.allocate(extent, for: 101, Layout.backward.change(0, to: extent))
    }
    refused(.wrongOwnership) { xn throws(XNError) in try xn.modify(101, Layout.backward.change(0, to: extent)) }
    let catalogue = Extent(first: 0, count: 1, type: 0)
    refused(.notFree) { xn throws(XNError) in
      try xn.allocate(catalogue, for: 101, Layout.backward.change(0, to: catalogue))
    }
    let beyond = Extent(first: 399, count: 2, type: 0)
    refused(.invalid) { xn throws(XNError) in try xn.allocate(beyond, for: 101, Layout.backward.change(0, to: beyond)) }
    // Of a template that says no, or is not there; metadata of two blocks; for what is no metadata.
    refused(.refusedByTemplate) { xn throws(XNError) in
      try xn.modify(100, layout.change(3, to: Extent(first: 220, count: 0, type: 0)))
    }
    refused(.invalid) { xn throws(XNError) in
      try xn.allocate(
        Extent(first: 220, count: 1, type: 9), for: 100, layout.change(3, to: Extent(first: 220, count: 1, type: 9)))
    }
    refused(.invalid) { xn throws(XNError) in
      try xn.allocate(
        Extent(first: 220, count: 2, type: 1), for: 100, layout.change(3, to: Extent(first: 220, count: 2, type: 1)))
    }
    refused(.notMetadata) { xn throws(XNError) in try xn.modify(200, Changes(list: [(0, 1)])) }
    refused(.invalid) { xn throws(XNError) in try xn.modify(100, Changes(list: [(4096, 1)])) }
    // What owns nothing is the file system's own business.
    try xn.modify(100, Changes(list: [(9, 1), (4000, 2)]))
    #expect(disk.contents[100][4000] == 2)
  }

  @Test
  mutating func aLyingOrEndlessTemplateIsCaught() throws {
    disk.programs[3] = [try Assembler.assemble("r6 = r1\nloop:\ngoto loop\n"), [], []]
    disk.programs[4] = [try Assembler.assemble("r0 = *(u64 *)(r1 + 4090)\nexit\n"), [], []]
    disk.programs[5] = [try Assembler.assemble("r1 = 100\nr2 = 1\nr3 = 0\ncall 1\nr0 = 1\nexit\n"), [], []]
    _ = try xn.addRoot(100, type: 1, name: 7, isTemporary: false)
    // Runs for ever; reads beyond the block; owns somebody's block from the start.
    for type in [3, 4, 5] as [UInt16] {
      refused(.refusedByTemplate) { xn throws(XNError) in
        _ = try xn.addRoot(120, type: type, name: 1, isTemporary: false)
      }
    }
    #expect(disk[120].state == .free)
    // The verifier refuses the first two before they get here.
    #expect(Verification(disk.programs[3]?[0] ?? [], for: .template(.owns)).verdict == nil)
    #expect(Verification(disk.programs[4]?[0] ?? [], for: .template(.owns)).verdict == nil)
  }

  @Test
  mutating func nothingPointsToWhatIsNotOnTheDisk() throws {
    _ = try xn.addRoot(100, type: 1, name: 7, isTemporary: false)
    let child = Extent(first: 150, count: 1, type: 2)
    let grandchild = Extent(first: 151, count: 1, type: 1)
    try xn.allocate(child, for: 100, Layout.forward.change(0, to: child))
    #expect(disk.contents[150] == [UInt8](repeating: 0, count: 4096))
    try xn.allocate(grandchild, for: 150, Layout.backward.change(0, to: grandchild))
    #expect(throws: XNError.tainted) { try xn.checkWrite(100) }
    #expect(throws: XNError.tainted) { try xn.checkWrite(150) }
    try xn.beginWrite(151)
    #expect(throws: XNError.busy) { try xn.modify(151, Changes(list: [(9, 1)])) }
    xn.endWrite(151, isDurable: false)
    #expect(throws: XNError.tainted) { try xn.checkWrite(150) }
    try xn.beginWrite(151)
    xn.endWrite(151, isDurable: true)
    #expect(throws: XNError.tainted) { try xn.checkWrite(100) }
    try xn.beginWrite(150)
    xn.endWrite(150, isDurable: true)
    try xn.checkWrite(100)
    // A temporary tree may be written in any order.
    _ = try xn.addRoot(102, type: 1, name: 9, isTemporary: true)
    let other = Extent(first: 160, count: 1, type: 2)
    try xn.allocate(other, for: 102, Layout.forward.change(0, to: other))
    try xn.checkWrite(102)
  }

  @Test
  mutating func aFreedBlockWaitsForThePointerToGo() throws {
    _ = try xn.addRoot(100, type: 1, name: 7, isTemporary: false)
    let extent = Extent(first: 200, count: 2, type: 0)
    try xn.allocate(extent, for: 100, Layout.forward.change(0, to: extent))
    try xn.free(200, of: 100, Layout.forward.change(0, to: nil))
    // The disk never had a pointer.
    #expect(disk[200].state == .free && disk[201].state == .free)
    try xn.allocate(extent, for: 100, Layout.forward.change(0, to: extent))
    try xn.beginWrite(100)
    xn.endWrite(100, isDurable: true)
    try xn.free(200, of: 100, Layout.forward.change(0, to: nil))
    #expect(disk[200].state == .waiting)
    refused(.notFree) { xn throws(XNError) in try xn.allocate(extent, for: 100, Layout.forward.change(1, to: extent)) }
    try xn.beginWrite(100)
    xn.endWrite(100, isDurable: true)
    #expect(disk[200].state == .free && disk[201].state == .free)
  }

  @Test
  mutating func aMoveHasItsNewPointerFirst() throws {
    _ = try xn.addRoot(100, type: 1, name: 7, isTemporary: false)
    _ = try xn.addRoot(101, type: 2, name: 8, isTemporary: false)
    let extent = Extent(first: 200, count: 2, type: 0)
    try xn.allocate(extent, for: 100, Layout.forward.change(0, to: extent))
    try xn.beginWrite(100)
    xn.endWrite(100, isDurable: true)
    try xn.move(200, from: 100, Layout.forward.change(0, to: nil), to: 101, Layout.backward.change(3, to: extent))
    #expect(disk[200].parent == 101)
    #expect(throws: XNError.wouldLose) { try xn.checkWrite(100) }
    #expect(throws: XNError.busy) { try xn.free(200, of: 101, Layout.backward.change(3, to: nil)) }
    #expect(throws: XNError.busy) {
      try xn.move(200, from: 101, Layout.backward.change(3, to: nil), to: 100, Layout.forward.change(0, to: extent))
    }
    try xn.beginWrite(101)
    xn.endWrite(101, isDurable: true)
    try xn.beginWrite(100)
    xn.endWrite(100, isDurable: true)
    try xn.free(200, of: 101, Layout.backward.change(3, to: nil))
  }

  @Test
  mutating func treesEndAndAreNoCycles() throws {
    _ = try xn.addRoot(100, type: 1, name: 7, isTemporary: false)
    var parent: UInt32 = 100
    for block in 101..<164 as Range<UInt32> {
      let child = Extent(first: block, count: 1, type: 1)
      try xn.allocate(child, for: parent, Layout.forward.change(0, to: child))
      parent = block
    }
    let first = Extent(first: 101, count: 1, type: 1)
    #expect(throws: XNError.tooHigh) {
      try xn.move(101, from: 100, Layout.forward.change(0, to: nil), to: 130, Layout.forward.change(1, to: first))
    }
    let second = Extent(first: 102, count: 1, type: 1)
    #expect(throws: XNError.tooHigh) {
      try xn.move(102, from: 101, Layout.forward.change(0, to: nil), to: 150, Layout.forward.change(1, to: second))
    }
    let beyond = Extent(first: 165, count: 1, type: 1)
    #expect(throws: XNError.tooHigh) { try xn.allocate(beyond, for: 163, Layout.forward.change(0, to: beyond)) }
  }

  @Test
  mutating func theAclProgramDecides() throws {
    _ = try xn.addRoot(100, type: 1, name: 7, isTemporary: false)
    try xn.modify(100, Changes(list: [(0, 42)]))
    let extent = Extent(first: 200, count: 1, type: 0)
    try xn.allocate(extent, for: 100, Layout.forward.change(0, to: extent))
    try xn.checkAccess(200, principal: 42, mayWrite: true)
    #expect(throws: XNError.notPermitted) { try xn.checkAccess(200, principal: 43, mayWrite: false) }
    try xn.modify(100, Changes(list: [(8, 1)]))
    try xn.checkAccess(200, principal: 43, mayWrite: false)
    #expect(throws: XNError.notPermitted) { try xn.checkAccess(100, principal: 43, mayWrite: true) }
    #expect(try xn.size(100) == 4096)
  }
}
