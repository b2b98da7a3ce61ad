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

  /// One sentence for the person who wrote the program.
  public var sentence: StaticString {
    switch reason {
    case .empty: "The program has no instructions."
    case .tooLong: "The program has more instructions than are allowed."
    case .unknownOperation: "The operation code is not one of RFC 9669."
    case .unknownRegister: "There are only the registers r0 to r10."
    case .reservedFieldUsed: "A field that the instruction does not use is not zero."
    case .truncatedImmediate: "The second half of a 64-bit immediate is missing or not empty."
    case .mapReference: "Maps are not supported."
    case .symbolicReference: "This kind of 64-bit immediate (a variable or code address) is not supported."
    case .typedHelperCall: "Helpers cannot be called by type identifier."
    case .unknownCallKind: "This kind of call does not exist."
    case .packetAccess: "The obsolete packet access instructions are not supported."
    case .unknownAtomic: "This atomic operation does not exist or has no such width."
    case .writesFramePointer: "The frame pointer r10 is read-only."
    case .jumpOutside: "The jump leads out of the program."
    case .jumpIntoImmediate: "The jump leads into the middle of a 64-bit immediate."
    case .jumpBetweenFunctions: "The jump leads into another function."
    case .runsOffTheEnd: "The last instruction of a function must be exit or a jump."
    case .callsFirstFunction: "The first function is the program itself and cannot be called."
    case .workingMemory: "There is not enough working memory for a program of this length."
    case .codeBuffer: "The compiled program does not fit its buffer."
    case .helperWithoutAddress: "The program calls a helper that was given no address."
    }
  }
}
