// SPDX-License-Identifier: Apache-2.0
// NetworkStack+TCP.swift: from segments to connections and back.

extension NetworkStack {
  func receiveTCP(_ segment: Span<UInt8>, from source: IPAddress, to destination: IPAddress, _ now: Instant) {
    let header: TCPHeader
    do throws(WireError) { header = try TCPHeader(parsing: segment) } catch { return count(error) }
    guard Checksum.transport(source, destination, .tcp, segment) == 0 else {
      statistics.badChecksums += 1
      return
    }
    guard source.isUnicast, header.sourcePort != 0, header.destinationPort != 0 else {
      statistics.malformed += 1
      return
    }
    let local = Endpoint(destination, header.destinationPort)
    let remote = Endpoint(source, header.sourcePort)
    let payload = segment.extracting(header.headerLength..<segment.count)
    var floor: SequenceNumber?
    if let handle = connections.find(local, remote), let connection = connections[handle] {
      guard isNewIncarnation(header, connection) else {
        // What completes a connection has to wait while there is no room for it: it will come again.
        guard !completesBeyondBacklog(handle, connection, header) else {
          statistics.overflows += 1
          return
        }
        connection.arrive(header, payload, now)
        return segmentArrived(handle, connection, now)
      }
      // The new connection's numbers begin above all that the old one used (RFC 9293, 3.6.1).
      floor = connection.sendNext
      connection.end(nil)
      serve(handle, now)
    }
    arriveWithoutConnection(header, payload, local, remote, above: floor, now)
  }

  /// Whether a SYN may begin a new connection between the ends of one in TIME-WAIT (RFC 9293, 3.10.7.4; RFC 6191).
  private func isNewIncarnation(_ header: TCPHeader, _ connection: TCPConnection) -> Bool {
    guard connection.state == .timeWait, header.flags.has(.syn), !header.flags.has(.ack), !header.flags.has(.rst),
      listener(at: connection.local) != nil
    else { return false }
    if connection.hasTimestamps, let timestamps = header.options.timestamps {
      let age = Int32(truncatingIfNeeded: timestamps.value &- connection.recentTimestamp)
      if age != 0 { return age > 0 }
    }
    return header.sequence > connection.receiveNext
  }

  private func completesBeyondBacklog(_ handle: TCPHandle, _ connection: TCPConnection, _ header: TCPHeader) -> Bool {
    guard connection.state == .synReceived, header.flags.has(.ack), !header.flags.has(.rst) else { return false }
    let index = connections.slots[handle.index].listener
    return index >= 0 && listeners[index].ready.count >= listeners[index].backlog
  }

  private func segmentArrived(_ handle: TCPHandle, _ connection: TCPConnection, _ now: Instant) {
    // What is owed at once goes at once; data that may go with it waits for the poll.
    if connection.mustAcknowledge || connection.resetToSend != nil || connection.mustSynchronize
      || connection.state == .closed
    {
      serve(handle, now)
    } else {
      mark(handle)
    }
    noteProgress(handle, connection)
    noteNews(handle, connection)
    if connection.state == .timeWait { noteWaiting(handle) }
  }

  /// Remembers who has come to TIME-WAIT, in that order; who has left it meanwhile is forgotten from the front.
  private func noteWaiting(_ handle: TCPHandle) {
    guard connections.contains(handle), !connections.slots[handle.index].isWaiting else { return }
    while let first = waiting.first, connections[first]?.state != .timeWait { _ = waiting.removeFirst() }
    connections.note(handle) { $0.isWaiting = true }
    waiting.append(handle)
  }

  /// Has the application told of what has happened.
  func noteNews(_ handle: TCPHandle, _ connection: TCPConnection) {
    guard connection.hasNews else { return }
    connection.hasNews = false
    guard connections.contains(handle), !connections.slots[handle.index].hasNews else { return }
    connections.note(handle) { $0.hasNews = true }
    news.append(handle)
  }

  /// A connection that its peer began is the application's once it is established.
  private func noteProgress(_ handle: TCPHandle, _ connection: TCPConnection) {
    guard connections.contains(handle), !connections.slots[handle.index].isEstablishedOnce else { return }
    let listener = connections.slots[handle.index].listener
    guard listener >= 0, connection.isSynchronized else { return }
    connections.note(handle) { $0.isEstablishedOnce = true }
    listeners[listener].halfOpen -= 1
    listeners[listener].ready.append(handle)
    notice(.accepted(ListenerHandle(index: listener, generation: listeners[listener].generation)))
  }

