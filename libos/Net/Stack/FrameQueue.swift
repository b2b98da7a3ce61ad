// SPDX-License-Identifier: Apache-2.0
// FrameQueue.swift: a bounded queue of frames.

struct FrameQueue {
  private var frames: [[UInt8]] = []
  private var head = 0
  let capacity: Int

  init(capacity: Int) { self.capacity = capacity }

  var count: Int { frames.count - head }
  var isFull: Bool { count >= capacity }

  mutating func append(_ frame: [UInt8]) -> Bool {
    guard !isFull else { return false }
    frames.append(frame)
    return true
  }

  mutating func removeFirst() -> [UInt8]? {
    guard head < frames.count else { return nil }
    let frame = frames[head]
    frames[head] = []
    head += 1
    if head == frames.count {
      frames.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= 64, head * 2 > frames.count {
      frames.removeSubrange(0..<head)
      head = 0
    }
    return frame
  }
}
