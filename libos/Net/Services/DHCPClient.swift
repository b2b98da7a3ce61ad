// SPDX-License-Identifier: Apache-2.0
// DHCPClient.swift: an IPv4 address for a while, from a server of the link (RFC 2131).

/// What a server has lent us.
public struct DHCPLease: Equatable, Sendable {
  /// Our address, its network and the router.
  public var address: IPv4Configuration
  /// Who lent it.
  public var server: IPv4Address
  /// Servers that answer questions about names.
  public var nameServers: [IPv4Address]
  /// When it ends, unless it is renewed.
  public var expires: Instant
}

/// Gets an address, keeps it renewed, and gives it up when it ends.
public final class DHCPClient {
  private enum State: Equatable {
    case selecting
    case requesting(offered: IPv4Address, server: IPv4Address)
    case bound
    case renewing
    case rebinding
  }

  private let stack: NetworkStack
  private let socket: UDPHandle
  private var state = State.selecting
  private var transaction: UInt32
  private var started: Instant
  private var tries = 0
  private var sendAt: Instant?
  private var renewAt = Instant.zero
  private var rebindAt = Instant.zero
  /// What we have, if we have something.
  public private(set) var lease: DHCPLease?

  /// Begins to ask.
  ///
  /// - Parameters:
  ///   - stack: The host that is to get an address.
  ///   - now: The time.
  /// - Throws: `inUse` when somebody has DHCP's port.
  public init(_ stack: NetworkStack, _ now: Instant) throws(UDPError) {
    self.stack = stack
    socket = try stack.openUDP(port: 68)
    transaction = UInt32(truncatingIfNeeded: stack.random.next())
    started = now
    sendAt = now
  }

  /// When `poll` is to be called at the latest.
  public var deadline: Instant? {
    switch state {
    case .selecting, .requesting: sendAt
    case .bound: renewAt
    case .renewing: earlier(sendAt, rebindAt)
    case .rebinding: earlier(sendAt, lease?.expires)
    }
  }

  /// Takes answers, and does what is due.
  ///
  /// The stack is to be polled after it.
  ///
  /// - Parameter now: The time.
  public func poll(_ now: Instant) {
    while let datagram = stack.receive(socket) {
      guard datagram.source.port == 67, let message = try? DHCPMessage(parsing: datagram.bytes.span), message.isReply,
        message.transaction == transaction, message.hardware == stack.configuration.hardwareAddress
      else { continue }
      take(message, now)
    }
    switch state {
    case .selecting, .requesting: break
    case .bound where renewAt <= now: begin(.renewing, now)
    case .renewing where rebindAt <= now: begin(.rebinding, now)
    case .rebinding where lease.map { $0.expires <= now } ?? true: lose(now)
    case .bound, .renewing, .rebinding: break
    }
    if let due = sendAt, due <= now { ask(now) }
  }

  private func begin(_ next: State, _ now: Instant) {
    state = next
    tries = 0
    started = now
    transaction = UInt32(truncatingIfNeeded: stack.random.next())
    sendAt = now
  }

  private func lose(_ now: Instant) {
    lease = nil
    stack.configure(nil)
    begin(.selecting, now)
  }

  private func ask(_ now: Instant) {
    var message = DHCPMessage(.request, transaction: transaction, hardware: stack.configuration.hardwareAddress)
    var destination = IPv4Address.broadcast
    var source = IPAddress.v4(.any)
    switch state {
    case .selecting: message.kind = .discover
    case .requesting(let offered, let server):
      guard tries < 4 else { return begin(.selecting, now) }
      message.requested = offered
      message.server = server
    case .renewing, .rebinding:
      guard let lease else { return lose(now) }
      message.clientAddress = lease.address.address
      source = .v4(lease.address.address)
      if state == .renewing { destination = lease.server }
    case .bound:
      sendAt = nil
      return
    }
    var bytes: [UInt8] = []
    message.append(to: &bytes)
    // What is not sent now will be sent again.
    try? stack.send(bytes.span, by: socket, to: Endpoint(.v4(destination), 67), from: source, now)
    sendAt = now + pause(now)
    tries += 1
  }

  /// Four seconds, doubled up to 64, a second more or less (RFC 2131, 4.1); half of what is left when renewing, at least a
  /// minute (4.4.5).
  private func pause(_ now: Instant) -> TimeSpan {
    switch state {
    case .selecting, .requesting, .bound:
      let jitter = TimeSpan.milliseconds(Int64(stack.random.next(below: 2000)) - 1000)
      return TimeSpan.seconds(4) * (1 << Int64(min(tries, 4))) + jitter
    case .renewing: return max(.seconds(60), (rebindAt - now) / 2)
    case .rebinding: return max(.seconds(60), ((lease?.expires ?? now) - now) / 2)
    }
  }

  private func take(_ message: DHCPMessage, _ now: Instant) {
    switch (state, message.kind) {
    case (.selecting, .offer):
      guard let server = message.server, message.yourAddress.isUnicast, !message.yourAddress.isLoopback else { return }
      tries = 0
      state = .requesting(offered: message.yourAddress, server: server)
      sendAt = now
    case (.requesting(_, let server), .acknowledge) where message.server == server: bind(message, server, now)
    case (.renewing, .acknowledge), (.rebinding, .acknowledge):
      guard message.yourAddress == lease?.address.address, let server = message.server ?? lease?.server else { return }
      bind(message, server, now)
    case (.requesting(_, let server), .refuse) where message.server == server: begin(.selecting, now)
    case (.renewing, .refuse), (.rebinding, .refuse): lose(now)
    default: break
    }
  }

  private func bind(_ message: DHCPMessage, _ server: IPv4Address, _ now: Instant) {
    guard let seconds = message.leaseSeconds, seconds > 0, message.yourAddress.isUnicast else { return }
    let bits = message.mask?.bits ?? 0xffff_ff00
    let prefix = (~bits).leadingZeroBitCount
    // A mask with holes is none.
    let length = prefix == 32 || bits == ~UInt32(0) << UInt32(32 - prefix) ? prefix : 24
    let address = IPv4Configuration(message.yourAddress, prefixLength: length, router: message.router)
    // For ever is ten years here.
    let total = TimeSpan.seconds(Int64(min(seconds, 315_360_000)))
    lease = DHCPLease(address: address, server: server, nameServers: message.nameServers, expires: started + total)
    let renewal = message.renewalSeconds.map { TimeSpan.seconds(Int64($0)) } ?? total / 2
    let rebinding = message.rebindingSeconds.map { TimeSpan.seconds(Int64($0)) } ?? total * 7 / 8
    rebindAt = started + min(rebinding, total)
    renewAt = min(started + renewal, rebindAt)
    state = .bound
    sendAt = nil
    stack.configure(address)
  }
}
