// SPDX-License-Identifier: Apache-2.0
// Relay.swift: a bad line: frames are lost, late, overtaken, doubled, as a seed decides.

import ApusNet

/// What a line does to frames; chances in hundredths of a percent.
struct LineQuality {
  var loss = 0
  var reordering = 0
  var duplication = 0
  var corruption = 0
  var delay = TimeSpan.zero

  var isPerfect: Bool { loss == 0 && reordering == 0 && duplication == 0 && corruption == 0 && delay == .zero }
}

/// One direction of a line.
struct Relay {
  private let quality: LineQuality
  private var state: UInt64
  private var waiting: [(due: Instant, frame: [UInt8])] = []
  private var head = 0
  private(set) var lost = 0
  private(set) var carried = 0

  init(_ quality: LineQuality, seed: UInt64) {
    self.quality = quality
    state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1
  }

  /// Marsaglia's xorshift64*.
  private mutating func random(_ bound: Int) -> Int {
    state ^= state >> 12
    state ^= state << 25
    state ^= state >> 27
    return Int((state &* 0x2545_f491_4f6c_dd1d) >> 33) % max(1, bound)
  }

  private mutating func happens(_ chance: Int) -> Bool { chance > 0 && random(10_000) < chance }

  mutating func put(_ frame: [UInt8], _ now: Instant) {
    if happens(quality.loss) {
      lost += 1
      return
    }
    var frame = frame
    // One bit behind the Ethernet header, which the checksums above it have to find.
    if frame.count > 14, happens(quality.corruption) {
      frame[14 + random(frame.count - 14)] ^= 1 << UInt8(random(8))
    }
    for _ in 0..<(happens(quality.duplication) ? 2 : 1) {
      var due = now + quality.delay
      if happens(quality.reordering) {
        due = due + .microseconds(Int64(random(5000)))
      }
      var place = waiting.count
      while place > head, waiting[place - 1].due > due { place -= 1 }
      waiting.insert((due, frame), at: place)
    }
  }

  /// The next frame that has arrived.
  mutating func take(_ now: Instant) -> [UInt8]? {
    guard head < waiting.count, waiting[head].due <= now else { return nil }
    let frame = waiting[head].frame
    waiting[head].frame = []
    head += 1
    if head > 1024, head * 2 > waiting.count {
      waiting.removeSubrange(0..<head)
      head = 0
    }
    carried += 1
    return frame
  }

  var next: Instant? { head < waiting.count ? waiting[head].due : nil }
}
