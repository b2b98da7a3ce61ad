// SPDX-License-Identifier: Apache-2.0
// VectorTests.swift: the shared conformance vectors, where they are; APUS_BPF_VECTORS names the file.

import ApusBPF
import ApusBPFTools
import BPFHost
import Foundation
import Testing

struct Vector: Decodable, Sendable, CustomTestStringConvertible {
  let name: String
  let program: String
  let memory: String?
  let r0: String?
  let error: String?

  var testDescription: String { name }
}

enum Vectors {
  static let path: String = {
    if let path = ProcessInfo.processInfo.environment["APUS_BPF_VECTORS"] { return path }
    let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    return repository.deletingLastPathComponent()
      .appendingPathComponent("shared/conformance/bpf/vectors.jsonl").path
  }()

  static let all: [Vector] = {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return [] }
    return text.split(separator: "\n").compactMap {
      try? JSONDecoder().decode(Vector.self, from: Data($0.utf8))
    }
  }()
}

@Suite("Shared conformance vectors")
struct VectorTests {
  @Test(
    "interpreter and machine code give the expected result",
    .enabled(if: !Vectors.all.isEmpty, "the shared vectors are not on this machine"),
    arguments: Vectors.all)
  func result(_ vector: Vector) throws {
    let program = try #require(Hexadecimal.bytes(vector.program).flatMap(Hexadecimal.slots))
    let memory = try #require(Hexadecimal.bytes(vector.memory ?? ""))
    let expected = vector.r0.flatMap { UInt64(hexadecimal: $0) }
    let arena = Arena(memory)
    let interpreted = arena.interpret(program)
    #expect(interpreted.result == expected)
    guard expected != nil else { return }
    #expect(try arena.runNatively(program) == interpreted)
  }
}

extension VectorTests {
  @Test(
    "the verifier accepts",
    .enabled(if: !Vectors.all.isEmpty, "the shared vectors are not on this machine"),
    arguments: Vectors.all)
  func accepted(_ vector: Vector) throws {
    let program = try #require(Hexadecimal.bytes(vector.program).flatMap(Hexadecimal.slots))
    let memory = try #require(Hexadecimal.bytes(vector.memory ?? ""))
    let verification = Verification(program, for: .freeStanding(memoryByteCount: memory.count))
    guard case .failure(let error) = verification.outcome else { return }
    Issue.record("\(error.slot): \(error.sentence)")
  }
}
