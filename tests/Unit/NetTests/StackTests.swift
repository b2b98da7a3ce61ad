// SPDX-License-Identifier: Apache-2.0
// StackTests.swift: listeners, floods, ports, TIME-WAIT, neighbours, fragments, echoes, datagrams: hosts on a link.

import Testing

@testable import ApusNet

@Suite struct StackTests {
  private func transfer(_ simulation: Simulation, _ pair: (TCPHandle, TCPHandle), _ bytes: [UInt8]) throws -> Bool {
    var incoming: [UInt8] = []
    _ = try simulation.hosts[0].write(pair.0, bytes.span)
    return simulation.run(.seconds(60)) {
      _ = try? simulation.hosts[1].read(pair.1, 1 << 20, into: &incoming)
      return incoming == bytes
    }
  }

  /// A SYN from a host that does not exist.
  private func strayFrame(_ flags: TCPFlags, _ random: inout Seeded, port: UInt16 = 80, acknowledgement: UInt32 = 0)
    -> [UInt8]
  {
    let source = IPv4Address(10, 0, 0, UInt8(3 + random.below(250)))
    var frame: [UInt8] = []
    EthernetHeader(
      destination: MACAddress(0x0200_0000_0002), source: MACAddress(0x0200_0000_0009), type: EthernetHeader.ipv4
    ).append(to: &frame)
    IPv4Header(
      source: source, destination: Simulation.addresses[1], number: .tcp, payloadLength: 20
    ).append(to: &frame)
    TCPHeader(
      sourcePort: UInt16(1024 + random.below(60_000)), destinationPort: port,
      sequence: SequenceNumber(UInt32(truncatingIfNeeded: random.next())),
      acknowledgement: SequenceNumber(acknowledgement), flags: flags, window: 1000
    ).append(to: &frame)
    TCPHeader.seal(&frame, from: 34, .v4(source), .v4(Simulation.addresses[1]))
    return frame
  }

  @Test func nobodyListensIsARefusal() throws {
    let simulation = Simulation(seed: 1)
    let client = try simulation.hosts[0].connect(to: simulation.endpoint(1, 80), simulation.now)
    #expect(simulation.run(.seconds(5)) { (try? simulation.hosts[0].status(client).error) == .refused })
    simulation.hosts[0].release(client, simulation.now)
    #expect(simulation.hosts[0].connectionCount == 0)
  }

  @Test func aFloodOfSynsLeavesConnectionsAliveAndNewOnesPossible() throws {
    let simulation = Simulation(seed: 2)
    let pair = try simulation.connect(port: 79)
    let listener = try simulation.hosts[1].listen(port: 80, backlog: 10, halfOpenLimit: 16)
    var random = Seeded(9)
    for _ in 0..<3000 {
      simulation.hosts[1].receive(strayFrame(.syn, &random).span, simulation.now)
      while simulation.hosts[1].nextFrame() != nil {}
    }
    #expect(simulation.hosts[1].connectionCount <= 18)
    #expect(simulation.hosts[1].counts.cookiesSent > 2900)
    #expect(simulation.hosts[1].bufferedBytes < 1 << 16)
    #expect(try transfer(simulation, pair, [UInt8](repeating: 1, count: 50_000)))
    // Cookies stand in for the queue: an honest host gets through.
    let client = try simulation.hosts[0].connect(to: simulation.endpoint(1, 80), simulation.now)
    var server: TCPHandle?
    _ = try simulation.hosts[0].write(client, [UInt8](repeating: 5, count: 9000).span)
    var incoming: [UInt8] = []
    let isThere = simulation.run(.seconds(10)) {
      server = server ?? simulation.hosts[1].accept(listener)
      if let server { _ = try? simulation.hosts[1].read(server, 10_000, into: &incoming) }
      return incoming.count == 9000
    }
    #expect(isThere)
    #expect(simulation.hosts[1].counts.cookiesTaken == 1)
    // A cookie that is not ours is refused.
    let before = simulation.hosts[1].connectionCount
    for _ in 0..<2000 {
      let guess = UInt32(truncatingIfNeeded: random.next())
      simulation.hosts[1].receive(strayFrame(.ack, &random, acknowledgement: guess).span, simulation.now)
      while simulation.hosts[1].nextFrame() != nil {}
    }
    #expect(simulation.hosts[1].connectionCount <= before)
  }

