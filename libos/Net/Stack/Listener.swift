// SPDX-License-Identifier: Apache-2.0
// Listener.swift: a port that connections are accepted on, its queues, and SYN cookies for when they are full.

/// Names a listener of a stack.
public struct ListenerHandle: Equatable, Sendable {
  let index: Int
  let generation: UInt32
}

struct Listener {
  var port: UInt16
  var scope: AddressScope
  var isOpen: Bool
  var generation: UInt32
  var configuration: TCPConfiguration
  /// How many connections may wait to be taken by the application.
  var backlog: Int
  /// How many may be half open, before cookies stand for them.
  var halfOpenLimit: Int
  var halfOpen = 0
  var ready: [TCPHandle] = []
  /// Until when cookies are believed: a while after one was sent.
  var cookiesUntil = Instant.zero
}

/// Initial sequence numbers that say all that a half-open connection needs (RFC 4987, 3.6): a keyed hash of both ends and
/// the peer's number, the minute, and which of eight segment sizes it can take.
struct SynCookie {
  let secret: Secret

  private static let sizes: [UInt16] = [216, 536, 1024, 1220, 1360, 1440, 1452, 1460]
  private static let period = TimeSpan.seconds(64)
  static let lifetime = TimeSpan.seconds(128)

  private func mac(_ local: Endpoint, _ remote: Endpoint, _ peer: SequenceNumber, _ count: Int64, _ size: Int) -> UInt32
  {
    let source = local.address.words
    let target = remote.address.words
    let ends = UInt64(local.port) << 48 | UInt64(remote.port) << 32 | UInt64(peer.rawValue)
    let what = UInt64(bitPattern: count) << 3 | UInt64(size)
    let hash = secret.hash(2, source.0, source.1, target.0, target.1, ends, what)
    return UInt32(truncatingIfNeeded: hash) & 0xff_ffff
  }

  private func period(_ now: Instant) -> Int64 { now.nanoseconds / Self.period.nanoseconds }

  func make(_ local: Endpoint, _ remote: Endpoint, _ synchronize: TCPHeader, _ now: Instant) -> SequenceNumber {
    let offered = synchronize.options.maximumSegmentSize ?? 536
    let size = Self.sizes.lastIndex { $0 <= offered } ?? 0
    let count = period(now)
    let mac = mac(local, remote, synchronize.sequence, count, size)
    return SequenceNumber(UInt32(truncatingIfNeeded: count & 31) << 27 | UInt32(size) << 24 | mac)
  }

  /// What a cookie says, if it is one of ours and not old.
  ///
  /// - Returns: The segment size that the peer can take.
  func check(
    _ cookie: SequenceNumber, _ local: Endpoint, _ remote: Endpoint, peer: SequenceNumber, _ now: Instant
  ) -> UInt16? {
    let size = Int(cookie.rawValue >> 24 & 7)
    for age in 0...1 {
      let count = period(now) - Int64(age)
      guard UInt32(truncatingIfNeeded: count & 31) == cookie.rawValue >> 27 else { continue }
      if mac(local, remote, peer, count, size) == cookie.rawValue & 0xff_ffff { return Self.sizes[size] }
    }
    return nil
  }
}
