// SPDX-License-Identifier: Apache-2.0
// TemplateTests.swift: what may be sent in a filter's name, by cases and against a definition of its own.

import CApusABI
import FilterHost
import Testing

@testable import ApusPacketFilter

/// A header to send.
private struct Header: HeaderBytes {
  let bytes: [UInt8]
  var count: Int { bytes.count }
  subscript(index: Int) -> UInt8 { bytes[index] }
}

private let own: UInt32 = 0x0a00_0002
private let peer: UInt32 = 0x0a00_0001

/// The filter of a UDP port at an address.
private let socketFilter = [
  Atom(at: 12, width: 2, is: 0x0800), Atom(at: 23, width: 1, is: 17), Atom(at: 30, width: 4, is: own),
  Atom(shiftAt: 14, width: 1, mask: 0x0f, by: 2), Atom(at: 16, width: 2, is: 7),
]

/// What a packet looks like when its two ends are swapped.
private func mirrored(_ packet: [UInt8]) -> [UInt8] {
  var packet = packet
  func swap(_ first: Int, _ second: Int, _ count: Int) {
    for index in 0..<count where second + index < packet.count { packet.swapAt(first + index, second + index) }
  }
  swap(0, 6, 6)
  if packet[12] == 8, packet[13] == 6 { swap(22, 32, 10) }
  if packet[12] == 8, packet[13] == 0 {
    swap(26, 30, 4)
    let length = Int(packet[14] & 15) * 4
    if packet[23] == 6 || packet[23] == 17 { swap(14 + length, 16 + length, 2) }
  }
  return packet
}

