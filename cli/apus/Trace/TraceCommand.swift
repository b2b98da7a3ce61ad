// SPDX-License-Identifier: Apache-2.0
// TraceCommand.swift: `apus trace`: the events of a running machine as a file for Perfetto.

import ArgumentParser
import CApusABI
import Glibc

struct TraceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trace",
    abstract: "Write what happens on a running machine's timelines as a trace for Perfetto.",
    discussion: """
      The machine has to keep events: apus run --append trace=65536 PROGRAM, the number being how many it keeps until \
      they are read. The trace goes on until the machine ends, or --seconds are over, or Ctrl-C. Open it in \
      ui.perfetto.dev: a track for each CPU and each environment, arrows where one wakes or calls another.
      """)

  @Argument(help: ArgumentHelp("The file to write.", valueName: "file"))
  var file: String

  @OptionGroup var watch: WatchOptions

  @Option(help: ArgumentHelp("End after so many seconds.", valueName: "seconds"))
  var seconds: Double?

  func validate() throws {
    if let seconds, !(seconds > 0 && seconds < 1e6) {
      throw ValidationError("--seconds takes a number of seconds above 0")
    }
  }

  func run() throws { try execute() }

  private func execute() throws(Failure) {
    let machine = try WatchedMachine(watch)
    guard var reader = EventReader(machine.pages) else {
      throw Failure(
        sentence: "the machine \(machine.name) keeps no events; start it with: apus run --append trace=65536 PROGRAM",
        status: Status.usage)
    }
    let state = try machine.read()
    let pages = machine.pages
    var trace = PerfettoTrace(
      title: machine.name, ticksPerSecond: max(1, state.information.ticks_per_second), names: machine.names
    ) { slot in
      let place = pages.address + state.information.environment_table_offset
      return pages.memory.load(
        place + UInt64(slot) * UInt64(MemoryLayout<apus_environment>.stride), as: apus_environment.self)?.account ?? 0
    }
    let stop = StopRequest()
    let start = SeeingClock.milliseconds()
    var count = 0
    var lost: UInt64 = 0
    while true {
      // Asked before the events are taken: those of a machine that has ended are all there.
      let isOver =
        !machine.isRunning || seconds.map { SeeingClock.milliseconds() - start >= Int($0 * 1000) } ?? false
      let events = reader.take()
      if reader.lost > lost, let first = events.first {
        trace.addLoss(reader.lost - lost, at: first.ticks)
        lost = reader.lost
      }
      for event in events { trace.add(event) }
      count += events.count
      if isOver || stop.wait(milliseconds: Self.interval) { break }
    }
    try SeeingFile.write(trace.bytes, to: file)
    Diagnostics.say("\(count) events in \(file)" + (reader.lost > 0 ? "; \(reader.lost) were lost" : ""))
  }

  private static let interval = 10
}
