// SPDX-License-Identifier: Apache-2.0
// DemoCommand.swift: `apus demo`: runs one of the small native programs of apps/ in virtual time, and draws its trace.

import ArgumentParser
import Glibc

/// A native program that shows one mechanism.
enum DemoProgram: String, CaseIterable, ExpressibleByArgument {
  /// A proportional-share scheduler as a library: 3 : 2 : 1 by directed yields.
  case stride
  /// A periodic task that meets every deadline thanks to a contract.
  case deadline
}

struct Demo: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a small native program that shows one mechanism, in virtual time.",
    discussion: """
      stride: three endless loops get 3 : 2 : 1 of the CPU from a scheduler in the application; --svg draws who ran.
      deadline: a periodic task beside eight endless loops, with a contract and without.

      Words behind the name are the program's: quanta 1000; periods 10000, without 20.
      """)

  @Argument(help: "stride or deadline.")
  var program: DemoProgram

  @Argument(help: "Words for the program.")
  var words: [String] = []

  @Option(help: ArgumentHelp("Draw the trace of stride into this file.", valueName: "file"))
  var svg: String?

  func validate() throws {
    if svg != nil, program != .stride { throw ValidationError("only stride has a trace to draw") }
  }

  func run() throws { throw ExitCode(try execute()) }

  private func execute() throws(Failure) -> Int32 {
    let home = try Home()
    let image = try home.built("\(program.rawValue).elf")
    guard let own = try? HostFile.linkTarget(Path("/proc/self/exe".utf8)),
      let result = HostTool.run(
        [shown(own), "run", "--bare", "--icount", "--memory", "32M", "--libos", shown(image), program.rawValue] + words)
    else { throw Failure(sentence: "the machine cannot be started", status: Status.machine) }
    let lines = result.text.split(separator: "\n")
    for line in lines where !line.hasPrefix(StrideTrace.mark) { Diagnostics.tell(String(line)) }
    if let svg {
      guard let trace = StrideTrace(lines) else {
        throw Failure(sentence: "the program told no quantum to draw", status: Status.machine)
      }
      try BenchFile.write(Array(trace.drawing.utf8), to: svg)
    }
    return result.status
  }
}
