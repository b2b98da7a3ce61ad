// SPDX-License-Identifier: Apache-2.0
// PacketParts.swift: rings, filters and packets, as the group `network` makes and spoils them.

import ApusABI

/// Memory for packets, from one page on.
enum PacketPlace {
  /// The ring's header, its entries, a page to send from, lists for calls, a header to send.
  static var header: UInt64 { Memory.region + 0x14_0000 }
  static var entries: UInt64 { header + 0x1000 }
  static var payload: UInt64 { header + 0x5000 }
  static var list: UInt64 { header + 0x6000 }
  static var packet: UInt64 { header + 0x7000 }
  static var pages: UInt64 { 8 }
  static var entryCount: UInt64 { 4 }
}

/// The emulator's own network has 10.0.2.2 for its host, which answers ARP; the machine calls itself 10.0.2.15.
enum NetworkAddress {
  static var own: UInt64 { 0x0a00_020f }
  static var other: UInt64 { 0x0a00_0210 }
  static var host: UInt64 { 0x0a00_0202 }
}

enum Packets {
  /// Words of a list.
  static func put(_ address: UInt64, _ words: (UInt64, UInt64)) {
    store64(address, words.0)
    store64(address + 8, words.1)
  }

  /// An atom as `filterInsert` takes it.
  static func atom(_ offset: UInt64, _ width: UInt64, _ value: UInt64, mask: UInt64? = nil, kind: UInt64 = 0)
    -> (UInt64, UInt64)
  {
    let all: UInt64 = width >= 4 ? 0xffff_ffff : 1 << (8 * width) - 1
    return (offset | width << 16 | kind << 24 | (mask ?? all) << 32, value)
  }

  /// Writes a number of `count` bytes in network order.
  static func putNumber(_ address: UInt64, _ value: UInt64, _ count: UInt64) {
    for index in 0..<count {
      store8(address + index, UInt8(truncatingIfNeeded: value >> (8 * (count - 1 - index))))
    }
  }

  /// Lists the atoms of ARP packets for an address at `list`.
  static func putARP(_ address: UInt64, at list: UInt64) {
    put(list, atom(12, 2, 0x0806))
    put(list + 16, atom(38, 4, address))
  }

  /// Writes an ARP request of 42 bytes, for the host's address.
  static func putRequest(from sender: UInt64, at place: UInt64) {
    func bytes(_ offset: UInt64, _ value: UInt64, _ count: UInt64) { putNumber(place + offset, value, count) }
    bytes(0, 0xffff_ffff_ffff, 6)
    bytes(6, 0x5254_0012_3456, 6)
    bytes(12, 0x0806_0001_0800_0604, 8)
    bytes(20, 1, 2)
    bytes(22, 0x5254_0012_3456, 6)
    bytes(28, sender, 4)
    bytes(32, 0, 6)
    bytes(38, NetworkAddress.host, 4)
  }

  /// Writes a packet to send, without parts.
  static func putTransmission(_ place: UInt64, header: UInt64, count: UInt64 = 42, runs: UInt64 = 0, filter: UInt64) {
    store64(place, header)
    store64(place + 8, count | runs << 16 | filter << 32)
  }

  /// Says where a part of a packet lies.
  static func putRun(_ place: UInt64, _ index: UInt64, frame: UInt64, offset: UInt64 = 0, count: UInt64) {
    put(place + 16 + index * 16, (frame << 12 | offset, count))
  }

  /// What the information pages say of a filter's packets.
  static func hits(_ filter: UInt64) -> UInt64 {
    load64(UInt64(APUS_INFORMATION_BASE) + Information.page.filter_offset + filter * 16 + 8)
  }
}

/// A ring of the first family's.
struct PacketRing {
  let name: UInt64

  /// Makes a ring out of the pages at `PacketPlace`.
  init?() {
    for index in 0..<PacketPlace.entryCount {
      store64(PacketPlace.list + index * 8, OwnTables.frame(PacketPlace.entries + index * 4096))
    }
    guard let name = Self.create().value else { return nil }
    self.name = name
  }

  static func create(_ slot: UInt64 = Slot.family, list: UInt64 = PacketPlace.list, count: UInt64 = 4) -> Answer {
    Kernel.call(.packetRingCreate, slot, OwnTables.frame(PacketPlace.header), list, count)
  }

  /// Inserts a filter of the atoms at `PacketPlace.list`.
  func insert(_ count: UInt64, by caps: UInt64 = Memory.both(Slot.family, Slot.family)) -> Answer {
    Kernel.call(.filterInsert, caps, name, PacketPlace.list, count)
  }

  /// Sends packets listed at `PacketPlace.list`.
  func send(_ count: UInt64 = 1, by caps: UInt64 = Memory.both(Slot.family, Slot.family)) -> Answer {
    Kernel.call(.transmit, caps, name, PacketPlace.list, count)
  }

  /// Looks at what has arrived until something holds; the bound is in looks.
  func pollUntil(_ condition: () -> Bool) -> Bool {
    for _ in 0..<200_000 {
      if condition() { return true }
      _ = send(0)
    }
    return condition()
  }

  var produced: UInt64 { load64(PacketPlace.header) }
  var overruns: UInt64 { load64(PacketPlace.header + 8) }
  var transmitted: UInt64 { load64(PacketPlace.header + 16) }
  func entry(_ index: UInt64) -> UInt64 { PacketPlace.header + 64 + index * 8 }

  func end() -> Answer { Kernel.call(.packetRingEnd, Slot.family, name) }
}
