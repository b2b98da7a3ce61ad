// SPDX-License-Identifier: Apache-2.0
// Verification.swift: verifies a program with working memory of its own, and says in words why one is refused.

import ApusBPF

/// What became of a verification.
public struct Verification: Sendable {
  /// What is known of the program, or why it is refused.
  public let outcome: Result<Verdict, VerificationError>
  /// The registers where verification ended, as text; those without a value are left out.
  public let registers: [String]

  /// Verifies a program.
  ///
  /// - Parameters:
  ///   - program: The slots.
  ///   - contract: The use that it is for.
  ///   - budget: How much work may be done.
  ///   - wordCount: How much working memory to lend.
  public init(
    _ program: [UInt64], for contract: Contract, budget: Int = 1 << 20, wordCount: Int = 1 << 20
  ) {
    let minimum = Verifier<HeapWords>.minimumWordCount(slotCount: program.count)
    var verifier = Verifier(memory: HeapWords(count: max(wordCount, minimum)))
    do throws(VerificationError) {
      outcome = .success(try verifier.verify(program.span, for: contract, budget: budget))
      registers = []
    } catch {
      outcome = .failure(error)
      var registers: [String] = []
      for number in 0..<Register.count {
        let register = Register(number)
        let value = verifier.value(of: register)
        if value.kind != .uninitialised { registers.append("\(register.text): \(value.text)") }
      }
      self.registers = registers
    }
  }

  /// The rule that was broken, if one was.
  public var rule: VerifierRule? {
    if case .failure(.rejection(let rejection)) = outcome { rejection.rule } else { nil }
  }

  /// The verdict, if the program is accepted.
  public var verdict: Verdict? { try? outcome.get() }
}

extension AbstractValue {
  /// What is known of the value, in a few words.
  public var text: String {
    switch kind {
    case .uninitialised: "no value"
    case .number: (isLength ? "length of region \(place), " : "") + scalar.text
    case .region: "address in region \(place) + \(scalar.text)" + (mayBeZero ? ", or zero" : "")
    case .stack: "address in the stack of frame \(place) + \(scalar.text)"
    case .end: "end of region \(place)"
    }
  }
}

extension Scalar {
  /// The set in a few words.
  public var text: String {
    if let constant {
      let signed = Int64(bitPattern: constant)
      return signed >= -65_536 && signed <= 65_536 ? "\(signed)" : "0x\(constant.hexadecimal)"
    }
    if least == 0, greatest == .max {
      if signedLeast > .min || signedGreatest < .max {
        return "\(signedLeast)...\(signedGreatest)" + bitsText
      }
      return "any number" + bitsText
    }
    return "\(Self.text(least))...\(Self.text(greatest))" + bitsText
  }

  private static func text(_ value: UInt64) -> String {
    value <= 65_536 ? "\(value)" : "0x\(value.hexadecimal)"
  }

  private var bitsText: String {
    // Bounds tell of leading zeros already.
    let zeros = ~bits.unknown & ~bits.value & (UInt64.max >> UInt64(min(63, greatest.leadingZeroBitCount)))
    return zeros == 0 && bits.value == 0
      ? "" : " (bits 0x\(bits.value.hexadecimal), unknown 0x\(bits.unknown.hexadecimal))"
  }
}
