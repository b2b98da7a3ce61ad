// SPDX-License-Identifier: Apache-2.0
// Engines.swift: runs a program in the interpreter and as machine code, on memory at the same addresses.

import ApusBPF
import ApusBPFTools
import BPFHost

/// What a run left behind.
struct Outcome: Equatable {
  var result: UInt64?
  var fault: Fault?
  var memory: [UInt8]
}

/// Memory and stack of one run; both engines see the same addresses.
struct Arena {
  let memory: NativeMemory
  let stack = NativeMemory.stack()

  init(_ bytes: [UInt8]) { memory = NativeMemory(bytes) }

  var arguments: InlineArray<5, UInt64> {
    memory.byteCount == 0
      ? [0, 0, 0, 0, 0] : [memory.address, UInt64(memory.byteCount), 0, 0, 0]
  }

  func interpret(_ program: [UInt64], budget: UInt64 = 1_000_000) -> Outcome {
    var surroundings = SimulatedMemory([
      .init(base: memory.address, bytes: memory.bytes),
      .init(base: stack.address, bytes: stack.bytes),
    ])
    var interpreter = Interpreter(arguments: arguments, stackTop: stack.end)
    do throws(Fault) {
      let result = try interpreter.run(program.span, in: &surroundings, budget: budget)
      return Outcome(result: result, memory: surroundings.regions[0].bytes)
    } catch {
      return Outcome(fault: error, memory: surroundings.regions[0].bytes)
    }
  }

  /// How many instructions the interpreter executes.
  func executedCount(_ program: [UInt64]) -> UInt64 {
    var surroundings = SimulatedMemory([
      .init(base: memory.address, bytes: memory.bytes),
      .init(base: stack.address, bytes: stack.bytes),
    ])
    var interpreter = Interpreter(arguments: arguments, stackTop: stack.end)
    _ = try? interpreter.run(program.span, in: &surroundings, budget: 1_000_000)
    return interpreter.executedCount
  }

  /// Only for programs that are known to end and to stay in their memory.
  func runNatively(_ program: [UInt64]) throws -> Outcome {
    let native = try NativeProgram(compiling: program)
    let before = memory.bytes
    let result = native.run(arguments, stack: stack)
    let after = memory.bytes
    memory.bytes = before
    stack.bytes = Array(repeating: 0, count: stack.byteCount)
    return Outcome(result: result, memory: after)
  }
}
