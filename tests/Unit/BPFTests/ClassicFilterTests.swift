// SPDX-License-Identifier: Apache-2.0
// ClassicFilterTests.swift: filters of the old kind, translated, against a machine of the old kind.

import ApusBPF
import ApusBPFTools
import Testing

/// The old machine.
private func oldMachine(_ steps: [ClassicFilter.Step], _ packet: [UInt8]) -> Bool {
  var (a, x) = (UInt32(0), UInt32(0))
  var words = [UInt32](repeating: 0, count: 16)
  func bytes(_ at: UInt32, _ count: Int) -> UInt32? {
    guard Int(at) + count <= packet.count else { return nil }
    return packet[Int(at)..<Int(at) + count].reduce(0) { $0 << 8 | UInt32($1) }
  }
  var index = 0
  while true {
    let step = steps[index]
    let k = step.value
    index += 1
    switch step.code {
    case 0x00: a = k
    case 0x01: x = k
    case 0x20, 0x28, 0x30, 0x40, 0x48, 0x50:
      let count = step.code & 0x18 == 0 ? 4 : step.code & 0x18 == 8 ? 2 : 1
      guard let found = bytes(step.code & 0x40 != 0 ? x &+ k : k, count) else { return false }
      a = found
    case 0x60: a = words[Int(k)]
    case 0x61: x = words[Int(k)]
    case 0x80: a = UInt32(packet.count)
    case 0x81: x = UInt32(packet.count)
    case 0xb1:
      guard let found = bytes(k, 1) else { return false }
      x = (found & 15) * 4
    case 0x02: words[Int(k)] = a
    case 0x03: words[Int(k)] = x
    case 0x04: a = a &+ k
    case 0x0c: a = a &+ x
    case 0x14: a = a &- k
    case 0x1c: a = a &- x
    case 0x24: a = a &* k
    case 0x34: a /= k
    case 0x3c:
      if x == 0 { return false }
      a /= x
    case 0x44: a |= k
    case 0x54: a &= k
    case 0x5c: a &= x
    case 0x64: a = a &<< k
    case 0x74: a = a &>> k
    case 0x84: a = 0 &- a
    case 0x94: a %= k
    case 0xa4: a ^= k
    case 0x05: index += Int(k)
    case 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d:
      let right = step.code & 8 != 0 ? x : k
      let holds =
        switch step.code & 0xf0 {
        case 0x10: a == right
        case 0x20: a > right
        case 0x30: a >= right
        default: a & right != 0
        }
      index += Int(holds ? step.ifTrue : step.ifFalse)
    case 0x06: return k != 0
    case 0x16: return a != 0
    case 0x07: x = a
    case 0x87: a = x
    default: return false
    }
  }
}

@Suite("Filters of the old kind")
struct ClassicFilterTests {
  /// What `tcpdump -dd udp port 53` prints for Ethernet, IPv4's half of it.
  static let port53 = """
    { 0x28, 0, 0, 0x0000000c },
    { 0x15, 0, 10, 0x00000800 },
    { 0x30, 0, 0, 0x00000017 },
    { 0x15, 0, 8, 0x00000011 },
    { 0x28, 0, 0, 0x00000014 },
    { 0x45, 6, 0, 0x00001fff },
    { 0xb1, 0, 0, 0x0000000e },
    { 0x48, 0, 0, 0x0000000e },
    { 0x15, 2, 0, 0x00000035 },
    { 0x48, 0, 0, 0x00000010 },
    { 0x15, 0, 1, 0x00000035 },
    { 0x6, 0, 0, 0x00040000 },
    { 0x6, 0, 0, 0x00000000 },
    """

  private func run(_ slots: [UInt64], _ packet: [UInt8]) throws -> UInt64 {
    var memory = SimulatedMemory([
      .init(base: 0x1_0000, bytes: packet, isWritable: false),
      .init(base: 0x8_0000, bytes: [UInt8](repeating: 0xee, count: 512)),
    ])
    var interpreter = Interpreter(
      arguments: [0x1_0000, 0x1_0000 + UInt64(packet.count), 0, 0, 0], stackTop: 0x8_0000 + 512)
    return try interpreter.run(slots.span, in: &memory, budget: 10_000)
  }

