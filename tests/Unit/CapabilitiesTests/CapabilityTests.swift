// SPDX-License-Identifier: Apache-2.0
// CapabilityTests.swift: names, rights, and what a capability dominates.

import ApusABI
import ApusCapabilities
import CApusABI
import Testing

/// A name as the records hold it.
private func packed(_ name: [UInt8]) -> UInt64 {
  var bits: UInt64 = 0
  for (index, byte) in name.enumerated() { bits |= UInt64(byte) << UInt64(56 - 8 * index) }
  return bits
}

private func make(_ name: [UInt8], _ rights: Rights = .all) throws -> Capability {
  try #require(Capability(name: packed(name), length: UInt8(name.count), rights: rights))
}

@Suite struct CapabilityTests {
  @Test func aNameDominatesExactlyTheNamesThatItIsAPrefixOf() throws {
    // Bytes 0, 1 and 255 at every length: zero bytes at the end are what a comparison of bits alone gets wrong.
    var names: [[UInt8]] = [[]]
    var layer: [[UInt8]] = [[]]
    for _ in 0..<4 {
      layer = layer.flatMap { name in [UInt8(0), 1, 255].map { name + [$0] } }
      names += layer
    }
    names += [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 0], [1, 2, 3, 4, 5, 6, 7, 9]]
    for name in names {
      let capability = try make(name)
      for other in names {
        #expect(
          capability.covers(guard: packed(other), length: UInt8(other.count))
            == other.starts(with: name),
          "\(name) and \(other)")
      }
    }
  }

  @Test func aRightThatIsNotHeldIsRefused() throws {
    for held in UInt8(0)..<8 {
      let capability = try make([7], Rights(rawValue: held))
      for needed in UInt8(0)..<8 {
        let isHeld = needed & ~held == 0
        #expect(
          capability.dominates(
            guard: packed([7, 1]), length: 2, needing: Rights(rawValue: needed)) == isHeld)
      }
    }
  }

  @Test(arguments: [
    (packed([1, 2]), UInt8(1), UInt8(7)),  // a byte after the end
    (packed([1, 2]) | 1, 2, 7),  // a bit far after the end
    (1, 0, 7),
    (packed([1]), 9, 7),  // longer than a name can be
    (packed([1]), 255, 7),
    (packed([1]), 1, 8),  // a right that does not exist
    (packed([1]), 1, 255),
  ])
  func aMalformedCapabilityCannotBe(name: UInt64, length: UInt8, rights: UInt8) throws {
    #expect(Capability(name: name, length: length, rights: Rights(rawValue: rights)) == nil)
    #expect(throws: SystemCallError.invalid) {
      try make([]).forge(name: name, length: length, rights: Rights(rawValue: rights))
    }
  }

  @Test func onlyDominatedCapabilitiesAreForged() throws {
    let parent = try make([1, 2], .read.union(.write))
    let child = try parent.forge(name: packed([1, 2, 3]), length: 3, rights: .read)
    #expect(try child == make([1, 2, 3], .read))
    #expect(try parent.forge(name: packed([1, 2]), length: 2, rights: parent.rights) == parent)
    #expect(throws: SystemCallError.denied) {
      try parent.forge(name: packed([1]), length: 1, rights: .read)
    }
    #expect(throws: SystemCallError.denied) {
      try parent.forge(name: packed([1, 3, 3]), length: 3, rights: .read)
    }
    #expect(throws: SystemCallError.denied) {
      try parent.forge(name: packed([1, 2, 3]), length: 3, rights: .grant)
    }
    #expect(throws: SystemCallError.denied) {
      try child.forge(name: packed([1, 2, 3]), length: 3, rights: .write)
    }
  }

  @Test func aListKeepsWhatIsPutIntoItsSlots() throws {
    var environment = apus_environment()
    func slots() -> [Capability?] {
      let list = environment.capabilities
      return [list.0, list.1, list.2, list.3, list.4, list.5, list.6, list.7].map { Capability($0) }
    }
    #expect(slots().allSatisfy { $0 == nil })
    let each: [Capability?] = try (UInt8(0)..<8).map { try make([$0, 9], Rights(rawValue: $0)) }
    for index in 0..<8 { environment.setCapability(each[index], at: UInt64(index)) }
    #expect(slots() == each)
    environment.setCapability(nil, at: 3)
    #expect(slots() == each.prefix(3) + [nil] + each.suffix(4))
  }
}
