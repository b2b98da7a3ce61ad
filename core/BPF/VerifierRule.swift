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
  case jumpsBack
  case callsFunction
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
}
