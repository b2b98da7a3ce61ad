// SPDX-License-Identifier: Apache-2.0
// PerfettoTrace.swift: events as a trace that ui.perfetto.dev opens: track events, a track for each CPU and environment.

import CApusABI

/// A trace being written.
///
/// Field numbers are those of Perfetto's protos/perfetto/trace: Trace, TracePacket, TrackDescriptor, TrackEvent.
struct PerfettoTrace {
  private(set) var bytes: [UInt8] = []
  private let ticksPerSecond: UInt64
  private let names: [UInt16: String]
  private let accounts: (UInt16) -> UInt16
  private var tracks: Set<UInt64> = []
  /// The flow that ends when a slot runs next, and the end of its last run.
  private var flows: [UInt16: UInt64] = [:]
  private var lastFlow: UInt64 = 0
  /// Whom a caller waits for.
  private var callees: [UInt16: UInt16] = [:]
  /// Sums, to be compared with the ledger's.
  private(set) var bookedTicks: [UInt16: UInt64] = [:]
  private(set) var slicesBegun: [UInt16: UInt64] = [:]

  private enum Track {
    static let processors: UInt64 = 1
    static let environments: UInt64 = 2
    static func processor(_ number: UInt8) -> UInt64 { 0x1000 + UInt64(number) }
    static func environment(_ slot: UInt16) -> UInt64 { 0x10_0000 + UInt64(slot) }
  }
  private enum Kind: UInt64 {
    case begin = 1
    case end = 2
    case instant = 3
  }
  private static let sequence: UInt64 = 1

  /// Starts a trace.
  ///
  /// - Parameters:
  ///   - title: The machine's name.
  ///   - ticksPerSecond: Of its counter; above 0.
  ///   - names: What accounts are called.
  ///   - accounts: The account of a slot.
  init(title: String, ticksPerSecond: UInt64, names: [UInt16: String], accounts: @escaping (UInt16) -> UInt16) {
    self.ticksPerSecond = ticksPerSecond
    self.names = names
    self.accounts = accounts
    packet { packet in
      packet.number(13, 1)  // the sequence's state begins here
      Self.describe(&packet, Track.processors, "\(title): CPUs", parent: nil)
    }
    packet { Self.describe(&$0, Track.environments, "\(title): environments", parent: nil) }
  }

  private mutating func packet(_ body: (inout MessageWriter) -> Void) {
    var trace = MessageWriter()
    trace.message(1) { packet in
      packet.number(10, Self.sequence)
      body(&packet)
    }
    bytes += trace.bytes
  }

  private static func describe(_ packet: inout MessageWriter, _ track: UInt64, _ name: String, parent: UInt64?) {
    packet.message(60) { descriptor in
      descriptor.number(1, track)
      descriptor.text(2, name)
      if let parent { descriptor.number(5, parent) }
    }
  }

  /// Nanoseconds of a counter's value.
  func nanoseconds(_ ticks: UInt64) -> UInt64 {
    let (high, low) = ticks.multipliedFullWidth(by: 1_000_000_000)
    guard high < ticksPerSecond else { return UInt64.max }
    return ticksPerSecond.dividingFullWidth((high, low)).quotient
  }

  private mutating func track(processor: UInt8) -> UInt64 {
    let track = Track.processor(processor)
    if tracks.insert(track).inserted {
      packet { Self.describe(&$0, track, "CPU \(processor)", parent: Track.processors) }
    }
    return track
  }

  private func name(_ slot: UInt16) -> String {
    let account = accounts(slot)
    return "environment \(slot)" + (names[account].map { " (\($0))" } ?? " of account \(account)")
  }

  private mutating func track(environment slot: UInt16) -> UInt64 {
    let track = Track.environment(slot)
    if tracks.insert(track).inserted {
      let name = name(slot)
      packet { Self.describe(&$0, track, name, parent: Track.environments) }
    }
    return track
  }

