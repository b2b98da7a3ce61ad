// SPDX-License-Identifier: Apache-2.0
// ServiceTests.swift: addresses from a DHCP server, names from a DNS server, both played by the other host.

import Testing

@testable import ApusNet

/// A DHCP server with one address to lend.
private final class Lender {
  let stack: NetworkStack
  let socket: UDPHandle
  var seen: [DHCPKind] = []
  var isSilent = false
  var refuses = false
  var seconds: UInt32 = 1000

  init(_ stack: NetworkStack) throws {
    self.stack = stack
    socket = try stack.openUDP(port: 67)
  }

  func act(_ now: Instant) throws {
    while let datagram = stack.receive(socket) {
      let message = try DHCPMessage(parsing: datagram.bytes.span)
      seen.append(message.kind)
      if isSilent { continue }
      var answer = DHCPMessage(
        message.kind == .discover ? .offer : refuses ? .refuse : .acknowledge, transaction: message.transaction,
        hardware: message.hardware)
      answer.isReply = true
      answer.yourAddress = IPv4Address(10, 0, 0, 50)
      answer.server = Simulation.addresses[1]
      answer.mask = IPv4Address(255, 255, 0, 0)
      answer.router = IPv4Address(10, 0, 0, 2)
      answer.nameServers = [Simulation.addresses[1]]
      answer.leaseSeconds = seconds
      var bytes: [UInt8] = []
      answer.append(to: &bytes)
      let target = message.clientAddress == .any ? IPv4Address.broadcast : message.clientAddress
      try stack.send(bytes.span, by: socket, to: Endpoint(.v4(target), 68), now)
    }
  }
}

@Suite struct ServiceTests {
  /// Runs clients and servers with the hosts.
  private func run(
    _ simulation: Simulation, _ time: TimeSpan, _ act: () throws -> Instant?, until condition: () -> Bool
  ) rethrows -> Bool {
    let end = simulation.now + time
    while simulation.now < end {
      let due = try act()
      if condition() { return true }
      // A client's deadline counts as an event, too.
      if !simulation.step(until: min(end, due ?? end)) {
        simulation.now = max(simulation.now, min(end, due ?? simulation.now + .seconds(1)))
      }
    }
    return condition()
  }

