// SPDX-License-Identifier: Apache-2.0
// LocalSocket+Transfer.swift: sending and receiving within the machine.

import ApusRuntime

extension LocalSocket {
  /// Datagrams that wait for a receiver that is nobody's partner: one more than /proc/sys/net/unix/max_dgram_qlen is on Linux.
  static var datagramLimit: Int { 11 }
  /// Files that may be on their way with one message (SCM_MAX_FD).
  public static var rightsLimit: Int { 253 }
  /// A stream's bytes are kept in pieces of at most this size.
  private static var pieceLimit: Int { 32 << 10 - 64 }
  /// Pages that sending leaves to others.
  private static var pageReserve: Int { 128 }

  /// Whether poll(2) calls it writable: as on Linux, as soon as three quarters are free.
  var hasRoomToSend: Bool {
    guard let peer, !peer.isGone else { return true }
    let taken = type == .stream ? peer.incoming.byteCount : peer.incoming.cost
    if taken * 4 <= settings.sendBuffer && !peer.isFullOfDatagrams(by: self) { return true }
    peer.noteStalled(self)
    return false
  }

  fileprivate func isFullOfDatagrams(by sender: LocalSocket) -> Bool {
    type == .datagram && peer !== sender && incoming.count >= Self.datagramLimit
  }

  /// Sends; the destination of a datagram has to be found before (`receiver`).
  func transfer(_ bytes: Bytes, _ message: OutgoingMessage, to named: LocalSocket?) throws(Errno) -> Int {
    if message.flags.contains(.urgent) { throw .EOPNOTSUPP }
    guard message.rights.count <= Self.rightsLimit else { throw .EINVAL }
    switch type {
    case .stream: return try sendStream(bytes, message)
    case .sequence:
      guard state == .connected else { throw .ENOTCONN }
      guard !isWriteShut, let peer else { throw .EPIPE }
      return try sendRecord(bytes, message, to: peer)
    case .datagram, .raw: return try sendDatagram(bytes, message, to: named)
    }
  }

  private func sendStream(_ bytes: Bytes, _ message: OutgoingMessage) throws(Errno) -> Int {
    if message.destination != nil { throw state == .connected ? .EISCONN : .EOPNOTSUPP }
    guard state == .connected else { throw .ENOTCONN }
    guard !isWriteShut, let peer, !peer.isReadShut else { throw .EPIPE }
    if bytes.count == 0 { return 0 }
    let room = settings.sendBuffer - peer.incoming.byteCount
    guard room > 0 else {
      peer.noteStalled(self)
      throw .EAGAIN
    }
    let total = min(room, bytes.count)
    guard Page.freeCount > Self.pageReserve + total >> 11 else { throw .ENOBUFS }
    var done = 0
    while done < total {
      let piece = min(Self.pieceLimit, total - done)
      peer.incoming.append(
        LocalMessage(
          bytes.part(done, piece).array, rights: done == 0 ? message.rights : [], message.credentials, from: name))
      done += piece
    }
    peer.readers.wakeAll()
    return done
  }

  private func sendDatagram(_ bytes: Bytes, _ message: OutgoingMessage, to named: LocalSocket?) throws(Errno) -> Int {
    if isWriteShut { throw .EPIPE }
    let target: LocalSocket
    if let named {
      target = named
    } else {
      guard let peer else { throw .ENOTCONN }
      target = peer
    }
    if target.isGone {
      if target === peer { forgetPeer() }
      throw .ECONNREFUSED
    }
    guard target.peer == nil || target.peer === self else { throw .EPERM }
    if target.isReadShut { throw .EPIPE }
    return try sendRecord(bytes, message, to: target)
  }

  /// Sends one message as a whole.
  private func sendRecord(_ bytes: Bytes, _ message: OutgoingMessage, to target: LocalSocket) throws(Errno) -> Int {
    guard bytes.count <= settings.sendBuffer - 32 else { throw .EMSGSIZE }
    if target.isFullOfDatagrams(by: self) || target.incoming.cost >= settings.sendBuffer {
      target.noteStalled(self)
      throw .EAGAIN
    }
    guard Page.freeCount > Self.pageReserve + bytes.count >> 11 else { throw .ENOBUFS }
    target.incoming.append(LocalMessage(bytes.array, rights: message.rights, message.credentials, from: name))
    target.readers.wakeAll()
    return bytes.count
  }

  /// Whom a message goes to by name; nil: to whom it is connected.
  public func receiver(of message: OutgoingMessage, _ caller: SocketCaller) throws(Errno) -> LocalSocket? {
    guard type == .datagram, let destination = message.destination else { return nil }
    return try find(destination, caller)
  }

  /// Sends for a caller, who may name a destination.
  public func send(_ bytes: Bytes, _ message: OutgoingMessage, _ caller: SocketCaller) throws(Errno) -> Int {
    try transfer(bytes, message, to: try receiver(of: message, caller))
  }

  // MARK: Receiving

  func take(_ into: Bytes, _ flags: MessageFlags) throws(Errno) -> IncomingMessage {
    if flags.contains(.urgent) { throw .EOPNOTSUPP }
    if type == .stream { return try takeBytes(into, flags) }
    if type == .sequence && state != .connected { throw .ENOTCONN }
    guard let message = incoming[0] else {
      if let error = takeError() { throw error }
      if isReadShut { return IncomingMessage() }
      throw .EAGAIN
    }
    var result = IncomingMessage()
    result.count = message.copy(into: into, at: 0)
    result.fullCount = message.rest
    if result.count < result.fullCount { result.flags = .truncated }
    if type == .sequence { result.flags = result.flags.union(.endOfRecord) }
    if type == .datagram && message.source != .unnamed { result.source = message.source }
    result.credentials = message.credentials
    result.rights = message.giveRights(keeping: flags.contains(.peek))
    if !flags.contains(.peek) {
      incoming.removeFirst()
      hasMadeRoom()
    }
    return result
  }

  private func takeBytes(_ into: Bytes, _ flags: MessageFlags) throws(Errno) -> IncomingMessage {
    guard state == .connected else { throw .EINVAL }
    var result = IncomingMessage()
    guard !incoming.isEmpty else {
      if let error = takeError() { throw error }
      if isReadShut || into.count == 0 { return result }
      throw .EAGAIN
    }
    let peeks = flags.contains(.peek)
    var index = 0
    while result.count < into.count, let message = incoming[index] {
      if settings.passesCredentials, let seen = result.credentials, seen != message.credentials { break }
      result.credentials = message.credentials
      let count = message.copy(into: into, at: result.count)
      result.count += count
      // Bytes that files came with end the read: what comes later must not seem to belong to them.
      result.rights = message.giveRights(keeping: peeks)
      let isWhole = count == message.rest
      if peeks {
        index += 1
      } else {
        incoming.consume(count)
        if isWhole { incoming.removeFirst() }
      }
      if !result.rights.isEmpty || !isWhole { break }
    }
    result.fullCount = result.count
    if !peeks { hasMadeRoom() }
    return result
  }

  /// Something was taken out: whoever had no room is told.
  private func hasMadeRoom() {
    if type != .stream || incoming.byteCount * 4 <= peer?.settings.sendBuffer ?? 0 { wakeStalled() }
    if type != .datagram, let peer, !peer.writers.isEmpty, peer.hasRoomToSend { peer.writers.wakeAll() }
  }
}
