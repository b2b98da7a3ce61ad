// SPDX-License-Identifier: Apache-2.0
// NetworkInterface.swift: a network stack on the machine's card: a ring of packets below, the machine's clock beside.

// Theory of operation. The stack of libos/Net is a function of frames and time. Here are both: frames out of a ring that
// the kernel fills, which are read where they lie, and the time stamp counter. `turn` takes in what has arrived, does
// what is due and sends; when a turn brought nothing, `wait` gives up the CPU until a packet comes or the stack's next
// deadline. Short frames are copied by the kernel as headers; what is longer goes from pages of a small pool, which are
// used again when the card is done with them.

import ApusABI
import ApusNet
import ApusRuntime

/// A network stack and the card that it speaks through.
public final class NetworkInterface {
  /// The stack: listen, connect, read and write there.
  public let stack: NetworkStack
  private let ring: PacketRing
  private let filters: FilterClaims
  private let link: RingLink
  private var client: DHCPClient?
  /// Frames that no filter of ours allows to be sent, or that the kernel refused.
  public var unsent: Int { link.unsent }
  /// Frames taken in during one turn, at most.
  private static var framesPerTurn: Int { 64 }

  /// A stack on the machine's card; nil if there is no card, no memory or ring left, or DHCP's port is somebody else's.
  ///
  /// - Parameters:
  ///   - address: The address; nil: one is asked for by DHCP.
  ///   - entries: Packets that may wait to be looked at, up to 256.
  ///   - configure: May change what the stack is told at its beginning.
  public init?(
    address: IPv4Configuration? = nil, entries: Int = 128, configure: (inout StackConfiguration) -> Void = { _ in }
  ) {
    guard NetworkCard.isThere, let ring = PacketRing(entries: entries) else { return nil }
    self.ring = ring
    filters = FilterClaims(ring)
    link = RingLink(ring, filters)
    // The card's address has its first byte in the lowest bits.
    let hardware = MACAddress(NetworkCard.address.byteSwapped >> 16)
    var configuration = StackConfiguration(hardwareAddress: hardware, secret: NetworkInterface.secret())
    configure(&configuration)
    stack = NetworkStack(configuration)
    stack.claims = filters
    stack.link = link
    if let address {
      stack.configure(address)
    } else {
      do throws(UDPError) { client = try DHCPClient(stack, NetworkInterface.now) } catch { return nil }
    }
  }

  private static func secret() -> Secret {
    var bytes = [UInt8](repeating: 0, count: 16)
    return Bytes.withArray(&bytes) { view in
      Random.fill(view)
      return Secret(low: view.load(0, as: UInt64.self), high: view.load(8, as: UInt64.self))
    }
  }

  /// The machine's time, as the stack counts it.
  public static var now: Instant { Instant(nanoseconds: Int64(truncatingIfNeeded: Clock.monotonicNanoseconds)) }

  /// Our address, once there is one.
  public var address: IPv4Configuration? { stack.address }
  /// What a DHCP server has lent us, with the name servers that it told.
  public var lease: DHCPLease? { client?.lease }
  /// Packets that found no free entry in the ring.
  public var overruns: UInt64 { ring.overruns }

  // MARK: One turn

  /// Takes in what has arrived, does what is due, and sends what is owed.
  ///
  /// - Returns: Whether a packet had arrived: then there may be more.
  @discardableResult public func turn() -> Bool {
    let now = NetworkInterface.now
    let taken = receive(now)
    attend(taken > 0, now)
    send(now)
    return taken > 0
  }

  /// Has the DHCP client look at what has come, and do what is due.
  ///
  /// - Parameters:
  ///   - hasReceived: Whether a packet has come since the last time.
  ///   - now: The time.
  public func attend(_ hasReceived: Bool, _ now: Instant) {
    guard let client, hasReceived || client.deadline.map({ $0 <= now }) ?? false else { return }
    client.poll(now)
  }

  /// Takes in what has arrived, without answering yet.
  ///
  /// - Parameter now: The time.
  /// - Returns: How many packets there were.
  @discardableResult public func receive(_ now: Instant) -> Int {
    link.begin()
    var taken = 0
    while taken < NetworkInterface.framesPerTurn, let packet = ring.received {
      packet.withSpan { stack.receive($0, now) }
      ring.release(ring.take())
      taken += 1
    }
    return taken
  }

  /// Does what is due, and sends what is owed.
  ///
  /// - Parameter now: The time.
  public func send(_ now: Instant) {
    stack.poll(now)
    while !link.isFull, let frame = stack.nextFrame() { link.send(frame.span, FrameParts()) }
    if !link.isStuck { link.flush() }
  }

  // MARK: Waiting

  /// When `turn` is to be called at the latest, if no packet comes before; nil: whenever one comes.
  public var deadline: Instant? {
    guard let own = client?.deadline else { return stack.deadline }
    return stack.deadline.map { min($0, own) } ?? own
  }

  /// The address of a word that changes when a packet arrives, for those who wait for other things, too.
  public var arrivalWord: UInt64 { ring.arrivalWord }
  /// What the word says now; look whether `hasArrived` after taking it, then wait until it is another.
  public var arrivals: UInt64 { ring.arrivals }
  /// Whether a packet waits to be taken in.
  public var hasArrived: Bool { ring.received != nil }

  /// Gives up the CPU until a packet arrives, or one that had no room at the card may have it.
  public func waitForArrival() { ring.wait(deadline: .max) }

  /// Gives up the CPU until a packet arrives or something is due.
  ///
  /// - Parameter until: When it returns in any case.
  public func wait(until: Instant? = nil) {
    // While the card is full nothing can be done that is due: it has room again soon.
    if ring.isBacklogged { return ring.wait(deadline: .max) }
    var due = deadline
    if let until { due = due.map { min($0, until) } ?? until }
    guard let due else { return ring.wait(deadline: .max) }
    let now = NetworkInterface.now
    guard due > now else { return }
    ring.wait(deadline: Clock.ticks(afterNanoseconds: UInt64((due - now).nanoseconds)))
  }
}
