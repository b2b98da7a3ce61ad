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
  /// A scan beyond its frames, under the default policy and under its own.
  case pager
  /// Checkpoints of what changed, while the program goes on.
  case collector
  /// Four families with budgets that change.
  case tenants

  var memory: String {
    switch self {
    case .stride, .deadline, .tenants: "32M"
    case .pager, .collector: "64M"
    }
  }

  /// The word that makes it tell what its picture is drawn from, beside what it says anyway.
  var traceWords: [String] {
    switch self {
    case .pager: ["trace"]
    case .stride, .deadline, .collector, .tenants: []
    }
  }

  /// Whether a line is for the picture and not for a person.
  func isTrace(_ line: Substring) -> Bool {
    switch self {
    case .stride: line.hasPrefix(StrideTrace.mark)
    case .pager: line.hasPrefix(PagerTrace.mark)
    case .tenants: line.hasPrefix(TenantsTrace.mark)
    case .deadline, .collector: false
    }
  }

  /// The picture of what it told; nil if it told nothing to draw.
  func drawing(_ lines: [Substring]) -> String? {
    switch self {
    case .stride: StrideTrace(lines)?.drawing
    case .pager: PagerTrace(lines)?.drawing
    case .collector: CollectorBars(lines)?.drawing
    case .tenants: TenantsTrace(lines)?.drawing
    case .deadline: nil
    }
  }
}

struct Demo: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a small native program that shows one mechanism, in virtual time.",
    discussion: """
      stride: three endless loops get 3 : 2 : 1 of the CPU from a scheduler in the application; --svg draws who ran.
      deadline: a periodic task beside eight endless loops, with a contract and without.
      pager: a scan over more pages than frames, under the default policy and under the program's own.
      collector: checkpoints of what changed, found by dirty bits, while the program goes on.
      tenants: four families, each with its own way to answer, whose frames are asked back and given again.

      Words behind the name are the program's: quanta 1000; periods 10000, without 20.
      """)

  @Argument(help: "stride, deadline, pager, collector or tenants.")
  var program: DemoProgram

  @Argument(help: "Words for the program.")
  var words: [String] = []

  @Option(help: ArgumentHelp("Draw what happened into this file; not of deadline.", valueName: "file"))
  var svg: String?

  func validate() throws {
    if svg != nil, program == .deadline { throw ValidationError("deadline has nothing to draw") }
  }

  func run() throws { throw ExitCode(try execute()) }

  private func execute() throws(Failure) -> Int32 {
    let home = try Home()
    let image = try home.built("\(program.rawValue).elf")
    guard let own = try? HostFile.linkTarget(Path("/proc/self/exe".utf8)),
      let result = HostTool.run(
        [
          shown(own), "run", "--bare", "--icount", "--memory", program.memory, "--libos", shown(image),
          program.rawValue,
        ] + words + (svg == nil ? [] : program.traceWords))
    else { throw Failure(sentence: "the machine cannot be started", status: Status.machine) }
    let lines = result.text.split(separator: "\n")
    for line in lines where !program.isTrace(line) { Diagnostics.tell(String(line)) }
    if let svg {
      guard let drawing = program.drawing(lines) else {
        throw Failure(sentence: "the program told nothing to draw", status: Status.machine)
      }
      try BenchFile.write(Array(drawing.utf8), to: svg)
    }
    return result.status
  }
}
