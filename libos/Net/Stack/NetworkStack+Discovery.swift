// SPDX-License-Identifier: Apache-2.0
// NetworkStack+Discovery.swift: neighbour discovery and addresses without a server (RFC 4861, 4862).

/// What a stack knows of IPv6.
struct IPv6State {
  var isEnabled = false
  var assignments: [IPv6Assignment] = []
  var prefixes: [(prefix: IPv6Address, length: Int, until: Instant?)] = []
  var routers: [(address: IPv6Address, until: Instant)] = []
  /// When routers are asked for next, and how often they were.
  var solicitAt: Instant?
  var solicitations = 0
  /// What routers say that the link takes.
  var linkLimit: Int?

  static let maximumAssignments = 16
  static let maximumPrefixes = 16
  static let maximumRouters = 8

  /// An address of ours that is not tentative.
  func usable(_ address: IPv6Address) -> IPv6Assignment? {
    assignments.first { $0.address == address && !$0.isTentative }
  }

  func isOnLink(_ address: IPv6Address) -> Bool {
    prefixes.contains { address.hasPrefix($0.prefix, length: $0.length) }
  }

  var deadline: Instant? {
    var due = solicitAt
    for assignment in assignments {
      if assignment.isTentative { due = earlier(due, assignment.tentativeUntil) }
      due = earlier(due, assignment.validUntil)
      if !assignment.isDeprecated { due = earlier(due, assignment.preferredUntil) }
    }
    for prefix in prefixes { due = earlier(due, prefix.until) }
    for router in routers { due = earlier(due, router.until) }
    return due
  }
}

extension NetworkStack {
  private static let detection = TimeSpan.seconds(1)

  /// Speaks IPv6: takes a link-local address and asks routers for others.
  ///
  /// - Parameter now: The time.
  public func enableVersion6(_ now: Instant) {
    guard !ipv6.isEnabled else { return }
    ipv6.isEnabled = true
    assign(IPv6Address(high: 0xfe80 << 48, low: interfaceIdentifier(0xfe80 << 48)), prefixLength: 64, now)
    // After the first address is known to be ours (RFC 4861, 6.3.7: at most three times, four seconds apart).
    ipv6.solicitAt = now + Self.detection + .milliseconds(1)
  }

  /// Takes an IPv6 address, once nobody on the link is found to have it.
  ///
  /// - Parameters:
  ///   - address: The address.
  ///   - prefixLength: How many bits of it name the network.
  ///   - now: The time.
  public func addVersion6(_ address: IPv6Address, prefixLength: Int, _ now: Instant) {
    enableVersion6(now)
    assign(address, prefixLength: prefixLength, now)
    guard ipv6.prefixes.count < IPv6State.maximumPrefixes, (0...128).contains(prefixLength) else { return }
    ipv6.prefixes.append((address, prefixLength, nil))
  }

  /// Our IPv6 addresses that can be used.
  public var version6Addresses: [IPv6Address] { ipv6.assignments.filter { !$0.isTentative }.map { $0.address } }

  /// The lower half of our addresses: stable for each prefix, and telling nobody our Ethernet address (RFC 7217).
  private func interfaceIdentifier(_ prefix: UInt64) -> UInt64 {
    configuration.secret.hash(5, prefix, configuration.hardwareAddress.bits)
  }

  private func assign(_ address: IPv6Address, prefixLength: Int, _ now: Instant) {
    guard ipv6.assignments.count < IPv6State.maximumAssignments, address.isUnicast,
      !ipv6.assignments.contains(where: { $0.address == address })
    else { return }
    ipv6.assignments.append(
      IPv6Assignment(
        address: address, prefixLength: prefixLength, isTentative: true, tentativeUntil: now + Self.detection))
    // Duplicate address detection: who has it answers (RFC 4862, 5.4.2).
    sendDiscovery(
      .neighbourSolicitation(target: address, hardware: nil), from: .any, to: address.solicitedNode, now)
  }

  func pollVersion6(_ now: Instant) {
    guard let due = ipv6.deadline, due <= now else { return }
    for index in ipv6.assignments.indices {
      if ipv6.assignments[index].tentativeUntil <= now { ipv6.assignments[index].isTentative = false }
      if let end = ipv6.assignments[index].preferredUntil, end <= now { ipv6.assignments[index].isDeprecated = true }
    }
    ipv6.assignments.removeAll { $0.validUntil.map { $0 <= now } ?? false }
    ipv6.prefixes.removeAll { $0.until.map { $0 <= now } ?? false }
    ipv6.routers.removeAll { $0.until <= now }
    guard let due = ipv6.solicitAt, due <= now else { return }
    ipv6.solicitations += 1
    ipv6.solicitAt = ipv6.solicitations < 3 ? now + .seconds(4) : nil
    guard let source = sourceVersion6(for: .allRouters) else { return }
    sendDiscovery(.routerSolicitation, from: source, to: .allRouters, now)
  }

  private func sendDiscovery(
    _ message: ICMPv6Message, from source: IPv6Address, to destination: IPv6Address, _ now: Instant
  ) {
    let nothing: [UInt8] = []
    sendICMPv6(message, from: .v6(source), to: .v6(destination), hopLimit: 255, nothing.span, now)
  }

