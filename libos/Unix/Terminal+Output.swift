// SPDX-License-Identifier: Apache-2.0
// Terminal+Output.swift: from programs, and from echo, to the person.

import ApusRuntime

extension Terminal {
  /// Whether a write would take something.
  public var hasRoom: Bool { !isStopped && stagedStart == stagedEnd }

  /// Takes a program's output.
  ///
  /// - Returns: How many bytes; fewer than given when the host does not keep up.
  /// - Throws: `EAGAIN` if none.
  public func write(_ from: Bytes, error: Bool = false) throws(Errno) -> Int {
    if from.count == 0 { return 0 }
    if isStopped || !drain() { throw .EAGAIN }
    guard let page = staging else { throw .ENOMEM }
    let buffer = page.bytes
    stagedIsError = error
    var done = 0
    while done < from.count {
      done += stage(from.from(done), into: buffer)
      if !drain() { break }
    }
    return done
  }

  /// Sends what is staged.
  ///
  /// - Returns: Whether all of it is gone.
  @discardableResult public func drain() -> Bool {
    guard stagedStart < stagedEnd, let page = staging else { return true }
    if isStopped { return false }
    while stagedStart < stagedEnd {
      let part = page.bytes.part(stagedStart, stagedEnd - stagedStart)
      // Without a sink it goes nowhere.
      let count = sink?.accept(part, error: stagedIsError) ?? part.count
      if count == 0 { return false }
      stagedStart += count
    }
    stagedStart = 0
    stagedEnd = 0
    return true
  }

  /// Called when the host takes bytes again.
  public func outputProceeds() {
    if drain() { writeQueue.wakeAll() }
  }

  /// Processes output into the empty staging page, whole spans at a time.
  ///
  /// - Returns: How many bytes of `from` are in it.
  private func stage(_ from: Bytes, into buffer: Bytes) -> Int {
    let newline = UInt8(ascii: "\n")
    let flags = settings.output
    let maps = flags & Termios.Output.process != 0
    let expands = maps && flags & Termios.Output.newlineToReturn != 0
    let folds = maps && flags & Termios.Output.returnToNewline != 0
    if !expands && !folds {
      let count = min(from.count, buffer.count)
      buffer.copy(from.part(0, count))
      stagedEnd = count
      return count
    }
    var done = 0
    while done < from.count && stagedEnd < buffer.count {
      let limit = min(from.count - done, buffer.count - stagedEnd)
      let span = from.part(done, limit).spanWithout(expands ? newline : UInt8(ascii: "\r"))
      if span > 0 {
        buffer.copy(from.part(done, span), to: stagedEnd)
        stagedEnd += span
        done += span
        continue
      }
      if expands {
        guard stagedEnd + 2 <= buffer.count else { break }
        buffer[stagedEnd] = UInt8(ascii: "\r")
        buffer[stagedEnd + 1] = newline
        stagedEnd += 2
      } else {
        buffer[stagedEnd] = newline
        stagedEnd += 1
      }
      done += 1
    }
    return done
  }

  /// Shows bytes of the line discipline's own; they are lost if the host does not keep up.
  func show(_ bytes: [UInt8]) {
    guard let page = staging, !bytes.isEmpty else { return }
    drain()
    if stagedStart == stagedEnd {
      stagedStart = 0
      stagedEnd = 0
      stagedIsError = false
    }
    for byte in bytes {
      guard stagedEnd + 2 <= page.bytes.count else { break }
      if byte == UInt8(ascii: "\n") && settings.output & (Termios.Output.process | Termios.Output.newlineToReturn) == 5
      {
        page.bytes[stagedEnd] = UInt8(ascii: "\r")
        stagedEnd += 1
      }
      page.bytes[stagedEnd] = byte
      stagedEnd += 1
    }
    drain()
  }
}

extension Bytes {
  /// How many bytes come before the first `value`; eight are looked at together.
  func spanWithout(_ value: UInt8) -> Int {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let pattern = UInt64(value) &* ones
    var index = 0
    while index + 8 <= count {
      let word = load(index, as: UInt64.self) ^ pattern
      // A byte of the difference is zero exactly if the borrow reaches its top bit; the lowest such byte is exact.
      let zero = (word &- ones) & ~word & (ones &* 0x80)
      if zero != 0 { return index + zero.trailingZeroBitCount / 8 }
      index += 8
    }
    while index < count && self[index] != value { index += 1 }
    return index
  }
}
