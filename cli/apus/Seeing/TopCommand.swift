// SPDX-License-Identifier: Apache-2.0
// TopCommand.swift: `apus top`: what each environment of a running machine does, live.

import ArgumentParser
import CHost
import Glibc

extension EnvironmentCounter: ExpressibleByArgument {}

struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top",
    abstract: "Show what each environment of a running machine does.",
    discussion: """
      The machine's memory is read from outside: it is not stopped and runs no instruction more. Counters are those \
      since the line was drawn last. Keys: q ends it; s, f, u, c, t sort by slices, faults, upcalls, calls, CPU time; \
      n sorts by number.

      poll% is the part of its time in which an environment gave up its turn to nobody before a sixteenth of a slice \
      was over: it looked whether there was something to do, and there was not. Frames and what was taken by force are \
      its account's.
      """)

  @OptionGroup var watch: WatchOptions

  @Flag(help: "Show the sums since each environment began, once, and end.")
  var once = false

  @Flag(help: "As JSON; without --once an object a line for each interval.")
  var json = false

  @Option(help: "The column to sort by: slices, donated, forfeited, faults, upcalls, calls, ticks, polling, excess.")
  var sort: EnvironmentCounter?

  @Option(help: ArgumentHelp("Time between two looks.", valueName: "milliseconds"))
  var every = 1000

  func validate() throws {
    guard (10...3_600_000).contains(every) else {
      throw ValidationError("--every takes a number of milliseconds from 10 to 3600000")
    }
  }

  func run() throws { try execute() }

  private func execute() throws(Failure) {
    let machine = try WatchedMachine(watch)
    let top = MachineTop(try machine.read())
    if once {
      if json {
        Diagnostics.tell(top.json([("machine", JSONText.string(machine.name))]))
      } else {
        // No screen cuts it off.
        var style = TextStyle.standard
        style.columns = Int.max
        style.rows = Int.max
        for line in top.lines(title: machine.name, names: machine.names, order: sort, style: style) {
          Diagnostics.tell(line)
        }
      }
    } else if json || isatty(1) == 0 {
      try follow(machine, from: top)
    } else {
      var screen = LiveScreen(machine, from: top, order: sort, milliseconds: every)
      try screen.run()
    }
  }

  /// One look after the other, for scripts.
  private func follow(_ machine: WatchedMachine, from first: MachineTop) throws(Failure) {
    let stop = StopRequest()
    var last = first
    while !stop.wait(milliseconds: every), machine.isRunning, let state = machine.pages.read() {
      last = MachineTop(state, after: last)
      if json {
        Diagnostics.tell(last.json([("machine", JSONText.string(machine.name))]))
      } else {
        for line in last.lines(title: machine.name, names: machine.names, order: sort, style: .standard) {
          Diagnostics.tell(line)
        }
      }
    }
  }
}

/// A screen that is drawn again and again until somebody types q.
private struct LiveScreen {
  private let machine: WatchedMachine
  private var last: MachineTop
  private var order: EnvironmentCounter?
  private let milliseconds: Int
  private let signals: Int32

  init(_ machine: WatchedMachine, from first: MachineTop, order: EnvironmentCounter?, milliseconds: Int) {
    self.machine = machine
    last = first
    self.order = order
    self.milliseconds = milliseconds
    signals = chost_signals()
  }

  mutating func run() throws(Failure) {
    let isTerminal = isatty(0) == 1 && chost_terminal_raw(0) == 0
    // The other screen, without a cursor: what was there comes back.
    Descriptor.writeAll(1, Array("\u{1b}[?1049h\u{1b}[?25l".utf8))
    defer {
      Descriptor.writeAll(1, Array("\u{1b}[?25h\u{1b}[?1049l".utf8))
      chost_terminal_restore()
    }
    draw()
    var next = SeeingClock.milliseconds() + milliseconds
    while true {
      var entries = [
        pollfd(fd: signals, events: Int16(POLLIN), revents: 0),
        pollfd(fd: isTerminal ? 0 : -1, events: Int16(POLLIN), revents: 0),
      ]
      let left = max(0, next - SeeingClock.milliseconds())
      let count = poll(&entries, 2, Int32(left))
      if count > 0, entries[0].revents != 0, !takeSignals() { return }
      if count > 0, entries[1].revents != 0, !takeKeys() { return }
      if SeeingClock.milliseconds() >= next {
        next += milliseconds
        guard machine.isRunning, let state = machine.pages.read() else {
          throw Failure(sentence: "the machine \(machine.name) has ended", status: Status.machine)
        }
        last = MachineTop(state, after: last)
      }
      draw()
    }
  }

  /// False when it is to end.
  private func takeSignals() -> Bool {
    while true {
      switch chost_next_signal(signals) {
      case 0: return true
      case SIGINT, SIGTERM, SIGHUP, SIGQUIT: return false
      default: break
      }
    }
  }

  /// False when it is to end.
  private mutating func takeKeys() -> Bool {
    var buffer = [UInt8](repeating: 0, count: 64)
    let count = read(0, &buffer, buffer.count)
    guard count > 0 else { return false }
    for key in buffer[..<count] {
      switch key {
      case UInt8(ascii: "q"), 3, 4: return false
      case UInt8(ascii: "s"): order = .slices
      case UInt8(ascii: "f"): order = .faults
      case UInt8(ascii: "u"): order = .upcalls
      case UInt8(ascii: "c"): order = .calls
      case UInt8(ascii: "t"): order = .ticks
      case UInt8(ascii: "n"): order = nil
      default: break
      }
    }
    return true
  }

  private func draw() {
    let style = TextStyle.standard
    var lines = last.lines(title: machine.name, names: machine.names, order: order, style: style)
    lines.append("by \(order?.rawValue ?? "number"); keys: q end, sort: s f u c t n")
    let text = lines.prefix(style.rows).joined(separator: "\u{1b}[K\r\n")
    Descriptor.writeAll(1, Array("\u{1b}[H\(text)\u{1b}[K\u{1b}[J".utf8))
  }
}
