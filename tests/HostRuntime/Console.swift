// SPDX-License-Identifier: Apache-2.0
// Console.swift: a console for host tests: input is set, output is kept.

import ApusABI
import Synchronization

/// What has gone through the console.
private struct State {
  var sent: [UInt8: [UInt8]] = [:]
  var arrived: [UInt8] = []
  var room = Int.max
}

private let state = Mutex(State())

/// The console device.
public enum Console {
  /// Sends bytes.
  ///
  /// - Returns: How many the host has taken.
  public static func write(_ stream: ConsoleStream, _ bytes: Bytes) -> Int {
    let array = bytes.array
    return state.withLock { state in
      let count = min(state.room, array.count)
      if state.room != Int.max { state.room -= count }
      state.sent[stream.rawValue, default: []].append(contentsOf: array[..<count])
      return count
    }
  }

  /// Leaves what has arrived: nothing waits here.
  public static func leaveInput() {}

  /// Takes what has arrived.
  public static func read(_ into: Bytes) -> Int {
    let part: [UInt8] = state.withLock { state in
      let count = min(into.count, state.arrived.count)
      defer { state.arrived.removeFirst(count) }
      return Array(state.arrived[..<count])
    }
    into.copy(part)
    return part.count
  }

  /// Tests: starts anew.
  public static func reset() { state.withLock { $0 = State() } }
  /// Tests: lets bytes arrive.
  public static func arrive(_ bytes: [UInt8]) { state.withLock { $0.arrived.append(contentsOf: bytes) } }
  /// Tests: how many bytes the host still takes.
  public static func setRoom(_ count: Int) { state.withLock { $0.room = count } }
  /// Tests: what was sent on a stream.
  public static func sent(_ stream: ConsoleStream) -> [UInt8] { state.withLock { $0.sent[stream.rawValue] ?? [] } }
}