  /// The listener for an end of ours: one for the address itself goes before one for all.
  private func listener(at local: Endpoint) -> Int? {
    var found: Int?
    for index in listeners.indices where listeners[index].isOpen && listeners[index].port == local.port {
      let scope = listeners[index].scope
      guard scope.covers(local.address) else { continue }
      if scope.address != nil { return index }
      if found == nil { found = index }
    }
    return found
  }

  // MARK: segments of no connection

  private func arriveWithoutConnection(
    _ header: TCPHeader, _ payload: Span<UInt8>, _ local: Endpoint, _ remote: Endpoint, above floor: SequenceNumber?,
    _ now: Instant
  ) {
    // LISTEN (RFC 9293, 3.10.7.2): resets are ignored, acknowledgements refused, SYNs heard.
    if header.flags.has(.rst) {
      statistics.unwanted += 1
      return
    }
    if let index = listener(at: local) {
      if header.flags.has(.ack) {
        if !header.flags.has(.syn), takeCookie(header, payload, local, remote, index, now) { return }
      } else if header.flags.has(.syn) {
        return accept(header, local, remote, index, above: floor, now)
      } else {
        statistics.unwanted += 1
        return
      }
    }
    statistics.unwanted += 1
    reset(header, payload.count, local, remote, now)
  }

  /// The answer of CLOSED (RFC 9293, 3.10.7.1).
  private func reset(_ header: TCPHeader, _ count: Int, _ local: Endpoint, _ remote: Endpoint, _ now: Instant) {
    let length = count + (header.flags.has(.syn) ? 1 : 0) + (header.flags.has(.fin) ? 1 : 0)
    let hasNumber = header.flags.has(.ack)
    let answer = TCPHeader(
      sourcePort: local.port, destinationPort: remote.port,
      sequence: hasNumber ? header.acknowledgement : SequenceNumber(0),
      acknowledgement: hasNumber ? SequenceNumber(0) : header.sequence + length,
      flags: hasNumber ? .rst : .rst | .ack, window: 0)
    send(answer, from: local.address, to: remote.address, now)
  }

  private func send(_ header: TCPHeader, from source: IPAddress, to destination: IPAddress, _ now: Instant) {
    let length = TCPHeader.byteCount + header.options.byteCount
    send(.tcp, from: source, to: destination, length: length, now) { packet in
      let start = packet.count
      header.append(to: &packet)
      TCPHeader.seal(&packet, from: start, source, destination)
    }
  }

  private func accept(
    _ header: TCPHeader, _ local: Endpoint, _ remote: Endpoint, _ index: Int, above floor: SequenceNumber?,
    _ now: Instant
  ) {
    guard listeners[index].ready.count < listeners[index].backlog else {
      statistics.overflows += 1
      return
    }
    guard listeners[index].halfOpen < listeners[index].halfOpenLimit, makeRoom(now) else {
      return sendCookie(header, local, remote, index, now)
    }
    var initial = initialSequence(local, remote, now)
    if let floor, initial <= floor { initial = floor + 65_537 }
    let connection = TCPConnection(
      accepting: local, from: remote, listeners[index].configuration, budget, synchronize: header,
      initialSend: initial, timestampOffset: timestampOffset(local, remote),
      segmentLimit: segmentLimit(to: remote.address, now), now: now)
    guard let handle = connections.insert(connection, listener: index) else { return }
    connection.handle = handle
    _ = claim(PortClaim(.tcp, local.port))
    listeners[index].halfOpen += 1
    serve(handle, now)
  }

  private func sendCookie(_ header: TCPHeader, _ local: Endpoint, _ remote: Endpoint, _ index: Int, _ now: Instant) {
    statistics.cookiesSent += 1
    listeners[index].cookiesUntil = now + SynCookie.lifetime
    let cookie = SynCookie(secret: configuration.secret).make(local, remote, header, now)
    var answer = TCPHeader(
      sourcePort: local.port, destinationPort: remote.port, sequence: cookie,
      acknowledgement: header.sequence + 1, flags: .syn | .ack, window: 65_535)
    answer.options.maximumSegmentSize = UInt16(clamping: segmentLimit(to: remote.address, now))
    send(answer, from: local.address, to: remote.address, now)
  }

