// SPDX-License-Identifier: Apache-2.0
// Console.swift: the tasks of the LibOS that serve the console, and the signals that come from it.

import ApusRuntime
import ApusUnix

/// Sends what the host and the terminal ask for.
final class ConsoleSignals: HostConsoleDelegate, TerminalDelegate {
  private let family: Family

  init(_ family: Family) { self.family = family }

  func console(_ console: HostConsole, signal: Int32) {
    guard signal > 0, Int(signal) <= SignalSet.limit else { return }
    if let group = console.terminal?.foregroundGroup, group != 0 {
      family.signal(group: Int(group), Int(signal))
    } else {
      family.first?.send(SignalInfo(signal: Int(signal), code: SignalInfo.kernelCode))
    }
  }

  func terminal(_ terminal: Terminal, sends signal: Int32, toGroup group: Int32) {
    family.signal(group: Int(group), Int(signal))
  }
}

/// Takes input whenever some has arrived; never ends.
func serveConsole(_ family: Family, _ console: HostConsole) -> Never {
  while true {
    console.pump()
    if console.isAwaitingOutput { family.watchOutput() }
    Execution.suspendForConsole(deadline: .max)
  }
}

extension Family {
  /// Lets those who wait for room in the console go on when there is some.
  func watchOutput() {
    if let outputWatcher {
      outputWatcher.wake()
      return
    }
    guard let console = devices?.console else { return }
    outputWatcher = Execution.startSystem {
      while true {
        while console.isAwaitingOutput {
          Execution.suspendForConsoleOutput(deadline: Clock.ticks(afterNanoseconds: 10_000_000))
          console.outputProceeds()
        }
        Execution.suspend(deadline: .max, handOffTo: nil)
      }
    }
  }

  /// Whether waiting on a queue means waiting for the host to take output.
  func isOutput(_ queue: WaitQueue) -> Bool {
    guard let console = devices?.console else { return false }
    if console.outputQueue === queue { return true }
    return console.terminal?.writeQueue === queue
  }
}
