// SPDX-License-Identifier: Apache-2.0
// NetworkStack.swift: a host on an Ethernet: frames in, frames out, sockets by handle.

// Theory of operation. Whoever runs the stack gives it each frame that comes (`receive`), lets it do what is due
// (`poll`), takes the frames that are to go out (`nextFrame`), and waits until a frame comes, `deadline` is reached or
// the application calls. The stack has no clock, no thread and no device. What the application writes is sent at the
// next poll, so that many small calls become few segments.

/// One host's protocols on one link, and its loopback.
public final class NetworkStack {
  let configuration: StackConfiguration
  let budget: MemoryBudget
  var random: RandomStream
  var statistics = StackStatistics()

  // Addresses and routes.
  var ipv4: IPv4Configuration?
  var routes: [Route] = []
  var neighbours: NeighbourCache
  var ipv6 = IPv6State()

  // Frames.
  var outgoing: FrameQueue
  var looped: FrameQueue
  var reassembly: Reassembly
  var nextIdentification: UInt16

  // Sockets.
  let connections: ConnectionTable
  var deadlines = DeadlineHeap()
  var marked: [TCPHandle] = []
  var serving: [TCPHandle] = []
  /// Connections in TIME-WAIT, the one that is there longest first.
  var waiting = HandleQueue()
  /// Connections that `nextNews` tells of.
  var news: [TCPHandle] = []
  var listeners: [Listener] = []
  var datagramSockets: [DatagramSocket] = []
  var rawSockets: [RawSocket] = []
  var echoes: [EchoReply] = []
  var pathLimits: [PathLimit] = []
  var errorTokens = RateLimit(perSecond: 50, burst: 50)
  var events: [StackEvent] = []
  /// Whether what comes to sockets without a connection is noted for `takeEvents`, which then has to be called.
  public var recordsEvents = false
  /// Takes frames at once instead of `nextFrame`, and gathers their payload; nil: the stack keeps frames to be taken.
  public var link: (any FrameLink)?
  /// What the frame in the making is built in.
  let frame = FrameBuffer(capacity: 2048)
  /// Who sees to it that packets to our ports reach us; nil where everything on the link does.
  public var claims: (any PortClaims)? {
    didSet { claims?.addressChanged(to: ipv4) }
  }

  /// A host without an IPv4 address.
  ///
  /// - Parameter configuration: What it is told.
  public init(_ configuration: StackConfiguration) {
    self.configuration = configuration
    budget = MemoryBudget(limit: configuration.memoryLimit)
    random = RandomStream(configuration.secret)
    neighbours = NeighbourCache(capacity: configuration.maximumNeighbours)
    outgoing = FrameQueue(capacity: configuration.maximumQueuedFrames)
    looped = FrameQueue(capacity: configuration.maximumQueuedFrames)
    reassembly = Reassembly(limit: configuration.reassemblyLimit)
    connections = ConnectionTable(capacity: configuration.maximumConnections, secret: configuration.secret)
    nextIdentification = UInt16(truncatingIfNeeded: random.next())
  }

  /// Takes an IPv4 address, instead of the one there was.
  ///
  /// - Parameter configuration: The address; nil for none.
  public func configure(_ configuration: IPv4Configuration?) {
    guard configuration != ipv4 else { return }
    ipv4 = configuration
    claims?.addressChanged(to: configuration)
  }

  /// Our IPv4 address, if we have one.
  public var address: IPv4Configuration? { ipv4 }

  /// Sends packets for a network to a router of the link.
  ///
  /// - Parameters:
  ///   - network: The network.
  ///   - prefixLength: How many bits of it count.
  ///   - router: The router.
  public func addRoute(to network: IPv4Address, prefixLength: Int, by router: IPv4Address) {
    routes.append(Route(network: network, prefixLength: max(0, min(32, prefixLength)), router: router))
  }

  /// What has been seen so far.
  public var counts: StackStatistics {
    var counts = statistics
    counts.fragmentsDropped = reassembly.dropped
    counts.unroutable += neighbours.dropped
    return counts
  }

  /// What buffers take now, in bytes.
  public var bufferedBytes: Int { budget.used }

  /// How many connections there are, those in TIME-WAIT among them.
  public var connectionCount: Int { connections.count }

  // MARK: driving it

  /// Does what is due, and sends what the application has asked for since the last time.
  ///
  /// - Parameter now: The time.
  public func poll(_ now: Instant) {
    for question in neighbours.expire(now) { ask(question, now) }
    reassembly.expire(now)
    pollVersion6(now)
    while let slot = deadlines.removeDue(now) {
      let handle = connections.handle(at: slot)
      guard let connection = connections[handle] else { continue }
      if let due = connection.deadline, due <= now {
        connection.expire(now)
        noteNews(handle, connection)
      }
      serve(handle, now)
    }
    serveMarked(now)
    drainLoopback(now)
  }

  /// The next frame for the link; nil when there is none.
  public func nextFrame() -> [UInt8]? {
    guard let frame = outgoing.removeFirst() else { return nil }
    statistics.framesSent += 1
    return frame
  }

  /// When `poll` has to be called at the latest, if nothing happens before.
  public var deadline: Instant? {
    if !marked.isEmpty || looped.count > 0 { return .zero }
    return earlier(
      earlier(deadlines.first, ipv6.deadline), earlier(neighbours.deadline, reassembly.deadline))
  }

  /// Packets to ourselves, a bounded number at a time: each may cause others.
  func drainLoopback(_ now: Instant) {
    var left = configuration.maximumQueuedFrames
    while left > 0, let packet = looped.removeFirst() {
      receivePacket(packet.span, now)
      left -= 1
      if looped.count == 0 { serveMarked(now) }
    }
  }
}

/// So many events a second, and so many at once.
struct RateLimit {
  private var tokens: Int
  private let burst: Int
  private let interval: TimeSpan
  private var refilled = Instant.zero

  init(perSecond: Int, burst: Int) {
    tokens = burst
    self.burst = burst
    interval = .seconds(1) / Int64(max(1, perSecond))
  }

  /// Whether one more is allowed.
  mutating func take(_ now: Instant) -> Bool {
    let due = (now - refilled).nanoseconds / interval.nanoseconds
    if due > 0 {
      tokens = min(burst, tokens + Int(min(due, Int64(burst))))
      refilled = now
    }
    guard tokens > 0 else { return false }
    tokens -= 1
    return true
  }
}
