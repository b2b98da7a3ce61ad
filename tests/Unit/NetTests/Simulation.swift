// SPDX-License-Identifier: Apache-2.0
// Simulation.swift: two stacks on a simulated link that loses, delays, duplicates and corrupts, in virtual time.

@testable import ApusNet

/// What the link does to a frame; chances are in percent.
struct Impairment {
  var loss = 0
  var duplication = 0
  var reordering = 0
  var corruption = 0
  var delay = TimeSpan.milliseconds(5)
  /// How much longer a frame that is overtaken takes.
  var extra = TimeSpan.milliseconds(20)
}

/// Two hosts and what lies between them.
final class Simulation {
  var now = Instant(nanoseconds: 1_000_000_000)
  var impairment: Impairment
  let hosts: [NetworkStack]
  /// Links that gather, for hosts that have one.
  private(set) var links: [GatheringLink?] = [nil, nil]
  private var random: Seeded
  private var flying: [(due: Instant, order: Int, to: Int, frame: [UInt8])] = []
  private var sent = 0
  /// Sees each frame before the link does; false loses it.
  var watch: (_ from: Int, _ frame: [UInt8]) -> Bool = { _, _ in true }

  static let addresses = [IPv4Address(10, 0, 0, 1), IPv4Address(10, 0, 0, 2)]

  init(
    seed: Int, _ impairment: Impairment = Impairment(),
    _ adjust: (Int, inout StackConfiguration) -> Void = { _, _ in }
  ) {
    random = Seeded(seed)
    self.impairment = impairment
    var hosts: [NetworkStack] = []
    for index in 0..<2 {
      var configuration = StackConfiguration(
        hardwareAddress: MACAddress(0x0200_0000_0001 + UInt64(index)),
        secret: Secret(low: random.next(), high: random.next()))
      adjust(index, &configuration)
      let host = NetworkStack(configuration)
      host.configure(IPv4Configuration(Self.addresses[index], prefixLength: 24))
      hosts.append(host)
    }
    self.hosts = hosts
  }

  /// Gives a host a link that gathers.
  func gather(_ host: Int, capacity: Int) {
    let link = GatheringLink(capacity: capacity)
    links[host] = link
    hosts[host].link = link
  }

  func endpoint(_ host: Int, _ port: UInt16) -> Endpoint { Endpoint(.v4(Self.addresses[host]), port) }

  /// Carries frames and lets time pass until something is due.
  ///
  /// - Returns: Whether anything will ever happen again.
  func step(until limit: Instant) -> Bool {
    for (index, host) in hosts.enumerated() {
      host.poll(now)
      if let link = links[index] {
        let frames = link.frames
        link.frames = []
        for frame in frames { launch(frame, from: index) }
      }
      while let frame = host.nextFrame() { launch(frame, from: index) }
    }
    var next: Instant? = flying.first?.due
    for host in hosts {
      if let due = host.deadline { next = next.map { min($0, due) } ?? due }
    }
    guard let next else { return false }
    now = max(now, min(next, limit))
    while let first = flying.first, first.due <= now {
      flying.removeFirst()
      hosts[first.to].receive(first.frame.span, now)
    }
    return true
  }

  /// Puts a frame on the link as if the host had sent it.
  func launch(_ frame: [UInt8], from index: Int) {
    guard watch(index, frame), !random.percent(impairment.loss) else { return }
    var frame = frame
    if random.percent(impairment.corruption) {
      // One bit: a checksum of sixteen bits finds it always.
      frame[random.below(frame.count)] ^= 1 << UInt8(random.below(8))
    }
    for _ in 0...(random.percent(impairment.duplication) ? 1 : 0) {
      var due = now + impairment.delay
      if random.percent(impairment.reordering) {
        due = due + TimeSpan(nanoseconds: Int64(random.below(Int(impairment.extra.nanoseconds) + 1)))
      }
      sent += 1
      let entry = (due: due, order: sent, to: 1 - index, frame: frame)
      let place = flying.lastIndex { $0.due <= due }.map { $0 + 1 } ?? 0
      flying.insert(entry, at: place)
    }
  }

  /// Steps until a condition holds.
  ///
  /// - Returns: Whether it came to hold within the time.
  func run(_ limit: TimeSpan, until condition: () -> Bool) -> Bool {
    let end = now + limit
    // Where nothing will ever happen by itself, an application may still act: it gets a number of tries.
    var idle = 0
    while now < end, idle < 1000 {
      if condition() { return true }
      if !step(until: end) {
        idle += 1
        now = now + .milliseconds(1)
      }
    }
    return condition()
  }

  /// Lets time pass.
  func pass(_ time: TimeSpan) {
    let end = now + time
    while now < end, step(until: end) {}
    now = max(now, end)
  }

  /// A connection from host 0 to host 1, established on both sides.
  func connect(port: UInt16 = 80, _ tcp: [TCPConfiguration?] = [nil, nil]) throws -> (TCPHandle, TCPHandle) {
    let listener = try hosts[1].listen(port: port, with: tcp[1])
    let client = try hosts[0].connect(to: endpoint(1, port), with: tcp[0], now)
    var server: TCPHandle?
    _ = run(.seconds(300)) {
      server = server ?? hosts[1].accept(listener)
      return server != nil && (try? hosts[0].status(client).state) == .established
    }
    guard let server else { throw TCPError.timedOut }
    return (client, server)
  }
}