  @Test("a filter of tcpdump's takes what it should")
  func tcpdump() throws {
    let filter = try ClassicFilter(text: Self.port53)
    let slots = try filter.translated()
    #expect(try KernelVerification(slots, for: Use.packetFilter.contract).outcome.get() < 200)
    var packet = [UInt8](repeating: 0, count: 60)
    packet.replaceSubrange(12..<16, with: [8, 0, 0x46, 0])
    packet[23] = 17
    packet[14 + 24 + 3] = 53
    #expect(try run(slots, packet) == 1)
    packet[14 + 24 + 3] = 54
    #expect(try run(slots, packet) == 0)
    packet[14 + 24 + 1] = 53
    #expect(try run(slots, packet) == 1)
    packet[21] = 1  // a fragment
    #expect(try run(slots, packet) == 0)
    #expect(try run(slots, Array(packet.prefix(14))) == 0)
    #expect(try ClassicFilter(text: "13\n40 0 0 12\n6 0 0 1\n").steps == [.init(40, 0, 0, 12), .init(6, 0, 0, 1)])
  }

  @Test("random filters answer as on the old machine, and the kernel takes them", arguments: 0..<UInt64(8))
  func random(_ part: UInt64) throws {
    let codes: [UInt16] = [
      0x00, 0x01, 0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x60, 0x61, 0x80, 0x81, 0xb1, 0x02, 0x03, 0x04, 0x0c, 0x14, 0x1c,
      0x24, 0x34, 0x3c, 0x44, 0x54, 0x5c, 0x64, 0x74, 0x84, 0x94, 0xa4, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45,
      0x4d, 0x06, 0x16, 0x07, 0x87,
    ]
    var taken = 0
    for seed in stride(from: part, to: 2000, by: 8) {
      var numbers = SeededNumbers(seed: seed)
      let count = 2 + numbers.below(20)
      var steps: [ClassicFilter.Step] = []
      for index in 0..<count - 1 {
        let left = count - index - 1
        let code = codes[numbers.below(codes.count)]
        var value = UInt32(numbers.below(numbers.below(3) == 0 ? 1 << 32 : 40))
        switch code {
        case 0x60, 0x61, 0x02, 0x03: value %= 16
        case 0x34, 0x94: value |= 1
        case 0x64, 0x74: value %= 32
        case 0x05: value = UInt32(numbers.below(left))
        default: break
        }
        steps.append(.init(code, UInt8(numbers.below(left)), UInt8(numbers.below(left)), value))
      }
      steps.append(.init(numbers.below(2) == 0 ? 0x06 : 0x16, 0, 0, 1))
      let slots = try ClassicFilter(steps).translated()
      guard case .success = KernelVerification(slots, for: Use.packetFilter.contract).outcome else {
        Issue.record("seed \(seed): refused \(KernelVerification(slots, for: Use.packetFilter.contract).outcome)")
        return
      }
      for length in [14, 15, 34, 60] {
        let packet = (0..<length).map { _ in UInt8(numbers.below(3) == 0 ? numbers.below(256) : numbers.below(8)) }
        let expected = oldMachine(steps, packet)
        guard try run(slots, packet) == (expected ? 1 : 0) else {
          Issue.record("seed \(seed): the translation says otherwise than \(expected)")
          return
        }
        if expected { taken += 1 }
      }
    }
    #expect(taken > 50)
  }

  @Test("what is no filter is refused")
  func refused() {
    func sentence(_ steps: [ClassicFilter.Step]) -> Int? {
      do throws(ClassicFilter.Defect) {
        _ = try ClassicFilter(steps).translated()
        return nil
      } catch { return error.step }
    }
    #expect(sentence([]) == 0)
    #expect(sentence([.init(0x00, 0, 0, 1)]) == 0)
    #expect(sentence([.init(0x15, 5, 0, 1), .init(0x06, 0, 0, 1)]) != nil)
    #expect(sentence([.init(0x05, 0, 0, 9), .init(0x06, 0, 0, 1)]) == 0)
    #expect(sentence([.init(0x60, 0, 0, 16), .init(0x06, 0, 0, 1)]) == 0)
    #expect(sentence([.init(0x34, 0, 0, 0), .init(0x06, 0, 0, 1)]) == 0)
    #expect(sentence([.init(0x06, 0, 0, 1), .init(0xff, 0, 0, 1), .init(0x06, 0, 0, 1)]) == 1)
    #expect(throws: ClassicFilter.Defect.self) { try ClassicFilter(text: "{ 0x28, 0, 0 }") }
    #expect(throws: ClassicFilter.Defect.self) { try ClassicFilter(text: "{ 0x28, 0, 300, 5 }") }
  }
}
