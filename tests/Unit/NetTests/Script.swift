// SPDX-License-Identifier: Apache-2.0
// Script.swift: one connection and a peer made of single segments; numbers are relative to both sides' first.

@testable import ApusNet

/// Drives a connection by hand.
///
/// Segments are written as "FLAGS sequence acknowledgement length", flags in the order
/// S F R P A.
final class Script {
  var now = Instant(nanoseconds: 1_000_000_000)
  let connection: TCPConnection
  let budget = MemoryBudget(limit: 1 << 24)
  static let ours = SequenceNumber(0xffff_ff00)
  static let theirs = SequenceNumber(0x7fff_ff80)
  /// What the peer says in segments that do not say otherwise.
  var window: UInt16 = 10_000

  static func plain(_ change: (inout TCPConfiguration) -> Void = { _ in }) -> TCPConfiguration {
    var tcp = TCPConfiguration()
    tcp.usesTimestamps = false
    tcp.usesSelectiveAcknowledgement = false
    tcp.usesWindowScaling = false
    tcp.receiveBuffer = 10_000
    tcp.makeController = { NewReno() }
    change(&tcp)
    return tcp
  }

  static let local = Endpoint(.v4(IPv4Address(10, 0, 0, 1)), 1111)
  static let remote = Endpoint(.v4(IPv4Address(10, 0, 0, 2)), 2222)

  /// A connection in SYN-SENT whose SYN is not yet sent.
  init(active tcp: TCPConfiguration = plain()) {
    connection = TCPConnection(
      connecting: Self.local, to: Self.remote, tcp, budget, initialSend: Self.ours, timestampOffset: 0,
      segmentLimit: 1000, now: now)
  }

  /// A connection in SYN-RECEIVED, made by a listener, whose answer is not yet sent.
  init(passive tcp: TCPConfiguration = plain(), _ change: (inout TCPHeader) -> Void = { _ in }) {
    var synchronize = TCPHeader(
      sourcePort: 2222, destinationPort: 1111, sequence: Self.theirs, acknowledgement: SequenceNumber(0), flags: .syn,
      window: 10_000)
    synchronize.options.maximumSegmentSize = 1000
    change(&synchronize)
    connection = TCPConnection(
      accepting: Self.local, from: Self.remote, tcp, budget, synchronize: synchronize, initialSend: Self.ours,
      timestampOffset: 0, segmentLimit: 1000, now: now)
  }

  /// An established connection to a peer that takes segments of 1000 bytes.
  static func established(_ tcp: TCPConfiguration = plain(), _ change: (inout TCPHeader) -> Void = { _ in }) -> Script {
    let script = Script(active: tcp)
    _ = script.sent
    script.gets("SA 0 1 0") {
      $0.options.maximumSegmentSize = 1000
      change(&$0)
    }
    _ = script.sent
    return script
  }

  /// A segment of the peer arrives.
  func gets(_ text: String, window: UInt16? = nil, _ change: (inout TCPHeader) -> Void = { _ in }) {
    let words = text.split(separator: " ")
    var flags = TCPFlags.none
    for letter in words[0] {
      switch letter {
      case "S": flags = flags | .syn
      case "F": flags = flags | .fin
      case "R": flags = flags | .rst
      case "P": flags = flags | .psh
      case "A": flags = flags | .ack
      case "U": flags = flags | .urg
      default: break
      }
    }
    let numbers = words.dropFirst().compactMap { Int($0) }
    var header = TCPHeader(
      sourcePort: 2222, destinationPort: 1111, sequence: Self.theirs + numbers[0],
      acknowledgement: flags.has(.ack) ? Self.ours + numbers[1] : SequenceNumber(0), flags: flags,
      window: window ?? self.window)
    change(&header)
    // Each byte of the stream tells its place.
    let payload = (0..<numbers[2]).map { UInt8(truncatingIfNeeded: numbers[0] + $0) }
    connection.arrive(header, payload.span, now)
  }

  /// What the connection sends now.
  var sent: [String] { segments.map(Self.text) }

  /// The same, as segments.
  var segments: [OutgoingSegment] {
    var found: [OutgoingSegment] = []
    while found.count < 1000, let segment = connection.nextSegment(now) { found.append(segment) }
    return found
  }

  static func text(_ segment: OutgoingSegment) -> String {
    let flags = segment.header.flags
    var letters = ""
    if flags.has(.syn) { letters += "S" }
    if flags.has(.fin) { letters += "F" }
    if flags.has(.rst) { letters += "R" }
    if flags.has(.psh) { letters += "P" }
    if flags.has(.ack) { letters += "A" }
    let acknowledgement = flags.has(.ack) ? segment.header.acknowledgement - Self.theirs : 0
    return "\(letters) \(segment.header.sequence - Self.ours) \(acknowledgement) \(segment.count)"
  }

  /// Time passes, and what is due happens.
  func pass(_ span: TimeSpan) {
    let end = now + span
    while let due = connection.deadline, due <= end {
      now = max(now, due)
      connection.expire(now)
      if connection.deadline == due { break }
    }
    now = end
  }

  /// Lets the earliest timer run out.
  func timeOut() {
    guard let due = connection.deadline else { return }
    now = max(now, due)
    connection.expire(now)
  }

  @discardableResult func write(_ count: Int) -> Int {
    let bytes = [UInt8](repeating: 0x61, count: count)
    return (try? connection.write(bytes.span)) ?? -1
  }

  func read(_ limit: Int = 1 << 20) -> [UInt8]? {
    var bytes: [UInt8] = []
    guard let count = try? connection.read(limit, into: &bytes), count >= 0 else { return nil }
    return bytes
  }

  /// Brings a connection into a state, with nothing owed.
  static func inState(_ state: TCPState) -> Script {
    if state == .synSent || state == .closed {
      let script = Script()
      _ = script.sent
      if state == .closed { script.connection.end(nil) }
      return script
    }
    if state == .synReceived {
      let script = Script(passive: plain())
      _ = script.sent
      return script
    }
    let script = established()
    switch state {
    case .closed, .synSent, .synReceived, .established: break
    case .finWait1: script.connection.finish(script.now)
    case .finWait2:
      script.connection.finish(script.now)
      _ = script.sent
      script.gets("A 1 2 0")
    case .closeWait: script.gets("FA 1 1 0")
    case .closing:
      script.connection.finish(script.now)
      _ = script.sent
      script.gets("FA 1 1 0")
    case .lastAck:
      script.gets("FA 1 1 0")
      _ = script.sent
      script.connection.finish(script.now)
    case .timeWait:
      script.connection.finish(script.now)
      _ = script.sent
      script.gets("A 1 2 0")
      script.gets("FA 1 2 0")
    }
    _ = script.sent
    return script
  }
}