  private mutating func event(
    _ kind: Kind, _ track: UInt64, _ ticks: UInt64, name: String? = nil, from flow: UInt64? = nil,
    endingFlow: UInt64? = nil, details: [(String, UInt64)] = []
  ) {
    let time = nanoseconds(ticks)
    packet { packet in
      packet.number(8, time)
      packet.message(11) { event in
        event.number(9, kind.rawValue)
        event.number(11, track)
        if let name { event.text(23, name) }
        if let flow { event.fixed(47, flow) }
        if let endingFlow { event.fixed(48, endingFlow) }
        for (name, value) in details {
          event.message(4) { detail in
            detail.text(10, name)
            detail.number(3, value)
          }
        }
      }
    }
  }

  /// Adds an event of the machine's.
  mutating func add(_ event: apus_event) {
    let slot = event.environment
    let own = track(environment: slot)
    switch Int32(event.kind) {
    case APUS_EVENT_RUN: addRun(event, own)
    case APUS_EVENT_SLICE:
      slicesBegun[slot, default: 0] += 1
      let cpu = track(processor: event.processor)
      let details = [("slice", event.detail & 0xffff), ("environment", UInt64(slot))]
      self.event(.instant, cpu, event.ticks, name: "slice \(event.detail & 0xffff)", details: details)
    case APUS_EVENT_WAKE: begin("wakes \(slot)", event, to: slot, from: event.other)
    case APUS_EVENT_CALL:
      callees[slot] = event.other
      begin("calls \(event.other)", event, to: event.other, from: slot)
    case APUS_EVENT_SEND: begin("sends to \(event.other)", event, to: event.other, from: slot)
    case APUS_EVENT_RETURN:
      callees[event.other] = nil
      begin("returns to \(event.other)", event, to: event.other, from: slot)
    case APUS_EVENT_DEATH:
      callees[slot] = nil
      self.event(.instant, own, event.ticks, name: "ends", details: [("cause", event.detail & 0xff)])
    default: break
    }
  }

  /// A stretch of time that was booked: it ended now.
  private mutating func addRun(_ event: apus_event, _ own: UInt64) {
    let slot = event.environment
    bookedTicks[slot, default: 0] &+= event.detail
    let cpu = track(processor: event.processor)
    let start = event.ticks &- min(event.detail, event.ticks)
    let details = [("ticks", event.detail), ("environment", UInt64(slot)), ("runs", UInt64(event.other))]
    let flow = flows.removeValue(forKey: slot)
    // The kernel notes no return where there is none, past a deadline or for a callee that ended: the caller goes on.
    if let callee = callees.removeValue(forKey: event.other) {
      self.event(.instant, track(environment: event.other), start, name: "call of \(callee) failed")
    }
    self.event(.begin, cpu, start, name: name(slot), details: details)
    self.event(.end, cpu, event.ticks)
    self.event(.begin, own, start, name: "on CPU \(event.processor)", endingFlow: flow, details: details)
    self.event(.end, own, event.ticks)
  }

  /// An arrow from one environment to the next run of another; from the CPU where nobody ran.
  private mutating func begin(_ name: String, _ event: apus_event, to target: UInt16, from source: UInt16) {
    let place =
      source == UInt16.max || source == target ? track(processor: event.processor) : track(environment: source)
    lastFlow += 1
    let flow = lastFlow
    self.event(.instant, place, event.ticks, name: name, from: flow)
    if Int32(event.kind) == APUS_EVENT_WAKE {
      flows[target] = flow
    } else {
      // Who is called runs at once, in its caller's time.
      let other = track(environment: target)
      self.event(.instant, other, event.ticks, name: "entered by \(source)", endingFlow: flow)
    }
  }

  /// Notes that events are missing before what follows.
  mutating func addLoss(_ count: UInt64, at ticks: UInt64) {
    let time = nanoseconds(ticks)
    packet { packet in
      packet.number(8, time)
      packet.number(42, 1)
      packet.message(11) { event in
        event.number(9, Kind.instant.rawValue)
        event.number(11, Track.processors)
        event.text(23, "\(count) events lost")
      }
    }
  }
}
