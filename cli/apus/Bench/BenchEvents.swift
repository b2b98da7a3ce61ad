// SPDX-License-Identifier: Apache-2.0
// BenchEvents.swift: what an operation does beside executing instructions, as bench/plugin/events.c counted it.

import Glibc

/// Counts for one operation; each event is one instruction and costs far more.
struct BenchEvents: Equatable {
  /// The columns of a line of the plugin, in order.
  enum Event: Int, CaseIterable {
    case instructions, kernelInstructions, kernelExits, addressSpaceLoads, invalidations, portAccesses, deviceAccesses
    case registerWrites

    /// As a member of a JSON object.
    var key: String {
      switch self {
      case .instructions: "instructions"
      case .kernelInstructions: "kernel_instructions"
      case .kernelExits: "kernel_exits"
      case .addressSpaceLoads: "cr3_loads"
      case .invalidations: "tlb_invalidations"
      case .portAccesses: "port_accesses"
      case .deviceAccesses: "mmio_accesses"
      case .registerWrites: "msr_writes"
      }
    }
  }

  private let counts: [Double]

  subscript(_ event: Event) -> Double { counts[event.rawValue] }

  /// Reads the plugin's line for so many operations; nil when it is not one.
  init?(_ line: some StringProtocol, operations: Double) {
    let counts = line.split(separator: " ").map { Double($0) }
    guard counts.count == Event.allCases.count, operations > 0, !counts.contains(nil) else { return nil }
    self.counts = counts.compactMap { $0 }.map { $0 / operations }
  }

  private init(counts: [Double]) { self.counts = counts }

  /// The same for `factor` operations.
  func scaled(by factor: Double) -> BenchEvents { BenchEvents(counts: counts.map { $0 * factor }) }
}

/// The plugin, compiled, and where it writes.
struct BenchEventCounter {
  let plugin: String
  let output: String

  /// The words that load it into QEMU.
  var options: [String] { ["-plugin", "\(plugin),out=\(output)"] }

  /// Gives each metric of a run its events: the plugin wrote a line just before each was printed.
  ///
  /// - Returns: Whether there were as many lines as metrics.
  func complete(_ result: inout GuestResult) -> Bool {
    let lines = ((try? BenchFile.read(output)).map { shown($0) } ?? "").split(separator: "\n")
    guard lines.count == result.samples.count, !lines.isEmpty else { return false }
    for (index, line) in lines.enumerated() {
      result.samples[index].events = BenchEvents(line, operations: result.samples[index].operations ?? 1)
    }
    return true
  }
}
