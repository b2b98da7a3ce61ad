// SPDX-License-Identifier: Apache-2.0
// VerifierRule.swift: what a program must not do, rule by rule.

/// A rule of the verifier; the name says what the program did.
public enum VerifierRule: UInt8, Sendable {
  case uninitialisedRegister
  case uninitialisedStack
  case notAnAddress
  case zeroAddress
  case outsideRegion
  case outsideStack
  case notReadable
  case notWritable
  case partOfField
  case writesField
  case misalignedAtomic
  case addressArithmetic
  case addressTooFar
  case addressCompared
  case addressStored
  case addressOverwritten
  case addressBytesRead
  case addressReturned
  case addressToAtomic
  case danglingStack
  case unknownHelper
  case nondeterministicHelper
  case helperNumber
  case helperAddress
  case helperMemory
  case callsTooDeep
  case endlessLoop
  case tooManyInstructions
  case tooComplex
  case resultOutOfRange

  /// One sentence for the person who wrote the program.
  public var sentence: StaticString {
    switch self {
    case .uninitialisedRegister: "The register has no value yet."
    case .uninitialisedStack: "These bytes of the stack have no value yet."
    case .notAnAddress: "Memory is reached through something that is not an address."
    case .zeroAddress: "The address may be zero; compare it with zero first."
    case .outsideRegion: "The access may lie outside of the region's known bytes."
    case .outsideStack: "The access may lie outside of the function's 512 bytes of stack."
    case .notReadable: "The region may not be read."
    case .notWritable: "The region may not be written."
    case .partOfField: "The field holds an address or a length and can only be read whole."
    case .writesField: "The field holds an address or a length and may not be written."
    case .misalignedAtomic: "An atomic operation's address must be a multiple of its width."
    case .addressArithmetic: "Only adding to an address, subtracting from it and the difference of two are allowed."
    case .addressTooFar: "What is added to the address is not bounded, or too much."
    case .addressCompared: "Addresses can only be compared with zero or within their own region."
    case .addressStored: "An address may not be stored where others can read it, nor a part of one."
    case .addressOverwritten: "The store may hit an address kept on the stack."
    case .addressBytesRead: "The bytes of an address kept on the stack may not be read one by one."
    case .addressReturned: "The result may not be an address."
    case .addressToAtomic: "An atomic operation's operands must be numbers."
    case .danglingStack: "The address of a function's stack may not outlive the function."
    case .unknownHelper: "There is no such helper here."
    case .nondeterministicHelper: "The helper's result depends on more than its arguments; here it may not."
    case .helperNumber: "The helper's argument is not a number in its range."
    case .helperAddress: "The helper's argument is not the address that it wants."
    case .helperMemory: "The helper's memory does not lie within bytes that the program has."
    case .callsTooDeep: "Calls are nested deeper than 8 functions."
    case .endlessLoop: "The loop comes back to the same state and may never end."
    case .tooManyInstructions: "At worst the program executes more instructions than it may."
    case .tooComplex: "The program has too many paths or states to be verified within the budget."
    case .resultOutOfRange: "The result may be outside of its range."
    }
  }
}

/// Why a program is not accepted, and where.
public struct Rejection: Error, Equatable, Sendable {
  /// The rule that is broken.
  public let rule: VerifierRule
  /// The slot of the instruction that breaks it.
  public let slot: Int
}

/// Why verification ended without a verdict.
public enum VerificationError: Error, Equatable, Sendable {
  /// The slots are no program.
  case program(ProgramError)
  /// The program breaks a rule.
  case rejection(Rejection)

  /// The slot of the instruction that is wrong.
  public var slot: Int {
    switch self {
    case .program(let error): error.slot
    case .rejection(let rejection): rejection.slot
    }
  }

  /// One sentence for the person who wrote the program.
  public var sentence: StaticString {
    switch self {
    case .program(let error): error.sentence
    case .rejection(let rejection): rejection.rule.sentence
    }
  }
}

/// What is known of an accepted program.
public struct Verdict: Equatable, Sendable {
  /// No run executes more instructions than these, helpers' costs included.
  public let worstInstructionCount: UInt64
  /// No run needs more bytes of stack.
  public let stackByteCount: Int
  /// How much work the verification was, in the budget's units.
  public let work: Int
}