  @Test func aFullBacklogTakesNoMore() throws {
    let simulation = Simulation(seed: 3)
    let listener = try simulation.hosts[1].listen(port: 80, backlog: 2)
    for _ in 0..<5 { _ = try simulation.hosts[0].connect(to: simulation.endpoint(1, 80), simulation.now) }
    simulation.pass(.seconds(3))
    #expect(simulation.hosts[1].counts.overflows > 0)
    var taken = 0
    _ = simulation.run(.seconds(100)) {
      if simulation.hosts[1].accept(listener) != nil { taken += 1 }
      return taken == 5
    }
    #expect(taken == 5)
  }

  @Test func portsInTimeWaitAreTakenAgain() throws {
    let simulation = Simulation(seed: 4)
    let listener = try simulation.hosts[1].listen(port: 80)
    for round in 0..<3 {
      let client = try simulation.hosts[0].connect(to: simulation.endpoint(1, 80), localPort: 5000, simulation.now)
      var server: TCPHandle?
      let isThere = simulation.run(.seconds(10)) {
        server = server ?? simulation.hosts[1].accept(listener)
        return server != nil
      }
      #expect(isThere, "round \(round)")
      guard let server else { return }
      // The server closes first and remembers.
      simulation.hosts[1].release(server, simulation.now)
      simulation.pass(.seconds(1))
      simulation.hosts[0].release(client, simulation.now)
      simulation.pass(.seconds(1))
      #expect(simulation.hosts[0].connectionCount == 0)
      #expect(simulation.hosts[1].connectionCount == 1)
    }
    simulation.pass(.seconds(120))
    #expect(simulation.hosts[1].connectionCount == 0)
  }

