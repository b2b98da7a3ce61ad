// SPDX-License-Identifier: Apache-2.0
// GatheringLink.swift: an application's memory to send from, and a link that takes frames' payload from there.

@testable import ApusNet

/// Memory of many small pages; a place is a number of the source and an offset.
final class TestSource: PayloadSource {
  let bytes: [UInt8]
  let number: UInt64
  let page: Int

  init(_ bytes: [UInt8], number: UInt64, page: Int) {
    self.bytes = bytes
    self.number = number
    self.page = page
  }

  func sum(_ offset: Int, _ count: Int) -> UInt16 {
    // Word for word, as RFC 1071 has it, and not by the code that is tested.
    var sum = 0
    for index in 0..<count { sum += Int(bytes[offset + index]) << (index % 2 == 0 ? 8 : 0) }
    while sum > 0xffff { sum = sum >> 16 + sum & 0xffff }
    return UInt16(sum)
  }

  func run(_ offset: Int, _ count: Int) -> FramePart? {
    FramePart(place: number << 32 | UInt64(offset), count: min(count, page - offset % page))
  }

  func copy(_ offset: Int, _ count: Int, to packet: inout [UInt8]) {
    packet += bytes[offset..<offset + count]
  }
}

/// Puts frames together and keeps them for the simulation.
final class GatheringLink: FrameLink {
  var sources: [TestSource] = []
  var frames: [[UInt8]] = []
  var gathered = 0
  let capacity: Int

  init(capacity: Int) { self.capacity = capacity }

  var isFull: Bool { frames.count >= capacity }

  func send(_ head: Span<UInt8>, _ parts: FrameParts) {
    var frame = head.array
    for index in 0..<parts.count {
      let part = parts[index]
      let offset = Int(part.place & 0xffff_ffff)
      frame += sources[Int(part.place >> 32)].bytes[offset..<offset + part.count]
      gathered += part.count
    }
    frames.append(frame)
  }
}