  /// An acknowledgement without a connection may be the answer to a cookie: then it is one from now on.
  private func takeCookie(
    _ header: TCPHeader, _ payload: Span<UInt8>, _ local: Endpoint, _ remote: Endpoint, _ index: Int, _ now: Instant
  ) -> Bool {
    guard now < listeners[index].cookiesUntil, listeners[index].ready.count < listeners[index].backlog else {
      return false
    }
    let cookie = header.acknowledgement - 1
    let peer = header.sequence - 1
    guard
      let size = SynCookie(secret: configuration.secret).check(cookie, local, remote, peer: peer, now), makeRoom(now)
    else { return false }
    var synchronize = TCPHeader(
      sourcePort: remote.port, destinationPort: local.port, sequence: peer, acknowledgement: SequenceNumber(0),
      flags: .syn, window: header.window)
    synchronize.options.maximumSegmentSize = size
    let connection = TCPConnection(
      accepting: local, from: remote, listeners[index].configuration, budget, synchronize: synchronize,
      initialSend: cookie, timestampOffset: 0, segmentLimit: segmentLimit(to: remote.address, now), now: now)
    connection.synchronizeWasSentAsCookie()
    guard let handle = connections.insert(connection, listener: index) else { return false }
    connection.handle = handle
    _ = claim(PortClaim(.tcp, local.port))
    statistics.cookiesTaken += 1
    listeners[index].halfOpen += 1
    connection.arrive(header, payload, now)
    segmentArrived(handle, connection, now)
    return true
  }

  /// Makes room for one more connection, in place of the one longest in TIME-WAIT if need be.
  func makeRoom(_ now: Instant) -> Bool {
    if connections.count < connections.capacity { return true }
    while let oldest = waiting.removeFirst() {
      guard let connection = connections[oldest], connection.state == .timeWait, connection.isReleased else { continue }
      connection.end(nil)
      serve(oldest, now)
      return true
    }
    statistics.overflows += 1
    return false
  }

  // MARK: numbers that nobody can guess

  /// RFC 6528, 3: a clock of four microseconds and a keyed hash of the ends.
  func initialSequence(_ local: Endpoint, _ remote: Endpoint, _ now: Instant) -> SequenceNumber {
    let clock = UInt32(truncatingIfNeeded: now.nanoseconds / 4000)
    return SequenceNumber(clock &+ UInt32(truncatingIfNeeded: hash(3, local, remote)))
  }

  func timestampOffset(_ local: Endpoint, _ remote: Endpoint) -> UInt32 {
    UInt32(truncatingIfNeeded: hash(4, local, remote))
  }

  private func hash(_ purpose: UInt64, _ local: Endpoint, _ remote: Endpoint) -> UInt64 {
    let source = local.address.words
    let target = remote.address.words
    let ports = UInt64(local.port) << 16 | UInt64(remote.port)
    return configuration.secret.hash(purpose, source.0, source.1, target.0, target.1, ports)
  }

  /// What a packet to a host leaves for TCP's options and payload.
  func segmentLimit(to destination: IPAddress, _ now: Instant) -> Int {
    let limit = route(to: destination) == .ourselves ? Self.loopbackPacket : pathLimit(to: destination, now)
    if case .v4 = destination { return limit - IPv4Header.byteCount - TCPHeader.byteCount }
    if route(to: destination) == .ourselves { return limit - IPv6Header.byteCount - TCPHeader.byteCount }
    return min(limit, ipv6.linkLimit ?? limit) - IPv6Header.byteCount - TCPHeader.byteCount
  }

  // MARK: sending

  /// Sends what a connection owes, and notes when it wants to be looked at again.
  func serve(_ handle: TCPHandle, _ now: Instant) {
    guard let connection = connections[handle] else { return }
    while !isFull, let segment = connection.nextSegment(now) { send(segment, of: connection, now) }
    if isFull { mark(handle) }
    if connection.state == .closed, connection.resetToSend == nil { return connectionHasEnded(handle, connection) }
    if let due = connection.deadline { deadlines.set(handle.index, due) }
  }

