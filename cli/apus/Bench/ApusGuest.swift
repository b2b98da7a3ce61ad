// SPDX-License-Identifier: Apache-2.0
// ApusGuest.swift: the Apus machines of the bench: the native program, the Linux binary on LibLinux, and applications.

import ApusImage
import Glibc

/// What runs on Apus in one boot.
enum ApusGuest: CaseIterable {
  /// A program in the LibOS's place, which calls the kernel itself.
  case native
  /// The same static Linux program that the twin runs, on LibLinux.
  case linux
  /// apps/pager, which pages by itself.
  case pager
  /// apps/collector, which makes checkpoints.
  case collector

  /// Boots it once and measures the named cases.
  func boot(
    _ machine: BenchMachine, _ counting: BenchMachine.Counting, cases: [String], home: Home,
    programs: BenchPrograms, events: BenchEventCounter?
  ) throws(Failure) -> GuestResult {
    let kernel = try home.kernel()
    var tree = FileTree()
    tree.addSkeleton(withAccounts: false)
    let program: String
    let libos: Path
    switch self {
    case .native:
      program = "/native"
      libos = Path(programs.native.utf8)
    case .linux:
      libos = try home.libos()
      program = "/linux"
      for (path, file) in [("/linux", programs.linux), ("/tiny", programs.tiny)] {
        tree.addFile(Path(path.utf8), bytes: try BenchFile.read(file), mode: 0o755)
      }
    case .pager, .collector:
      libos = try home.built("\(self).elf")
      program = "\(self)"
    }
    let command = StartCommand(
      settings: Self.settings, program: Array(program.utf8),
      arguments: ([program] + words(cases)).map { Array($0.utf8) }, environment: [])
    let image = try ImageFile(libos: libos, tree: tree, command: command, keptAt: nil)
    let line = machine.apus(kernel: kernel, image: image.path, counting: counting, events: events)
    return try GuestRun.boot(line, console: .records, seconds: 120)
  }

  /// The words of the start command: an application has one case, and is told that it is measured.
  private func words(_ cases: [String]) -> [String] {
    switch self {
    case .native, .linux: cases
    case .pager, .collector: ["bench"]
    }
  }

  /// The same wall clock and random bytes in every run: counted runs are then the same to the instruction.
  private static let settings = ([("workdir", "/")] + GuestProgram.repeatable).map {
    StartCommand.Setting(key: Array($0.0.utf8), value: Array($0.1.utf8))
  }
}