  @Test(arguments: [0, 30]) func addressesAreLentRenewedAndLost(_ loss: Int) throws {
    let simulation = Simulation(seed: 1 + loss, Impairment(loss: loss))
    let host = simulation.hosts[0]
    host.configure(nil)
    let lender = try Lender(simulation.hosts[1])
    let client = try DHCPClient(host, simulation.now)
    func act() throws -> Instant? {
      client.poll(simulation.now)
      try lender.act(simulation.now)
      return client.deadline
    }
    #expect(try run(simulation, .seconds(300), act) { client.lease != nil })
    #expect(
      host.ipv4 == IPv4Configuration(IPv4Address(10, 0, 0, 50), prefixLength: 16, router: Simulation.addresses[1]))
    #expect(client.lease?.nameServers == [Simulation.addresses[1]])
    let first = client.lease?.expires ?? .zero
    #expect(try run(simulation, .seconds(900), act) { (client.lease?.expires ?? .zero) > first })
    // Nobody answers any more: the lease ends, and with it the address.
    lender.isSilent = true
    #expect(try run(simulation, .seconds(2000), act) { client.lease == nil })
    #expect(host.ipv4 == nil)
    lender.isSilent = false
    #expect(try run(simulation, .seconds(300), act) { client.lease != nil })
    // A server may take it back when asked to renew.
    lender.refuses = true
    #expect(try run(simulation, .seconds(2000), act) { client.lease == nil })
  }

  @Test func aLeaseMayBeForEver() throws {
    let simulation = Simulation(seed: 4)
    simulation.hosts[0].configure(nil)
    let lender = try Lender(simulation.hosts[1])
    lender.seconds = .max
    let client = try DHCPClient(simulation.hosts[0], simulation.now)
    func act() throws -> Instant? {
      client.poll(simulation.now)
      try lender.act(simulation.now)
      return client.deadline
    }
    #expect(try run(simulation, .seconds(60), act) { client.lease != nil })
    #expect((client.lease?.expires ?? .zero) - simulation.now > .seconds(300_000_000))
  }

  @Test func answersToOthersAreNotOurs() throws {
    let simulation = Simulation(seed: 5)
    simulation.hosts[0].configure(nil)
    let client = try DHCPClient(simulation.hosts[0], simulation.now)
    let socket = try simulation.hosts[1].openUDP(port: 67)
    for transaction in 0..<50 as Range<UInt32> {
      var offer = DHCPMessage(.acknowledge, transaction: transaction, hardware: MACAddress(0x0200_0000_0001))
      offer.isReply = true
      offer.yourAddress = IPv4Address(1, 2, 3, 4)
      offer.server = Simulation.addresses[1]
      offer.leaseSeconds = 100
      var bytes: [UInt8] = []
      offer.append(to: &bytes)
      try simulation.hosts[1].send(
        bytes.span, by: socket, to: Endpoint(.v4(.broadcast), 68), simulation.now)
    }
    simulation.pass(.seconds(1))
    client.poll(simulation.now)
    #expect(client.lease == nil)
  }

  private func ascii(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test func namesAreAskedForAndRemembered() throws {
    let simulation = Simulation(seed: 6, Impairment(loss: 20))
    let server = simulation.hosts[1]
    let socket = try server.openUDP(port: 53)
    var asked: [String] = []
    let client = DNSClient(
      simulation.hosts[0], servers: [.v4(Simulation.addresses[1])],
      domains: [ascii("wrong.test"), ascii("example.test")])
    func act() throws -> Instant? {
      client.poll(simulation.now)
      while let datagram = server.receive(socket) {
        var offset = 12
        let name = try DNSName(parsing: datagram.bytes.span, at: &offset)
        asked.append(String(decoding: name.bytes, as: UTF8.self))
        var answer = datagram.bytes
        answer[2] = 0x81
        if asked.last == "host.example.test" {
          // An alias, by a pointer to the question, then its address.
          answer[7] = 2
          answer += [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, 0x78, 0xc0, 17]
          let alias = UInt8(answer.count - 4)
          answer += [0xc0, alias, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 9, 8, 7]
        } else {
          answer[3] = 3
        }
        try server.send(answer.span, by: socket, to: datagram.source, simulation.now)
      }
      return client.deadline
    }
    var answer = DNSAnswer.pending
    let isThere = try run(simulation, .seconds(60), act) {
      answer = client.lookUp(ascii("Host"), .ipv4, simulation.now)
      return answer != .pending
    }
    #expect(isThere)
    #expect(answer == .addresses([.v4(IPv4Address(10, 9, 8, 7))]))
    #expect(asked.contains("host.wrong.test") && asked.contains("host.example.test"))
    // Remembered for the shorter of both lifetimes.
    let count = asked.count
    simulation.now = simulation.now + .seconds(20)
    #expect(client.lookUp(ascii("host"), .ipv4, simulation.now) == answer)
    simulation.now = simulation.now + .seconds(20)
    #expect(client.lookUp(ascii("host"), .ipv4, simulation.now) == .pending)
    #expect(asked.count == count)
    _ = try run(simulation, .seconds(60), act) { client.lookUp(ascii("no.where"), .ipv4, simulation.now) != .pending }
    #expect(client.lookUp(ascii("no.where"), .ipv4, simulation.now) == .nothing)
    #expect(client.lookUp(ascii("not..a.name"), .ipv4, simulation.now) == .nothing)
    // Sockets are given back.
    _ = try run(simulation, .seconds(60), act) { simulation.hosts[0].datagramSockets.isEmpty }
    #expect(simulation.hosts[0].datagramSockets.isEmpty)
  }

  @Test func nobodyAnswersIsAFailure() throws {
    let simulation = Simulation(seed: 7)
    let client = DNSClient(simulation.hosts[0], servers: [.v4(Simulation.addresses[1])])
    func act() -> Instant? {
      client.poll(simulation.now)
      return client.deadline
    }
    let isOver = run(simulation, .seconds(60), act) { client.lookUp(ascii("a.b"), .ipv6, simulation.now) != .pending }
    #expect(isOver)
    #expect(client.lookUp(ascii("a.b"), .ipv6, simulation.now) == .failed)
    #expect(simulation.hosts[0].datagramSockets.isEmpty)
  }

  /// Names as they stand in messages, and what they are; nil for those that are none.
  static let names: [(String, String?)] = [
    ("0161 00", "a"), ("0141 0142 00", "a.b"), ("c000", nil), ("01", nil), ("0561", nil), ("4061", nil), ("00", ""),
    ("0161 c000", nil),
  ]

  @Test(arguments: names) func pointersEnd(_ row: (String, String?)) {
    var offset = 0
    let name = try? DNSName(parsing: hexadecimal(row.0).span, at: &offset)
    #expect(name.map { String(decoding: $0.bytes, as: UTF8.self) } == row.1)
  }
}
