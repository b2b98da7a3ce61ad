// SPDX-License-Identifier: Apache-2.0
// BenchPrograms.swift: compiles the bench's programs: those that run on both systems, and each one's own.

import Glibc

/// The programs of bench/programs, compiled.
struct BenchPrograms {
  /// The bench program itself: a static binary against the C library.
  let linux: String
  /// What the exec case executes.
  let tiny: String
  /// The twin's first process.
  let start: String
  /// What takes the LibOS's place in the native image.
  let native: String

  /// Compiles into `folder` what is stale there; `root` is the repository.
  init(root: String, folder: String) throws(Failure) {
    let source = root + "/bench/programs/"
    linux = folder + "/linux"
    tiny = folder + "/tiny"
    start = folder + "/init"
    native = folder + "/native"
    try BenchFile.makeFolder(folder)
    let log = folder + "/compile.log"
    BenchFile.remove(log)
    let compiler = try Self.compiler()
    let jobs: [(output: String, sources: [String], needs: [String], words: [String])] = [
      (linux, ["linux.c"], ["measure.h"], ["-O2", "-static"]),
      (tiny, ["tiny.S"], [], ["-nostdlib", "-static"]),
      (start, ["init.S"], [], ["-nostdlib", "-static", "-Wl,-Ttext-segment=0x700000000000"]),
      (
        native, ["native.c", "native.S"], ["../../abi/CApusABI/include/ApusABI.h"],
        // One page above the slot's start, where the u-area is. General registers only, as in a LibOS.
        [
          "-O2", "-ffreestanding", "-fpie", "-fno-stack-protector", "-fcf-protection=none",
          "-mgeneral-regs-only", "-nostdlib", "-static", "-no-pie", "-Wl,-e,native_start",
          "-Wl,-Ttext-segment=0x700000001000", "-I", source + "../../abi/CApusABI/include",
        ]
      ),
    ]
    for job in jobs {
      let sources = job.sources.map { source + $0 }
      let all = sources + job.needs.map { source + $0 }
      guard !BenchFile.isFresh(job.output, from: all) else { continue }
      let draft = job.output + ".new"
      try Tool.run(
        compiler, ["-Wall", "-Wextra", "-Werror"] + job.words + ["-o", draft] + sources, in: ".",
        log: log)
      guard rename(draft, job.output) == 0 else { throw BenchFailure.file(job.output, errno) }
    }
  }

  /// The speed of this host's time stamp counter, as the bench program sees it when it runs here.
  func hostTicksPerSecond() -> Double? {
    let output = (try? Tool.output(linux, ["-s", "60", "getppid"], limit: 1 << 16)) ?? []
    for line in shown(output).split(separator: "\n") {
      if case .clock(let ticks) = BenchLine(line) { return ticks }
    }
    return nil
  }

  private static func compiler() throws(Failure) -> String {
    for name in ["gcc", "clang", "cc"] where HostFile.findProgram(Array(name.utf8)) != nil {
      return name
    }
    throw Failure(
      sentence: "the bench programs need a C compiler; install one with: apt-get install gcc libc6-dev",
      status: BenchFailure.status)
  }
}
