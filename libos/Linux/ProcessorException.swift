// SPDX-License-Identifier: Apache-2.0
// ProcessorException.swift: which signal a fault of the application becomes (SDM vol. 3, 6.15; signal(7)).

import ApusRuntime
import ApusUnix

/// Vectors of the processor's exceptions.
enum ProcessorException {
  static var divide: UInt64 { 0 }
  static var debug: UInt64 { 1 }
  static var breakpoint: UInt64 { 3 }
  static var overflow: UInt64 { 4 }
  static var bound: UInt64 { 5 }
  static var invalidOpcode: UInt64 { 6 }
  static var stackSegment: UInt64 { 12 }
  static var pageFault: UInt64 { 14 }
  static var floatingPoint: UInt64 { 16 }
  static var alignment: UInt64 { 17 }
  static var vectorFloatingPoint: UInt64 { 19 }
}

extension Task {
  /// Turns a page fault that cannot be resolved into its signal.
  func take(_ outcome: FaultOutcome, _ address: UInt64, _ registers: UserRegisters) {
    switch outcome {
    case .resolved: return
    case .unmapped: force(SignalInfo(signal: Signal.segmentation, code: 1, sender: address))
    case .forbidden: force(SignalInfo(signal: Signal.segmentation, code: 2, sender: address))
    case .guarded: force(SignalInfo(signal: Signal.segmentation, code: SignalInfo.keyCode, sender: address))
    case .beyondFile: force(SignalInfo(signal: Signal.bus, code: 2, sender: address))
    case .outOfMemory: endForWantOfMemory()
    }
  }

  /// Ends a process that needs a page when there is none, and says so.
  func endForWantOfMemory() {
    var text = ascii("apus: ")
    text += process.name
    text += ascii(" (process ")
    text.append(decimal: process.identifier)
    text += ascii("): killed, the machine is out of memory")
    notice(text)
    process.end(status: Signal.kill)
  }

  /// Turns an exception other than a page fault into its signal.
  func takeException(_ vector: UInt64, _ error: UInt64, _ registers: UserRegisters) {
    let instruction = registers.rip
    switch vector {
    case ProcessorException.divide:
      force(SignalInfo(signal: Signal.arithmetic, code: 1, sender: instruction))
    case ProcessorException.debug:
      registers.flags &= ~0x100
      force(SignalInfo(signal: Signal.trap, code: 2, sender: instruction))
    case ProcessorException.breakpoint:
      force(SignalInfo(signal: Signal.trap, code: SignalInfo.kernelCode))
    case ProcessorException.overflow, ProcessorException.bound:
      force(SignalInfo(signal: Signal.segmentation, code: SignalInfo.kernelCode))
    case ProcessorException.invalidOpcode:
      force(SignalInfo(signal: Signal.illegal, code: 2, sender: instruction))
    case ProcessorException.alignment:
      force(SignalInfo(signal: Signal.bus, code: 1))
    case ProcessorException.stackSegment:
      force(SignalInfo(signal: Signal.bus, code: SignalInfo.kernelCode))
    case ProcessorException.floatingPoint, ProcessorException.vectorFloatingPoint:
      force(
        SignalInfo(
          signal: Signal.arithmetic,
          code: Execution.floatingPointCode(isVector: vector == ProcessorException.vectorFloatingPoint),
          sender: instruction))
    default:
      force(SignalInfo(signal: Signal.segmentation, code: SignalInfo.kernelCode))
    }
  }
}