  /// Asks for a neighbour's Ethernet address.
  func solicit(_ address: IPv6Address, _ now: Instant) {
    guard let source = sourceVersion6(for: address) else { return }
    sendDiscovery(
      .neighbourSolicitation(target: address, hardware: configuration.hardwareAddress), from: source,
      to: address.solicitedNode, now)
  }

  func discover(_ message: ICMPv6Message, _ header: IPv6Header, _ now: Instant) {
    switch message {
    case .neighbourSolicitation(let target, let hardware): answer(target, hardware, header, now)
    case .neighbourAdvertisement(let target, let hardware, let isSolicited, let isOverriding):
      // Somebody has an address that we wanted (RFC 4862, 5.4.4).
      ipv6.assignments.removeAll { $0.address == target && $0.isTentative }
      guard let hardware, isSolicited || isOverriding, ipv6.usable(target) == nil else { return }
      for frame in neighbours.learn(.v6(target), hardware, isAnswer: false, now) { send(frame, to: hardware) }
    case .routerAdvertisement(let advertisement):
      guard header.source.isLinkLocal, ipv6.isEnabled else {
        statistics.malformed += 1
        return
      }
      take(advertisement, from: header.source, now)
    case .echoRequest, .echoReply, .unreachable, .packetTooBig, .timeExceeded, .parameterProblem, .routerSolicitation:
      break
    }
  }

  private func answer(_ target: IPv6Address, _ hardware: MACAddress?, _ header: IPv6Header, _ now: Instant) {
    guard let own = ipv6.assignments.first(where: { $0.address == target }) else { return }
    if own.isTentative {
      // Another host tries the same address at the same time: neither may have it (RFC 4862, 5.4.3).
      if header.source == .any { ipv6.assignments.removeAll { $0.address == target } }
      return
    }
    if header.source != .any, let hardware {
      let waiting = neighbours.learn(.v6(header.source), hardware, isAnswer: true, now)
      for frame in waiting { send(frame, to: hardware) }
    }
    let isProbe = header.source == .any
    sendDiscovery(
      .neighbourAdvertisement(
        target: target, hardware: configuration.hardwareAddress, isSolicited: !isProbe, isOverriding: true),
      from: target, to: isProbe ? .allNodes : header.source, now)
  }

  private func take(_ advertisement: RouterAdvertisement, from router: IPv6Address, _ now: Instant) {
    ipv6.solicitAt = nil
    ipv6.routers.removeAll { $0.address == router }
    if advertisement.lifetimeSeconds > 0, ipv6.routers.count < IPv6State.maximumRouters {
      ipv6.routers.append((router, now + .seconds(Int64(advertisement.lifetimeSeconds))))
    }
    if let hardware = advertisement.hardware {
      for frame in neighbours.learn(.v6(router), hardware, isAnswer: true, now) { send(frame, to: hardware) }
    }
    if let limit = advertisement.maximumPacket, (1280...configuration.maximumPacket).contains(limit) {
      ipv6.linkLimit = limit
    }
    for prefix in advertisement.prefixes where !prefix.prefix.isLinkLocal && prefix.length <= 128 {
      if prefix.isOnLink { noteOnLink(prefix, now) }
      if prefix.isAutonomous, prefix.length == 64, prefix.preferredSeconds <= prefix.validSeconds {
        configure(prefix, now)
      }
    }
  }

  private func end(_ seconds: UInt32, _ now: Instant) -> Instant? {
    seconds == .max ? nil : now + .seconds(Int64(seconds))
  }

  private func noteOnLink(_ prefix: PrefixInformation, _ now: Instant) {
    ipv6.prefixes.removeAll { $0.length == prefix.length && $0.prefix == prefix.prefix }
    guard prefix.validSeconds > 0, ipv6.prefixes.count < IPv6State.maximumPrefixes else { return }
    ipv6.prefixes.append((prefix.prefix, prefix.length, end(prefix.validSeconds, now)))
  }

  /// An address of ours in a prefix (RFC 4862, 5.5.3).
  private func configure(_ prefix: PrefixInformation, _ now: Instant) {
    let address = IPv6Address(high: prefix.prefix.high, low: interfaceIdentifier(prefix.prefix.high))
    if !ipv6.assignments.contains(where: { $0.address == address }) {
      guard prefix.validSeconds > 0 else { return }
      assign(address, prefixLength: 64, now)
    }
    guard let index = ipv6.assignments.firstIndex(where: { $0.address == address }) else { return }
    // A forged advertisement must not end an address at once: less than two hours shortens no more than to two hours.
    let twoHours: UInt32 = 7200
    let left = ipv6.assignments[index].validUntil.map { ($0 - now).nanoseconds / 1_000_000_000 } ?? Int64.max
    if prefix.validSeconds > twoHours || Int64(prefix.validSeconds) > left
      || ipv6.assignments[index].validUntil == nil
        && ipv6.assignments[index].isTentative
    {
      ipv6.assignments[index].validUntil = end(prefix.validSeconds, now)
    } else if left > Int64(twoHours) {
      ipv6.assignments[index].validUntil = now + .seconds(Int64(twoHours))
    }
    ipv6.assignments[index].preferredUntil = end(prefix.preferredSeconds, now)
    ipv6.assignments[index].isDeprecated = prefix.preferredSeconds == 0
  }
}
