// SPDX-License-Identifier: Apache-2.0
// IPv6Tests.swift: neighbours, addresses from routers, duplicates, streams and errors over IPv6.

import Testing

@testable import ApusNet

@Suite struct IPv6Tests {
  private func simulation(_ seed: Int, _ impairment: Impairment = Impairment()) -> Simulation {
    let simulation = Simulation(seed: seed, impairment)
    for host in simulation.hosts {
      host.configure(nil)
      host.enableVersion6(simulation.now)
    }
    simulation.pass(.seconds(2))
    return simulation
  }

  private let router = IPv6Address(high: 0xfe80 << 48, low: 0x77)

  /// A router that is no host here says something to host 0.
  private func advertise(
    _ simulation: Simulation, _ advertisement: RouterAdvertisement, hopLimit: UInt8 = 255, from: IPv6Address? = nil
  ) {
    let source = from ?? router
    var message: [UInt8] = []
    let nothing: [UInt8] = []
    ICMPv6Message.routerAdvertisement(advertisement).append(to: &message, from: source, to: .allNodes, nothing.span)
    var frame: [UInt8] = []
    EthernetHeader(
      destination: IPv6Address.allNodes.group, source: MACAddress(0x0200_0000_0077), type: EthernetHeader.ipv6
    ).append(to: &frame)
    var header = IPv6Header(source: source, destination: .allNodes, number: .icmpv6, payloadLength: message.count)
    header.hopLimit = hopLimit
    header.append(to: &frame)
    frame += message
    simulation.hosts[0].receive(frame.span, simulation.now)
  }

  private func prefix(_ number: UInt64, valid: UInt32, preferred: UInt32) -> PrefixInformation {
    PrefixInformation(
      prefix: IPv6Address(high: 0x2001_0db8_0000_0000 | number, low: 0), length: 64, isOnLink: true,
      isAutonomous: true, validSeconds: valid, preferredSeconds: preferred)
  }

  @Test func addressesAreStableOpaqueAndOursAfterASecond() {
    let simulation = Simulation(seed: 1)
    let host = simulation.hosts[0]
    host.enableVersion6(simulation.now)
    #expect(host.version6Addresses == [])
    simulation.pass(.seconds(2))
    #expect(host.version6Addresses.count == 1)
    #expect(host.version6Addresses.first?.isLinkLocal == true)
    #expect(host.version6Addresses.first?.low != simulation.hosts[1].version6Addresses.first?.low)
  }

  @Test func streamsGoOverIPv6WithLosses() throws {
    for seed in Extent.seeds(10 * Extent.factor) {
      let simulation = simulation(seed, Impairment(loss: 10, duplication: 5, reordering: 20))
      let listener = try simulation.hosts[1].listen(port: 80)
      guard let address = simulation.hosts[1].version6Addresses.first else {
        Issue.record("seed \(seed): no address")
        return
      }
      let client = try simulation.hosts[0].connect(to: Endpoint(.v6(address), 80), simulation.now)
      let bytes = Seeded.bytes(seed, 30_000)
      _ = try simulation.hosts[0].write(client, bytes.span)
      var server: TCPHandle?
      var incoming: [UInt8] = []
      let isWhole = simulation.run(.seconds(1000)) {
        server = server ?? simulation.hosts[1].accept(listener)
        if let server { _ = try? simulation.hosts[1].read(server, 1 << 20, into: &incoming) }
        return incoming == bytes
      }
      #expect(isWhole, "seed \(seed)")
    }
  }

  @Test func anAddressThatSomebodyHasIsNotTaken() {
    let simulation = simulation(3)
    let address = IPv6Address(high: 0x2001_0db8 << 32, low: 5)
    simulation.hosts[0].addVersion6(address, prefixLength: 64, simulation.now)
    simulation.pass(.seconds(2))
    simulation.hosts[1].addVersion6(address, prefixLength: 64, simulation.now)
    simulation.pass(.seconds(2))
    #expect(simulation.hosts[0].version6Addresses.contains(address))
    #expect(!simulation.hosts[1].version6Addresses.contains(address))
    // At the same time neither gets it.
    let other = IPv6Address(high: 0x2001_0db8 << 32, low: 6)
    for host in simulation.hosts { host.addVersion6(other, prefixLength: 64, simulation.now) }
    simulation.pass(.seconds(2))
    #expect(simulation.hosts.allSatisfy { !$0.version6Addresses.contains(other) })
  }

