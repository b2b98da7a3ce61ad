// SPDX-License-Identifier: Apache-2.0
// ProgramRun.swift: runs a program with some memory, as the conformance suite's plugin protocol has it.

import ApusBPF
import ApusBPFTools

/// What executes a program.
public enum Engine: Sendable {
  case interpreter
  case machineCode
}

/// Why a run has no result.
public enum RunError: Error {
  case refused(Verification)
  case fault(Fault)
  case native(NativeError)

  /// What went wrong, where, in lines for a person.
  public func lines(_ program: [UInt64]) -> [String] {
    switch self {
    case .refused(let verification):
      guard case .failure(let error) = verification.outcome else { return [] }
      return [Self.place(error.slot, program), "\(error.sentence)"] + verification.registers
    case .fault(let fault): return [Self.place(fault.slot, program), "\(fault.sentence)"]
    case .native(.program(let error)):
      return [Self.place(error.slot, program), "\(error.sentence)"]
    case .native(.memory): return ["The host gives no executable memory."]
    }
  }

  private static func place(_ slot: Int, _ program: [UInt64]) -> String {
    guard slot < program.count, let instruction = try? Instruction(program.span, at: slot) else {
      return "instruction \(slot)"
    }
    return "instruction \(slot): \(instruction.text)"
  }
}

/// What a run leaves.
public struct RunResult: Equatable, Sendable {
  /// r0 at the end.
  public let result: UInt64
  /// The program's memory at the end.
  public let memory: [UInt8]
}

/// One run of one program.
public enum ProgramRun {
  /// How many instructions the interpreter executes before it gives up.
  public static let instructionLimit: UInt64 = 1 << 26

  /// Verifies a program and runs it.
  ///
  /// - Parameters:
  ///   - program: The slots.
  ///   - memory: What r1 points to; r2 is its length.
  ///   - engine: What executes the program.
  ///   - isVerified: Whether the verifier is asked. Machine code that it has not seen can do anything to this process.
  /// - Returns: The result and the memory.
  /// - Throws: Why there is no result.
  public static func run(
    _ program: [UInt64], memory: [UInt8], engine: Engine, isVerified: Bool = true
  ) throws(RunError) -> RunResult {
    if isVerified {
      let verification = Verification(
        program, for: .freeStanding(memoryByteCount: memory.count), budget: 1 << 22,
        wordCount: 1 << 22)
      guard verification.verdict != nil else { throw .refused(verification) }
    }
    let place = NativeMemory(memory)
    let stack = NativeMemory.stack()
    let arguments: InlineArray<5, UInt64> =
      memory.isEmpty ? InlineArray(repeating: 0) : [place.address, UInt64(memory.count), 0, 0, 0]
    switch engine {
    case .interpreter:
      var surroundings = SimulatedMemory([
        .init(base: place.address, bytes: memory), .init(base: stack.address, bytes: stack.bytes),
      ])
      var interpreter = Interpreter(arguments: arguments, stackTop: stack.end)
      do throws(Fault) {
        let result = try interpreter.run(
          program.span, in: &surroundings, budget: instructionLimit)
        return RunResult(result: result, memory: surroundings.regions[0].bytes)
      } catch { throw .fault(error) }
    case .machineCode:
      let native: NativeProgram
      do throws(NativeError) {
        native = try NativeProgram(compiling: program)
      } catch { throw .native(error) }
      let result = native.run(arguments, stack: stack)
      return RunResult(result: result, memory: place.bytes)
    }
  }
}
