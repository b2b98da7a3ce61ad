// SPDX-License-Identifier: Apache-2.0
// ProtectedTransfer.swift: calling another environment and serving others, by protected control transfer.

import ApusABI
import CRuntime

/// What travels with a protected control transfer: nine words, in registers.
public struct ProtectedMessage {
  fileprivate var record = runtime_message()

  /// Makes a message.
  ///
  /// - Parameters:
  ///   - operation: The first word.
  ///   - a: The second.
  ///   - b: The third.
  ///   - c: The fourth.
  public init(_ operation: UInt64 = 0, _ a: UInt64 = 0, _ b: UInt64 = 0, _ c: UInt64 = 0) {
    record.words.0 = operation
    record.words.1 = a
    record.words.2 = b
    record.words.3 = c
  }

  /// One of the nine words; others there are not.
  public subscript(index: Int) -> UInt64 {
    get {
      switch index {
      case 0: record.words.0
      case 1: record.words.1
      case 2: record.words.2
      case 3: record.words.3
      case 4: record.words.4
      case 5: record.words.5
      case 6: record.words.6
      case 7: record.words.7
      case 8: record.words.8
      default: preconditionFailure("a message has nine words")
      }
    }
    set {
      switch index {
      case 0: record.words.0 = newValue
      case 1: record.words.1 = newValue
      case 2: record.words.2 = newValue
      case 3: record.words.3 = newValue
      case 4: record.words.4 = newValue
      case 5: record.words.5 = newValue
      case 6: record.words.6 = newValue
      case 7: record.words.7 = newValue
      case 8: record.words.8 = newValue
      default: preconditionFailure("a message has nine words")
      }
    }
  }

  /// The handle of the environment that it came from, by the kernel's word.
  public var sender: UInt64 { record.peer }
  /// Of a call: until when its caller waits, a time in ticks.
  public var deadline: UInt64 { record.deadline }
}

/// Why a protected call came to no reply.
public enum ProtectedCallError: Error {
  /// The callee does not exist, or has ended.
  case gone
  /// It serves somebody else, or does not accept.
  case busy
  /// The deadline passed.
  case expired
  /// As many as may already wait for each other.
  case tooDeep
}

/// Protected control transfer, for a LibOS.
public enum ProtectedTransfer {
  /// Calls another environment and waits for its reply.
  ///
  /// The family's LibOS goes on in other executions meanwhile, as it does when this one suspends: nothing of it may be
  /// half changed. The callee runs on this execution's time.
  ///
  /// - Parameters:
  ///   - target: The environment's handle.
  ///   - message: What it is told.
  ///   - deadline: Until when to wait, a time in ticks; `UInt64.max`: for good.
  /// - Returns: The reply.
  /// - Throws: Why there is none.
  public static func call(
    _ target: UInt64, _ message: ProtectedMessage, deadline: UInt64
  ) throws(ProtectedCallError) -> ProtectedMessage {
    var reply = message
    while true {
      // SAFETY: the record is this function's own, and the other side never sees its address.
      let ending = unsafe runtime_transfer(&reply.record, target, deadline)
      switch ending {
      case Int64(APUS_TRANSFER_REPLY):
        Execution.giveUpOwedSlice()
        return reply
      case Int64(APUS_TRANSFER_DIED): throw .gone
      case Int64(APUS_TRANSFER_EXPIRED): throw .expired
      case -Int64(SystemCallError.expired.rawValue):
        // Either the deadline, or the slice has ended and there is nothing to give.
        guard Clock.ticks < deadline else { throw .expired }
        Execution.yield(to: nil)
      case -Int64(SystemCallError.inUse.rawValue): throw .busy
      case -Int64(SystemCallError.exhausted.rawValue): throw .tooDeep
      default: throw .gone
      }
    }
  }

  /// Serves whoever calls this environment, one after the other, for good.
  ///
  /// Between calls the execution sleeps; its own slices bring it nothing.
  ///
  /// - Parameter answer: Makes the reply to a call's message; what an asynchronous one is answered goes nowhere.
  public static func serve(_ answer: (ProtectedMessage) -> ProtectedMessage) -> Never {
    var message = ProtectedMessage()
    // SAFETY: as above; the record lies on this stack as long as the execution lives.
    _ = unsafe runtime_serve(&message.record, 0)
    while true {
      message = answer(message)
      _ = unsafe runtime_serve(&message.record, 1)
    }
  }
}

extension Execution {
  /// The environment's handle, by which others call it.
  public var environmentHandle: UInt64 { handle }
}
