// SPDX-License-Identifier: Apache-2.0
// ProgramError.swift: what can be wrong with a program before anyone asks what it does.

/// Why a sequence of slots is no BPF program, and where.
public struct ProgramError: Error, Equatable, Sendable {
  /// What is wrong.
  public enum Reason: UInt8, Sendable {
    case empty
    case tooLong
    case unknownOperation
    case unknownRegister
    case reservedFieldUsed
    case truncatedImmediate
    case mapReference
    case symbolicReference
    case typedHelperCall
    case unknownCallKind
    case packetAccess
    case unknownAtomic
    case writesFramePointer
    case jumpOutside
    case jumpIntoImmediate
    case jumpBetweenFunctions
    case runsOffTheEnd
    case callsFirstFunction
    case workingMemory
    case codeBuffer
    case helperWithoutAddress
  }

  /// What is wrong.
  public let reason: Reason
  /// The slot of the instruction that is wrong.
  public let slot: Int

  /// Names a defect and its place.
  public init(_ reason: Reason, at slot: Int) {
    self.reason = reason
    self.slot = slot
  }
}
