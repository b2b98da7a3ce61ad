// SPDX-License-Identifier: Apache-2.0
// FilterTable+Template.swift: what may be sent in a filter's name: what mirrors the packets that it takes.
//
// A packet comes to its owner because its destination is the owner's; what the owner sends has to have the same as its
// source. So each atom of the filter on an address or a port has to hold for the header's field of the other
// direction. Atoms on the Ethernet type and the IP protocol hold as they are. Field offsets: IEEE 802.3, RFC 826 (ARP),
// RFC 791 (IPv4), RFC 768 and RFC 9293 (ports).

import CApusABI

/// The first bytes of a packet to send, in a copy that nobody changes meanwhile.
public protocol HeaderBytes {
  /// How many bytes there are.
  var count: Int { get }
  /// The byte at an index below `count`.
  subscript(_ index: Int) -> UInt8 { get }
}

/// A field of a header: where it ends, and how far away its mirror is.
private typealias Region = (end: Int, distance: Int)

/// What the atoms so far have said about the packet's layers.
private enum Layer {
  case unknown, ipv4, arp
}

extension FilterTable {
  /// Whether a header mirrors what a filter takes.
  ///
  /// - Returns: False, too, for a filter with atoms on half a field or across two, which have no mirror, and for one
  ///   that does not say which Ethernet type it takes.
  public func mirrors(_ filter: UInt32, _ header: some HeaderBytes) -> Bool {
    guard filter != 0, filter < memory.filterCount, memory[filter: filter].state != 0 else { return false }
    // The way from the end to the root, turned round.
    var fields = [16 of UInt32](repeating: 0)
    var values = [16 of UInt32](repeating: 0)
    var count = 0
    var state = memory[filter: filter].state
    while state != Self.root, count < Self.atomLimit {
      fields[count] = parent(of: state)
      values[count] = UInt32(truncatingIfNeeded: memory[state: state].key)
      count += 1
      state = memory[field: fields[count - 1]].state
    }
    var layer = Layer.unknown
    var hasPorts = false
    var base = 0
    var isShifted = false
    while count > 0 {
      count -= 1
      let atom = memory[field: fields[count]].atom(values[count])
      let start = Int(atom.offset)
      if atom.isShift {
        guard let value = Self.load(header, base + start, atom) else { return false }
        base += Int(value << UInt32(atom.kind & 3))
        isShifted = true
        continue
      }
      func region(_ byte: Int) -> Region? {
        isShifted ? Self.transportRegion(byte, hasPorts) : Self.region(byte, layer)
      }
      let end = start + Int(atom.width)
      guard let region = region(start) else {
        if region(end - 1) != nil { return false }
        continue
      }
      guard end <= region.end else { return false }
      guard Self.load(header, base + start + region.distance, atom) == atom.value else { return false }
      if !isShifted, start == 12, atom.mask == 0xffff {
        layer = atom.value == 0x0800 ? .ipv4 : atom.value == 0x0806 ? .arp : .unknown
      }
      if !isShifted, start == 23, layer == .ipv4, atom.mask == 0xff { hasPorts = atom.value == 6 || atom.value == 17 }
    }
    // Without a type that is known nothing above it could be told apart.
    return layer != .unknown
  }

  /// The bits of a header's field that an atom asks for; nil if the header ends before.
  private static func load(_ header: some HeaderBytes, _ offset: Int, _ atom: Atom) -> UInt32? {
    guard offset >= 0, offset + Int(atom.width) <= header.count else { return nil }
    var value: UInt32 = 0
    for index in 0..<Int(atom.width) { value = value << 8 | UInt32(header[offset + index]) }
    return value & atom.mask
  }

  /// The field that a byte lies in; nil if it is none that matters.
  private static func region(_ byte: Int, _ layer: Layer) -> Region? {
    switch (byte, layer) {
    case (0..<6, _): (6, 6)
    case (6..<12, _): (12, -6)
    case (12..<14, _): (14, 0)
    case (23, .ipv4): (24, 0)
    case (26..<30, .ipv4): (30, 4)
    case (30..<34, .ipv4): (34, -4)
    case (22..<28, .arp): (28, 10)
    case (28..<32, .arp): (32, 10)
    case (32..<38, .arp): (38, -10)
    case (38..<42, .arp): (42, -10)
    default: nil
    }
  }

  /// The same behind an IPv4 header of any length, whose length is the base.
  private static func transportRegion(_ byte: Int, _ hasPorts: Bool) -> Region? {
    guard hasPorts else { return nil }
    switch byte {
    case 14..<16: return (16, 2)
    case 16..<18: return (18, -2)
    default: return nil
    }
  }
}
