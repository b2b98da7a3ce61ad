// SPDX-License-Identifier: Apache-2.0
// Sentences.swift: what is wrong with a program, in words.

import ApusBPF

extension ProgramError {
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

extension VerifierRule {
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
    case .jumpsBack: "In the kernel jumps only lead forward: loops have to be unrolled."
    case .callsFunction: "In the kernel a program is one function: what it calls has to be inlined."
    }
  }
}

extension VerificationError {
  /// One sentence for the person who wrote the program.
  public var sentence: StaticString {
    switch self {
    case .program(let error): error.sentence
    case .rejection(let rejection): rejection.rule.sentence
    }
  }
}
