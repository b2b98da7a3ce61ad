// SPDX-License-Identifier: Apache-2.0
// Records.swift: cuts the machine's byte stream into console records, and queues bytes for slow readers.

import ApusABI

/// Bytes that wait to be written, without moving those behind.
struct ByteQueue {
  private var bytes: [UInt8] = []
  private var head = 0

  var count: Int { bytes.count - head }
  var isEmpty: Bool { count == 0 }

  mutating func append(_ more: some Collection<UInt8>) { bytes.append(contentsOf: more) }

  /// Adds a record for the machine.
  mutating func append(_ kind: ConsoleInput, account: UInt8 = 0, _ payload: some Collection<UInt8>) {
    precondition(payload.count <= consolePayloadLimit)
    bytes.append(kind.rawValue)
    bytes.append(account)
    bytes.append(UInt8(truncatingIfNeeded: payload.count))
    bytes.append(UInt8(truncatingIfNeeded: payload.count >> 8))
    bytes.append(contentsOf: payload)
  }

  /// Calls `body` with the bytes that wait; it returns how many are done with.
  mutating func consume(_ body: (UnsafeRawBufferPointer) -> Int) {
    let used = bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[head...])) }
    head += used
    if head == bytes.count {
      bytes.removeAll(keepingCapacity: true)
      head = 0
    } else if head > 1 << 18 {
      bytes.removeFirst(head)
      head = 0
    }
  }
}

/// One record from the machine.
struct ConsoleRecord {
  let stream: ConsoleStream
  let account: UInt8
  let payload: ArraySlice<UInt8>
}

/// Cuts a byte stream into records.
struct RecordDecoder {
  private var pending: [UInt8] = []
  private var position = 0
  /// What followed where no record can start; the stream is lost from there on.
  private(set) var stray: [UInt8] = []

  mutating func append(_ bytes: some Collection<UInt8>) {
    guard stray.isEmpty else {
      if stray.count < 1 << 16 { stray.append(contentsOf: bytes) }
      return
    }
    if position > 0 {
      pending.removeFirst(position)
      position = 0
    }
    pending.append(contentsOf: bytes)
  }

  /// The next whole record.
  mutating func next() -> ConsoleRecord? {
    guard stray.isEmpty, pending.count - position >= consoleHeaderByteCount else { return nil }
    let length = Int(pending[position + 2]) | Int(pending[position + 3]) << 8
    guard let stream = ConsoleStream(rawValue: pending[position]), length <= consolePayloadLimit else {
      stray = Array(pending[position...])
      pending = []
      position = 0
      return nil
    }
    let start = position + consoleHeaderByteCount
    guard pending.count - start >= length else { return nil }
    position = start + length
    return ConsoleRecord(
      stream: stream, account: pending[start - 3], payload: pending[start..<position])
  }
}

/// Puts lines together that arrive in pieces, and remembers the last ones.
struct LineAssembler {
  private var partial: [UInt8] = []
  private(set) var recent: [String] = []
  let remembered: Int

  init(remembered: Int) { self.remembered = remembered }

  /// Takes bytes; returns the lines that are complete now.
  mutating func add(_ bytes: some Collection<UInt8>) -> [String] {
    var lines: [String] = []
    for byte in bytes {
      if byte == 0x0a {
        lines.append(shown(partial))
        partial.removeAll(keepingCapacity: true)
      } else if byte != 0x0d {
        partial.append(byte)
      }
    }
    remember(lines)
    return lines
  }

  /// Takes what stands without a line end as a line.
  mutating func flush() -> [String] {
    guard !partial.isEmpty else { return [] }
    let lines = [shown(partial)]
    partial = []
    remember(lines)
    return lines
  }

  private mutating func remember(_ lines: [String]) {
    recent += lines
    if recent.count > remembered { recent.removeFirst(recent.count - remembered) }
  }
}
