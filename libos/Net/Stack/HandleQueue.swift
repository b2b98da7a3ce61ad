// SPDX-License-Identifier: Apache-2.0
// HandleQueue.swift: connections in a row.

/// A queue of handles.
struct HandleQueue {
  private var handles: [TCPHandle] = []
  private var head = 0

  var first: TCPHandle? { head < handles.count ? handles[head] : nil }

  mutating func append(_ handle: TCPHandle) { handles.append(handle) }

  mutating func removeFirst() -> TCPHandle? {
    guard head < handles.count else { return nil }
    let handle = handles[head]
    head += 1
    if head >= 64, head * 2 > handles.count {
      handles.removeSubrange(0..<head)
      head = 0
    }
    return handle
  }
}