  @Test func routersGivePrefixesAndTakeThemAway() {
    let simulation = simulation(4)
    let host = simulation.hosts[0]
    let far = IPAddress.v6(IPv6Address(high: 0x2001_0db8_ffff_0000, low: 9))
    #expect(host.route(to: far) == nil)
    var advertisement = RouterAdvertisement(
      lifetimeSeconds: 1800, hardware: MACAddress(0x0200_0000_0077), maximumPacket: 1400,
      prefixes: [prefix(1, valid: 86_400, preferred: 3600)])
    advertise(simulation, advertisement, hopLimit: 254)
    advertise(simulation, advertisement, from: IPv6Address(high: 0x2001_0db8 << 32, low: 1))
    #expect(host.ipv6.routers.isEmpty)
    advertise(simulation, advertisement)
    simulation.pass(.seconds(2))
    #expect(host.version6Addresses.count == 2)
    #expect(host.version6Addresses.last?.high == 0x2001_0db8_0000_0001)
    #expect(host.route(to: far) == .neighbour(.v6(router)))
    #expect(host.source(for: far) == host.version6Addresses.last.map { .v6($0) })
    #expect(host.segmentLimit(to: far, simulation.now) == 1340)
    // A forged end shortens to two hours, no more (RFC 4862, 5.5.3).
    advertisement.prefixes = [prefix(1, valid: 0, preferred: 0)]
    advertise(simulation, advertisement)
    simulation.pass(.seconds(7100))
    #expect(host.version6Addresses.count == 2)
    #expect(host.route(to: far) == nil)
    simulation.pass(.seconds(200))
    #expect(host.version6Addresses.count == 1)
    // Many prefixes and routers are too many.
    for number in 0..<100 as Range<UInt64> {
      advertisement.prefixes = [prefix(number, valid: 86_400, preferred: 3600)]
      advertise(simulation, advertisement, from: IPv6Address(high: 0xfe80 << 48, low: number + 1000))
    }
    #expect(host.ipv6.assignments.count <= 16 && host.ipv6.routers.count <= 8 && host.ipv6.prefixes.count <= 16)
  }

  @Test func echoesAndRefusalsComeBack() throws {
    let simulation = simulation(5)
    guard let address = simulation.hosts[1].version6Addresses.first else { return }
    #expect(simulation.hosts[0].sendEcho(to: .v6(address), identifier: 1, sequence: 2, simulation.now))
    var replies: [EchoReply] = []
    #expect(
      simulation.run(.seconds(2)) {
        replies += simulation.hosts[0].takeEchoReplies()
        return !replies.isEmpty
      })
    let client = try simulation.hosts[0].connect(to: Endpoint(.v6(address), 81), simulation.now)
    #expect(simulation.run(.seconds(5)) { (try? simulation.hosts[0].status(client).error) == .refused })
  }

  @Test func parsersTakeAnything() {
    var random = Seeded(21)
    let source = IPv6Address(high: 1, low: 2)
    for _ in 0..<10_000 * Extent.factor {
      var bytes = random.bytes(8 + random.below(100))
      bytes[0] = [133, 134, 135, 136, 128, 1, 2, UInt8(random.below(256))][random.below(8)]
      bytes[1] = 0
      bytes.set16(0, at: 2)
      let message = bytes
      bytes.set16(Checksum.transport(.v6(source), .v6(.allNodes), .icmpv6, message.span), at: 2)
      _ = try? ICMPv6Message(parsing: bytes.span, from: source, to: .allNodes)
      var offset = 0
      _ = try? DNSName(parsing: bytes.span, at: &offset)
      _ = try? DNSResponse(parsing: bytes.span)
      var lease = [UInt8](repeating: 0, count: 240) + bytes
      lease.replaceSubrange(0..<3, with: [2, 1, 6])
      lease.replaceSubrange(236..<240, with: [0x63, 0x82, 0x53, 0x63])
      _ = try? DHCPMessage(parsing: lease.span)
    }
  }
}
