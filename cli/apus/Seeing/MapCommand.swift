// SPDX-License-Identifier: Apache-2.0
// MapCommand.swift: `apus map`: who owns which frame and slice of a running machine.

import ArgumentParser
import Glibc

struct MapCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "map",
    abstract: "Show who owns which frame and slice of a running machine.",
    discussion: """
      The machine's memory is read from outside: it is not stopped and runs no instruction more. In a terminal the \
      cells are coloured unless NO_COLOR is set; elsewhere they are letters: an account's own for its frames, capitals \
      for its page tables, a comma where it has a few of many free ones, # the kernel, . free, ~ cooling.
      """)

  @OptionGroup var watch: WatchOptions

  @Flag(help: "As JSON: runs of frames and slices, and each account's sums.")
  var json = false

  @Option(help: ArgumentHelp("Draw it into this file.", valueName: "file"))
  var svg: String?

  @Option(
    help: ArgumentHelp(
      "Draw one map after the other until the machine ends, or for --samples, into a page with a slider for the time.",
      valueName: "file"))
  var record: String?

  @Option(help: ArgumentHelp("How many maps to record.", valueName: "count"))
  var samples: Int?

  @Option(help: ArgumentHelp("Time between two maps of a recording.", valueName: "milliseconds"))
  var every = 100

  func validate() throws {
    if let samples, samples < 1 { throw ValidationError("--samples takes a number above 0") }
    guard (1...3_600_000).contains(every) else {
      throw ValidationError("--every takes a number of milliseconds from 1 to 3600000")
    }
    if samples != nil, record == nil { throw ValidationError("--samples belongs to --record FILE") }
    if record != nil, json || svg != nil { throw ValidationError("--record goes with neither --json nor --svg") }
  }

  func run() throws { try execute() }

  private func execute() throws(Failure) {
    let machine = try WatchedMachine(watch)
    if let record { return try recordMaps(of: machine, into: record) }
    let map = MachineMap(try machine.read())
    var colors = OwnerColors()
    colors.see(map)
    if let svg {
      let drawing = MapDrawing(map: map, colors: colors, title: "Machine \(machine.name)", names: machine.names)
      try SeeingFile.write(drawing.text, to: svg)
    }
    if json {
      Diagnostics.tell(map.json([("machine", JSONText.string(machine.name))]))
    } else if svg == nil {
      for line in MapText(map: map, colors: colors, style: .standard, names: machine.names).lines {
        Diagnostics.tell(line)
      }
    }
  }

  /// Takes maps until there are enough, the machine is gone or somebody interrupts.
  private func recordMaps(of machine: WatchedMachine, into file: String) throws(Failure) {
    var recording = MapRecording(title: "Machine \(machine.name)")
    let start = SeeingClock.milliseconds()
    let stop = StopRequest()
    while machine.isRunning, let state = machine.pages.read() {
      recording.add(MachineMap(state), milliseconds: SeeingClock.milliseconds() - start, names: machine.names)
      if let samples, recording.count >= samples { break }
      if recording.count >= Self.mostSamples || stop.wait(milliseconds: every) { break }
    }
    guard recording.count > 0 else {
      throw Failure(sentence: "the machine \(machine.name) ended before a map was taken", status: Status.machine)
    }
    try SeeingFile.write(recording.page, to: file)
  }

  /// A page with more is too large to be looked at.
  private static let mostSamples = 2000
}