  @Test func timeWaitMakesRoomForTheLiving() throws {
    let simulation = Simulation(seed: 5) { $1.maximumConnections = 4 }
    let listener = try simulation.hosts[1].listen(port: 80)
    for _ in 0..<10 {
      let client = try simulation.hosts[0].connect(to: simulation.endpoint(1, 80), simulation.now)
      var server: TCPHandle?
      #expect(
        simulation.run(.seconds(10)) {
          server = server ?? simulation.hosts[1].accept(listener)
          return server != nil
        })
      simulation.hosts[0].release(client, simulation.now)
      if let server { simulation.hosts[1].release(server, simulation.now) }
      simulation.pass(.milliseconds(100))
    }
    #expect(simulation.hosts[0].connectionCount <= 4)
  }

  @Test func bothSidesMayCloseAtOnce() throws {
    let simulation = Simulation(seed: 6)
    let (client, server) = try simulation.connect()
    simulation.hosts[0].release(client, simulation.now)
    simulation.hosts[1].release(server, simulation.now)
    simulation.pass(.seconds(1))
    #expect(simulation.hosts.allSatisfy { $0.connectionCount == 1 })
    simulation.pass(.seconds(61))
    #expect(simulation.hosts.allSatisfy { $0.connectionCount == 0 && $0.bufferedBytes == 0 })
  }

  @Test func dataThatNobodyWillReadIsReset() throws {
    let simulation = Simulation(seed: 7)
    let (client, server) = try simulation.connect()
    simulation.hosts[1].release(server, simulation.now)
    _ = try simulation.hosts[0].write(client, [1, 2, 3].span)
    #expect(simulation.run(.seconds(5)) { (try? simulation.hosts[0].status(client).error) == .reset })
    #expect(simulation.hosts[1].connectionCount == 0)
  }

  @Test func connectionsToOurselvesNeedNoLink() throws {
    let simulation = Simulation(seed: 8)
    let host = simulation.hosts[0]
    let listener = try host.listen(port: 80)
    for address in [IPv4Address(127, 0, 0, 1), Simulation.addresses[0]] {
      let client = try host.connect(to: Endpoint(.v4(address), 80), simulation.now)
      var server: TCPHandle?
      #expect(
        simulation.run(.seconds(1)) {
          server = server ?? host.accept(listener)
          return server != nil
        })
      guard let server else { return }
      let bytes = Seeded.bytes(1, 100_000)
      var incoming: [UInt8] = []
      var written = 0
      let isWhole = simulation.run(.seconds(10)) {
        written += (try? host.write(client, bytes.span.extracting(written..<bytes.count))) ?? 0
        _ = try? host.read(server, 1 << 20, into: &incoming)
        return incoming == bytes
      }
      #expect(isWhole)
    }
    #expect(host.nextFrame() == nil)
  }

  @Test func memoryIsBoundedInAll() throws {
    let simulation = Simulation(seed: 9) { $1.memoryLimit = 100_000 }
    var pairs: [(TCPHandle, TCPHandle)] = []
    for port in 0..<8 { pairs.append(try simulation.connect(port: 80 + UInt16(port))) }
    let bytes = Seeded.bytes(2, 60_000)
    var written = [Int](repeating: 0, count: 8)
    var incoming = [[UInt8]](repeating: [], count: 8)
    let isWhole = simulation.run(.seconds(600)) {
      for index in 0..<8 {
        written[index] +=
          (try? simulation.hosts[0].write(pairs[index].0, bytes.span.extracting(written[index]..<bytes.count))) ?? 0
        _ = try? simulation.hosts[1].read(pairs[index].1, 3000, into: &incoming[index])
      }
      return incoming.allSatisfy { $0.count == bytes.count }
    }
    #expect(isWhole)
    #expect(incoming.allSatisfy { $0 == bytes })
    #expect(simulation.hosts.allSatisfy { $0.bufferedBytes <= 100_000 })
  }

  @Test func echoesAndDatagramsArrive() throws {
    let simulation = Simulation(seed: 10)
    #expect(
      simulation.hosts[0].sendEcho(to: simulation.endpoint(1, 0).address, identifier: 7, sequence: 9, simulation.now))
    var replies: [EchoReply] = []
    #expect(
      simulation.run(.seconds(1)) {
        replies += simulation.hosts[0].takeEchoReplies()
        return !replies.isEmpty
      })
    #expect(replies == [EchoReply(source: simulation.endpoint(1, 0).address, identifier: 7, sequence: 9)])
    let sender = try simulation.hosts[0].openUDP(port: 0)
    let receiver = try simulation.hosts[1].openUDP(port: 53)
    #expect(throws: UDPError.inUse) { try simulation.hosts[1].openUDP(port: 53) }
    try simulation.hosts[0].send([1, 2, 3].span, by: sender, to: simulation.endpoint(1, 53), simulation.now)
    var datagram: Datagram?
    #expect(
      simulation.run(.seconds(1)) {
        datagram = simulation.hosts[1].receive(receiver)
        return datagram != nil
      })
    #expect(datagram?.bytes == [1, 2, 3])
    #expect(datagram?.source.port == simulation.hosts[0].port(of: sender))
    #expect(throws: UDPError.tooLarge) {
      try simulation.hosts[0].send(
        [UInt8](repeating: 0, count: 65_508).span, by: sender, to: simulation.endpoint(1, 53), simulation.now)
    }
    // What nobody takes is bounded.
    for _ in 0..<2000 {
      try simulation.hosts[0].send(
        [UInt8](repeating: 0, count: 1000).span, by: sender, to: simulation.endpoint(1, 53), simulation.now)
      simulation.pass(.milliseconds(1))
    }
    simulation.pass(.seconds(1))
    #expect(simulation.hosts[1].bufferedBytes <= DatagramSocket.limit)
    simulation.hosts[1].close(receiver)
    #expect(simulation.hosts[1].bufferedBytes == 0)
  }

  @Test func whoDoesNotAnswerIsForgotten() throws {
    let simulation = Simulation(seed: 11)
    var questions = 0
    simulation.watch = { _, frame in
      if frame[12] == 8, frame[13] == 6 { questions += 1 }
      return true
    }
    let nobody = Endpoint(.v4(IPv4Address(10, 0, 0, 77)), 80)
    let client = try simulation.hosts[0].connect(
      to: nobody, with: Script.plain { $0.synchronizeRetries = 1 }, simulation.now)
    #expect(simulation.run(.seconds(20)) { (try? simulation.hosts[0].status(client).error) == .timedOut })
    simulation.pass(.seconds(5))
    #expect(questions >= 3 && questions <= 6)
    #expect(simulation.hosts[0].neighbours.count == 0)
    let far = Endpoint(.v4(IPv4Address(8, 8, 8, 8)), 80)
    #expect(throws: TCPError.unreachable) { try simulation.hosts[0].connect(to: far, simulation.now) }
  }

  @Test func aConnectionHasOneDeadlineHoweverLongItLives() throws {
    let simulation = Simulation(seed: 12)
    let tcp = Script.plain { $0.keepAlive = KeepAlive() }
    let (client, server) = try simulation.connect([tcp, tcp])
    var incoming: [UInt8] = []
    for _ in 0..<500 {
      _ = try simulation.hosts[0].write(client, [1].span)
      simulation.pass(.milliseconds(300))
      _ = try simulation.hosts[1].read(server, 100, into: &incoming)
    }
    #expect(incoming.count == 500)
    #expect(simulation.hosts.allSatisfy { $0.deadlines.count == 1 })
  }

  @Test func theHeapGivesDeadlinesInOrder() {
    var random = Seeded(13)
    var heap = DeadlineHeap()
    var model = [Int64?](repeating: nil, count: 50)
    for _ in 0..<5000 {
      let slot = random.below(50)
      if random.percent(60) {
        let due = Int64(random.below(1000))
        heap.set(slot, Instant(nanoseconds: due))
        model[slot] = min(model[slot] ?? due, due)
      } else {
        let now = Int64(random.below(1200))
        let earliest = model.compactMap { $0 }.min()
        let taken = heap.removeDue(Instant(nanoseconds: now))
        if let earliest, earliest <= now {
          #expect(taken.map { model[$0] } == earliest)
          if let taken { model[taken] = nil }
        } else {
          #expect(taken == nil)
        }
      }
      #expect(heap.count == model.count { $0 != nil })
    }
  }

  @Test func fragmentsBecomePacketsWithinBounds() {
    var random = Seeded(4)
    func header(_ identification: UInt16, _ offset: Int, _ more: Bool) -> IPv4Header {
      var header = IPv4Header(
        source: IPv4Address(1, 1, 1, 1), destination: IPv4Address(2, 2, 2, 2), number: .udp, payloadLength: 0)
      header.identification = identification
      header.fragmentOffset = offset
      header.hasMoreFragments = more
      return header
    }
    for _ in 0..<100 {
      var reassembly = Reassembly(limit: 1 << 18)
      let bytes = random.bytes(1 + random.below(20_000))
      var parts: [(Int, Int)] = []
      var at = 0
      while at < bytes.count {
        let length = max(8 * (1 + random.below(180)), bytes.count / 60 / 8 * 8 + 8)
        parts.append((at, min(bytes.count, at + length)))
        at += length
      }
      parts.shuffle(using: &random)
      var whole: [UInt8]?
      for (start, end) in parts + parts.prefix(1) {
        let fragment = header(1, start, end < bytes.count)
        whole = reassembly.take(fragment, bytes.span.extracting(start..<end), .zero) ?? whole
      }
      #expect(whole == bytes)
    }
    // Overlaps are dropped, and with them the packet; so are too many, too large, too old.
    var reassembly = Reassembly(limit: 1 << 16)
    let part = [UInt8](repeating: 0, count: 64)
    #expect(reassembly.take(header(1, 0, true), part.span, .zero) == nil)
    #expect(reassembly.take(header(1, 32, false), part.span, .zero) == nil)
    #expect(reassembly.count == 0)
    for identification in 0..<500 as Range<UInt16> {
      #expect(reassembly.take(header(identification, 8000, true), part.span, .zero) == nil)
      #expect(reassembly.count <= 16)
    }
    reassembly.expire(Instant.zero + .seconds(16))
    #expect(reassembly.count == 0)
  }
}

extension Seeded {
  static func bytes(_ seed: Int, _ count: Int) -> [UInt8] {
    var random = Seeded(seed)
    return random.bytes(count)
  }
}