@Suite struct TemplateTests {
  private func mirrors(_ filter: [Atom], _ packet: [UInt8], header: Int = 128) throws -> Bool {
    var table = FilterTable(memory: try #require(HostFilterMemory(filters: 16)))
    let number = try table.insert(filter, account: 1) { _ in false }
    return table.mirrors(number, Header(bytes: Array(packet.prefix(header))))
  }

  @Test(arguments: [0, 3, 10])
  func `an answer may be sent, and no packet in another's name`(options: Int) throws {
    let answer = datagram(from: own, to: peer, ports: (7, 999), optionWords: options)
    #expect(try mirrors(socketFilter, answer))
    #expect(try !mirrors(socketFilter, datagram(from: own + 1, to: peer, ports: (7, 999), optionWords: options)))
    #expect(try !mirrors(socketFilter, datagram(from: own, to: peer, ports: (8, 999), optionWords: options)))
    let stream = datagram(from: own, to: peer, transport: 6, ports: (7, 9), optionWords: options)
    #expect(try !mirrors(socketFilter, stream))
    // What the kernel has not copied it cannot check.
    #expect(try mirrors(socketFilter, answer, header: 14 + 20 + 4 * options + 2))
    #expect(try !mirrors(socketFilter, answer, header: 14 + 20 + 4 * options + 1))
  }

  @Test func `a question is no answer`() throws {
    #expect(try !mirrors(socketFilter, datagram(from: peer, to: own, ports: (999, 7))))
  }

  @Test func `an Ethernet address is mirrored, too`() throws {
    let filter = [Atom(at: 0, width: 4, is: 0x5254_0012), Atom(at: 12, width: 2, is: 0x0806)]
    var packet = [UInt8](repeating: 9, count: 42)
    packet[12...13] = [8, 6]
    #expect(try !mirrors(filter, packet))
    packet[6...9] = [0x52, 0x54, 0, 0x12]
    #expect(try mirrors(filter, packet))
  }

  @Test func `ports of a protocol without any are no ports`() throws {
    let filter = [
      Atom(at: 12, width: 2, is: 0x0800), Atom(at: 23, width: 1, is: 1), Atom(at: 30, width: 4, is: own),
      Atom(shiftAt: 14, width: 1, mask: 0x0f, by: 2), Atom(at: 14, width: 1, is: 8),
    ]
    #expect(try mirrors(filter, datagram(from: own, to: peer, transport: 1, ports: (0, 1))))
  }

  @Test(arguments: [
    [Atom(at: 30, width: 4, is: own)],  // no type
    [Atom(at: 12, width: 2, is: 0x86dd)],  // a type that is not known
    [Atom(at: 12, width: 2, mask: 0xff00, is: 0x0800)],  // half a type
    [Atom(at: 4, width: 4, is: 0x0909_0909), Atom(at: 12, width: 2, is: 0x0800)],  // across two addresses
    [Atom(at: 12, width: 2, is: 0x0800), Atom(at: 28, width: 4, is: 0)],
    [Atom(at: 12, width: 2, is: 0x0800), Atom(at: 29, width: 1, is: 1), Atom(at: 32, width: 4, is: 0)],
    [
      Atom(at: 12, width: 2, is: 0x0800), Atom(at: 23, width: 1, is: 17),
      Atom(shiftAt: 14, width: 1, mask: 0x0f, by: 2), Atom(at: 14, width: 4, is: 0x0007_0007),
    ],
    [
      Atom(at: 12, width: 2, is: 0x0800), Atom(at: 23, width: 1, is: 17),
      Atom(shiftAt: 14, width: 1, mask: 0x0f, by: 2), Atom(at: 13, width: 2, is: 0),
    ],
  ])
  func `what has no mirror may send nothing`(filter: [Atom]) throws {
    for address in [0, own, 0x0909_0909] {
      #expect(try !mirrors(filter, datagram(from: address, to: address, ports: (7, 7))))
    }
  }

  @Test func `a filter that is none mirrors nothing`() throws {
    let table = FilterTable(memory: try #require(HostFilterMemory(filters: 16)))
    for number in [0, 1, 17, UInt32.max] {
      #expect(!table.mirrors(number, Header(bytes: datagram(ports: (1, 2)))))
    }
  }

  /// Filters on whole fields: exactly what would be taken with its ends swapped may be sent.
  @Test(arguments: 1...40 as ClosedRange<UInt64>)
  func `random filters and packets agree with the definition`(seed: UInt64) throws {
    var state = seed &* 0x9e37_79b9_7f4a_7c15
    func random(_ below: UInt64) -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state % below
    }
    var table = FilterTable(memory: try #require(HostFilterMemory(filters: 16)))
    let isARP = random(4) == 0
    var atoms = [Atom(at: 12, width: 2, is: isARP ? 0x0806 : 0x0800)]
    if random(2) == 0 { atoms.insert(Atom(at: 4, width: 2, is: UInt32(random(2))), at: 0) }
    if isARP {
      if random(2) == 0 { atoms.append(Atom(at: 28, width: 4, is: UInt32(random(2)))) }
      if random(2) == 0 { atoms.append(Atom(at: 38, width: 4, is: UInt32(random(2)))) }
    } else {
      atoms.append(Atom(at: 23, width: 1, is: random(2) == 0 ? 17 : 6))
      if random(2) == 0 { atoms.append(Atom(at: 26, width: 4, mask: 0xff, is: UInt32(random(2)))) }
      if random(2) == 0 { atoms.append(Atom(at: 30, width: 4, is: UInt32(random(2)))) }
      atoms.append(Atom(shiftAt: 14, width: 1, mask: 0x0f, by: 2))
      if random(2) == 0 { atoms.append(Atom(at: 14, width: 2, is: UInt32(random(2)))) }
      atoms.append(Atom(at: 16, width: 2, is: UInt32(random(2))))
    }
    let number = try table.insert(atoms, account: 1) { _ in false }
    var allowed = 0
    for _ in 0..<2000 {
      var packet = datagram(
        from: UInt32(random(2)), to: UInt32(random(2)), transport: random(2) == 0 ? 17 : 6,
        ports: (UInt16(random(2)), UInt16(random(2))), optionWords: Int(random(3)))
      for index in 0..<12 { packet[index] = 0 }
      (packet[5], packet[11]) = (UInt8(random(2)), UInt8(random(2)))
      if isARP || random(8) == 0 { packet[13] = 6 }
      if isARP {
        for index in 28..<42 { packet[index] = 0 }
        (packet[31], packet[41]) = (UInt8(random(2)), UInt8(random(2)))
      }
      let expected = matches(atoms, mirrored(packet))
      allowed += expected ? 1 : 0
      #expect(table.mirrors(number, Header(bytes: packet)) == expected)
    }
    #expect(allowed > 0)
  }
}
