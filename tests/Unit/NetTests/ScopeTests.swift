// SPDX-License-Identifier: Apache-2.0
// ScopeTests.swift: what sockets of programs ask of the stack: addresses, peers, raw packets, fragments, errors.

import Testing

@testable import ApusNet

@Suite struct ScopeTests {
  private static let loopback = IPAddress.v4(IPv4Address(127, 0, 0, 1))
  private let simulation = Simulation(seed: 21)
  private var host: NetworkStack { simulation.hosts[0] }

  private func received(_ handle: UDPHandle, on index: Int) -> Datagram? {
    var datagram: Datagram?
    _ = simulation.run(.seconds(1)) {
      datagram = simulation.hosts[index].receive(handle)
      return datagram != nil
    }
    return datagram
  }

  @Test func scopesOverlapWhereAnAddressIsInBoth() {
    let four = AddressScope(takesVersion6: false)
    let six = AddressScope(takesVersion4: false)
    let one = AddressScope(Self.loopback)
    let other = AddressScope(simulation.endpoint(0, 0).address)
    #expect(AddressScope.all.overlaps(four) && four.overlaps(.all) && one.overlaps(four) && four.overlaps(one))
    #expect(!four.overlaps(six) && !one.overlaps(six) && !six.overlaps(one) && !one.overlaps(other))
  }

  @Test func aListenerForAnAddressGoesBeforeOneForAll() throws {
    let all = try host.listen(port: 80)
    let one = try host.listen(port: 80, scope: AddressScope(Self.loopback))
    #expect(throws: TCPError.inUse) { try host.listen(port: 80) }
    _ = try host.connect(to: Endpoint(Self.loopback, 80), simulation.now)
    _ = try simulation.hosts[1].connect(to: simulation.endpoint(0, 80), simulation.now)
    #expect(simulation.run(.seconds(1)) { host.hasConnection(all) && host.hasConnection(one) })
    // A listener for the loopback alone refuses others.
    host.close(all, simulation.now)
    let late = try simulation.hosts[1].connect(to: simulation.endpoint(0, 80), simulation.now)
    #expect(simulation.run(.seconds(1)) { (try? simulation.hosts[1].status(late))?.error == .refused })
  }

  @Test func whatIsForTheLoopbackDoesNotComeOverTheLink() throws {
    let handle = try host.openUDP(port: 53)
    var packet: [UInt8] = []
    EthernetHeader(
      destination: MACAddress(0x0200_0000_0001), source: MACAddress(0x0200_0000_0002), type: EthernetHeader.ipv4
    ).append(to: &packet)
    for target in [IPv4Address(127, 0, 0, 1), Simulation.addresses[0]] {
      var frame = packet
      IPv4Header(source: Simulation.addresses[1], destination: target, number: .udp, payloadLength: 9)
        .append(to: &frame)
      UDPHeader(sourcePort: 9, destinationPort: 53, payloadLength: 1).append(
        to: &frame, from: .v4(Simulation.addresses[1]), to: .v4(target), [7].span)
      host.receive(frame.span, simulation.now)
    }
    #expect(host.receive(handle)?.destination == .v4(Simulation.addresses[0]))
    #expect(host.receive(handle) == nil)
    #expect(host.counts.foreign == 1)
  }

  @Test func aPeerIsHeardAloneAndItsRefusalIsTold() throws {
    let first = try host.openUDP(port: 0)
    let second = try host.openUDP(port: 0)
    let receiver = try simulation.hosts[1].openUDP(port: 53)
    simulation.hosts[1].setPeer(receiver, Endpoint(.v4(Simulation.addresses[0]), host.port(of: second)))
    try host.send([1].span, by: first, to: simulation.endpoint(1, 53), simulation.now)
    try host.send([2].span, by: second, to: simulation.endpoint(1, 53), simulation.now)
    #expect(received(receiver, on: 1)?.bytes == [2])
    #expect(simulation.hosts[1].receive(receiver) == nil)
    host.setPeer(first, simulation.endpoint(1, 54))
    try host.send([3].span, by: first, to: simulation.endpoint(1, 54), simulation.now)
    #expect(simulation.run(.seconds(1)) { host.takeRefusal(first) })
    #expect(!host.takeRefusal(first))
    // One without a peer is not told.
    try host.send([3].span, by: second, to: simulation.endpoint(1, 54), simulation.now)
    simulation.pass(.seconds(1))
    #expect(!host.takeRefusal(second))
  }

  @Test func largeDatagramsGoAsFragments() throws {
    let sender = try host.openUDP(port: 0)
    let receiver = try simulation.hosts[1].openUDP(port: 53)
    var longest = 0
    var frames = 0
    simulation.watch = { from, frame in
      if from == 0 && frame[12] == 8 && frame[13] == 0 {
        longest = max(longest, frame.count)
        frames += 1
      }
      return true
    }
    for count in [1472, 1473, 60_000] {
      let bytes = Seeded.bytes(3, count)
      frames = 0
      try host.send(bytes.span, by: sender, to: simulation.endpoint(1, 53), simulation.now)
      #expect(received(receiver, on: 1)?.bytes == bytes)
      #expect(frames == (count + 8 + 1479) / 1480)
    }
    #expect(longest <= 1514)
  }

  @Test func rawSocketsSeePacketsAndAreBounded() throws {
    let raw = host.openRaw(1, isVersion6: false)
    _ = host.sendEcho(to: simulation.endpoint(1, 0).address, identifier: 7, sequence: 9, simulation.now)
    #expect(simulation.run(.seconds(1)) { host.hasPacket(raw) })
    let packet = host.receive(raw, keeping: true)
    #expect(packet?.payloadOffset == 20 && packet?.bytes[20] == 0)
    #expect(host.receive(raw) == packet)
    #expect(host.receive(raw) == nil)
    let other = host.openRaw(200, isVersion6: false)
    #expect(throws: Never.self) {
      try host.sendRaw([1, 2, 3], 200, to: Self.loopback, simulation.now)
    }
    host.poll(simulation.now)
    #expect(host.receive(other)?.bytes.suffix(3) == [1, 2, 3])
    for _ in 0..<1000 {
      try host.sendRaw([UInt8](repeating: 1, count: 1000), 200, to: Self.loopback, simulation.now)
      host.poll(simulation.now)
    }
    #expect(host.bufferedBytes <= RawSocket.limit)
    host.close(other)
    host.close(raw)
    #expect(host.bufferedBytes == 0)
  }

  @Test func whatIsPeekedStaysAndSettlingIsSeen() throws {
    let pair = try simulation.connect(port: 80)
    _ = try host.write(pair.0, [1, 2, 3].span)
    #expect(simulation.run(.seconds(1)) { (try? simulation.hosts[1].status(pair.1))?.readable == 3 })
    var bytes: [UInt8] = []
    #expect(try simulation.hosts[1].peek(pair.1, 2, into: &bytes) == 2)
    #expect(try simulation.hosts[1].read(pair.1, 9, into: &bytes) == 3)
    #expect(bytes == [1, 2, 1, 2, 3])
    #expect(host.isSettled)
    _ = try host.write(pair.0, [4].span)
    host.release(pair.0, simulation.now)
    #expect(!host.isSettled)
    #expect(simulation.run(.seconds(1)) { host.isSettled })
    #expect(host.hasConnection(at: 80) == false && simulation.hosts[1].hasConnection(at: 80))
  }
}
