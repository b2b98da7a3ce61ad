// SPDX-License-Identifier: Apache-2.0
// BenchPrograms.swift: compiles the bench's programs: those that run on both systems, and each one's own.

import Glibc

/// The programs of bench/programs, compiled.
struct BenchPrograms {
  /// The bench program itself: a static binary against the C library.
  let linux: String
  /// The same with the twins of applications, which only Linux runs.
  let applications: String
  /// What the exec case executes.
  let tiny: String
  /// The twin's first process.
  let start: String
  /// What takes the LibOS's place in the native image.
  let native: String
  /// The plugin that counts events; nil when it does not compile.
  let eventPlugin: String?

  /// Compiles into `folder` what is stale there; `root` is the repository.
  init(root: String, folder: String) throws(Failure) {
    let source = root + "/bench/programs/"
    linux = folder + "/linux"
    applications = folder + "/applications"
    tiny = folder + "/tiny"
    start = folder + "/init"
    native = folder + "/native"
    try BenchFile.makeFolder(folder)
    let log = folder + "/compile.log"
    BenchFile.remove(log)
    let compiler = try Self.compiler()
    let jobs: [(output: String, sources: [String], needs: [String], words: [String])] = [
      (
        linux, ["linux.c", "linux-memory.c", "linux-messages.c", "linux-processes.c"], ["linux.h", "measure.h"],
        ["-O2", "-static", "-pthread"]
      ),
      (
        applications,
        [
          "linux.c", "linux-memory.c", "linux-messages.c", "linux-processes.c", "linux-pager.c", "linux-collector.c",
        ], ["linux.h", "measure.h"], ["-O2", "-static", "-pthread"]
      ),
      (tiny, ["tiny.S"], [], ["-nostdlib", "-static"]),
      (start, ["init.S"], [], ["-nostdlib", "-static", "-Wl,-Ttext-segment=0x700000000000"]),
      (
        native, ["native.c", "native-memory.c", "native-control.c", "native-transfer.c", "native.S"],
        ["native.h", "measure.h", "../../abi/CApusABI/include/ApusABI.h"],
        // One page above the slot's start, where the u-area is. General registers only, as in a LibOS.
        [
          "-O2", "-ffreestanding", "-fpie", "-fno-stack-protector", "-fcf-protection=none",
          "-mgeneral-regs-only", "-nostdlib", "-static", "-no-pie", "-Wl,-e,native_start",
          "-Wl,-Ttext-segment=0x700000001000", "-I", source + "../../abi/CApusABI/include",
        ]
      ),
    ]
    func compile(_ output: String, _ sources: [String], needs: [String], _ words: [String]) throws(Failure) {
      let sources = sources.map { source + $0 }
      guard !BenchFile.isFresh(output, from: sources + needs.map { source + $0 }) else { return }
      let draft = output + ".new"
      try Tool.run(
        compiler, ["-Wall", "-Wextra", "-Werror"] + words + ["-o", draft] + sources, in: ".", log: log)
      guard rename(draft, output) == 0 else { throw BenchFailure.file(output, errno) }
    }
    for job in jobs { try compile(job.output, job.sources, needs: job.needs, job.words) }
    let plugin = folder + "/events.so"
    do throws(Failure) {
      try compile(
        plugin, ["../plugin/events.c"], needs: [], ["-O2", "-shared", "-fPIC", "-fvisibility=hidden"])
      eventPlugin = plugin
    } catch {
      Diagnostics.say("\(error.sentence); events are not counted")
      eventPlugin = nil
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