  /// Whether nothing more can be sent for now.
  private var isFull: Bool { outgoing.isFull || looped.isFull || link?.isFull ?? false }

  private func send(_ segment: OutgoingSegment, of connection: TCPConnection, _ now: Instant) {
    if let link, sendAtOnce(segment, of: connection, by: link, now) { return }
    let source = connection.local.address
    let destination = connection.remote.address
    let length = TCPHeader.byteCount + segment.header.options.byteCount + segment.count
    send(.tcp, from: source, to: destination, length: length, now) { packet in
      let start = packet.count
      segment.header.append(to: &packet)
      connection.sendQueue.copy(segment.offset, segment.count, to: &packet)
      TCPHeader.seal(&packet, from: start, source, destination)
    }
  }

  /// Sends a segment of the usual form to a neighbour who is known, its payload left where it is; false if it is another.
  private func sendAtOnce(
    _ segment: OutgoingSegment, of connection: TCPConnection, by link: any FrameLink, _ now: Instant
  ) -> Bool {
    guard case .v4(let source) = connection.local.address, case .v4(let destination) = connection.remote.address,
      let hop = route(to: connection.remote.address),
      case .neighbour(let next) = hop, let hardware = neighbours.known(next, now)
    else { return false }
    let options = segment.header.options
    let isUsual = options.isTimestampsAtMost
    let headerLength = TCPHeader.byteCount + options.byteCount
    let length = headerLength + segment.count
    let start = EthernetHeader.byteCount + IPv4Header.byteCount
    frame.begin(start + (isUsual ? headerLength : TCPHeader.byteCount))
    EthernetHeader(destination: hardware, source: configuration.hardwareAddress, type: EthernetHeader.ipv4)
      .write(to: frame)
    nextIdentification = nextIdentification &+ 1
    var header = IPv4Header(source: source, destination: destination, number: .tcp, payloadLength: length)
    header.identification = nextIdentification
    header.write(to: frame)
    var sum = segment.header.write(to: frame, at: start, isUsual ? options.timestamps : nil, length: headerLength)
    if !isUsual {
      var bytes: [UInt8] = []
      options.append(to: &bytes)
      frame.append(bytes.span)
      sum.add(bytes.span)
    }
    sum.add(UInt64(source.bits) << 32 | UInt64(destination.bits))
    sum.add(UInt32(IPProtocol.tcp.rawValue) << 16 | UInt32(truncatingIfNeeded: length))
    var parts = FrameParts()
    let further = connection.sendQueue.gather(segment.offset, segment.count, to: frame, &parts)
    let inline = frame.count - start - headerLength
    frame.withSpan(from: start + headerLength) { sum.add($0) }
    sum.add(inline & 1 == 0 ? further : further.byteSwapped)
    frame.store(sum.value, at: start + 16)
    statistics.framesSent += 1
    frame.withSpan(from: 0) { link.send($0, parts) }
    return true
  }

  private func connectionHasEnded(_ handle: TCPHandle, _ connection: TCPConnection) {
    noteNews(handle, connection)
    connections.unlist(handle)
    let slot = connections.slots[handle.index]
    if slot.listener >= 0, !slot.isEstablishedOnce {
      // It never was the application's: nobody will let go of it.
      listeners[slot.listener].halfOpen -= 1
      remove(handle, connection)
    } else if connection.isReleased {
      remove(handle, connection)
    }
  }

  private func remove(_ handle: TCPHandle, _ connection: TCPConnection) {
    releaseClaim(of: connection, wasAccepted: connections.slots[handle.index].listener >= 0)
    connections.remove(handle)
  }

  /// Has the next poll look at a connection.
  func mark(_ handle: TCPHandle) {
    guard connections.contains(handle), !connections.slots[handle.index].isMarked else { return }
    connections.note(handle) { $0.isMarked = true }
    marked.append(handle)
  }

  func serveMarked(_ now: Instant) {
    // Two lists take turns, so that neither is made anew.
    swap(&marked, &serving)
    for index in 0..<serving.count where connections.contains(serving[index]) {
      let handle = serving[index]
      connections.note(handle) { $0.isMarked = false }
      serve(handle, now)
    }
    serving.removeAll(keepingCapacity: true)
  }
}
