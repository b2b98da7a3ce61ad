// SPDX-License-Identifier: Apache-2.0
// KernelVerification.swift: verifies and compiles a program as the kernel does, in steps.

import ApusBPF

/// What the kernel would make of a program.
public struct KernelVerification: Sendable {
  /// The most instructions of any run, or why the kernel refuses the program.
  public let outcome: Result<UInt64, VerificationError>
  /// The machine code, if it is accepted and every helper has an address.
  public private(set) var code: [UInt8] = []

  /// Words that the kernel lends for a program, as four frames do.
  public static let wordCount = 4 * 512

  /// Verifies a program and compiles it.
  ///
  /// - Parameters:
  ///   - program: The slots.
  ///   - contract: The use that it is for.
  ///   - count: How many instructions each step goes over.
  ///   - helpers: Where the helpers are.
  public init(
    _ program: [UInt64], for contract: Contract, count: Int = 8, helpers: some HelperAddresses = NoHelpers()
  ) {
    let words = max(Self.wordCount, ForwardVerifier<HeapWords>.minimumWordCount(slotCount: program.count))
    guard !program.isEmpty else {
      outcome = .failure(.program(ProgramError(.empty, at: 0)))
      return
    }
    var verifier = ForwardVerifier(memory: HeapWords(count: words), slotCount: program.count, for: contract)
    do throws(VerificationError) {
      while !(try verifier.step(program.span, for: contract, count: count)) {}
    } catch {
      outcome = .failure(error)
      return
    }
    outcome = .success(verifier.worst)
    var compiler = Compiler(into: HeapCode(capacity: 1 << 16), marks: verifier.marks)
    compiler.begin(verifier.facts)
    var length: Int?
    do throws(ProgramError) {
      while length == nil { length = try compiler.step(program.span, helpers: helpers, count: count) }
    } catch { return }
    code = Array(compiler.end().bytes.prefix(length ?? 0))
  }
}
