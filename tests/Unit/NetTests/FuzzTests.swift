// SPDX-License-Identifier: Apache-2.0
// FuzzTests.swift: random and mutated packets: nothing traps, nothing grows, and connections that are there live on.

import Testing

@testable import ApusNet

@Suite struct FuzzTests {
  /// Frames of a real exchange, to be mutated.
  private func recorded() throws -> [[UInt8]] {
    let simulation = Simulation(seed: 3, Impairment(loss: 10, reordering: 30))
    var frames: [[UInt8]] = []
    simulation.watch = { _, frame in
      frames.append(frame)
      return true
    }
    let (client, server) = try simulation.connect()
    let bytes = [UInt8](repeating: 7, count: 8000)
    _ = try simulation.hosts[0].write(client, bytes.span)
    _ = try simulation.hosts[1].write(server, bytes.span)
    let socket = try simulation.hosts[0].openUDP(port: 0)
    try simulation.hosts[0].send([1, 2, 3].span, by: socket, to: simulation.endpoint(1, 9), simulation.now)
    _ = simulation.hosts[0].sendEcho(to: simulation.endpoint(1, 0).address, identifier: 1, sequence: 1, simulation.now)
    simulation.pass(.seconds(5))
    simulation.hosts[0].finish(client, simulation.now)
    simulation.hosts[1].finish(server, simulation.now)
    simulation.pass(.seconds(5))
    return frames
  }

  /// Puts the checksums right that a mutation made wrong, so that what is behind them is reached.
  static func repair(_ frame: inout [UInt8]) {
    guard frame.count >= 34, frame[12] == 8, frame[13] == 0 else { return }
    let length = Int(frame[14] & 0xf) * 4
    let total = Int(frame[16]) << 8 | Int(frame[17])
    guard length >= 20, frame.count >= 14 + length, total >= length, frame.count >= 14 + total else { return }
    frame.set16(0, at: 24)
    let before = frame
    frame.set16(Checksum.of(before.span.extracting(14..<14 + length)), at: 24)
    let number = frame[23]
    let place = number == 6 ? 16 : number == 17 ? 6 : number == 1 ? 2 : -1
    let start = 14 + length
    guard place >= 0, total - length >= place + 2 else { return }
    frame.set16(0, at: start + place)
    let packet = frame
    let body = packet.span.extracting(start..<14 + total)
    let source = IPAddress.v4(IPv4Address(packet.span.big32(26)))
    let destination = IPAddress.v4(IPv4Address(packet.span.big32(30)))
    let sum =
      number == 1 ? Checksum.of(body) : Checksum.transport(source, destination, IPProtocol(rawValue: number), body)
    frame.set16(sum, at: start + place)
  }

  static func mutate(_ frame: [UInt8], _ random: inout Seeded) -> [UInt8] {
    var frame = frame
    for _ in 0..<1 + random.below(6) {
      switch random.below(5) {
      case 0 where !frame.isEmpty: frame[random.below(frame.count)] = UInt8(truncatingIfNeeded: random.next())
      case 1 where !frame.isEmpty: frame.removeLast(min(frame.count, random.below(20)))
      case 2: frame += random.bytes(random.below(20))
      case 3 where frame.count > 54: frame[14 + random.below(40)] ^= 1 << UInt8(random.below(8))
      default: if !frame.isEmpty { frame[random.below(frame.count)] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)] }
      }
    }
    if random.percent(80) { repair(&frame) }
    return frame
  }

  @Test func parsersTakeAnything() {
    var random = Seeded(11)
    for _ in 0..<20_000 * Extent.factor {
      let bytes = random.bytes(random.below(120))
      let span = bytes.span
      _ = try? EthernetHeader(parsing: span)
      _ = try? ARPPacket(parsing: span)
      if let header = try? IPv4Header(parsing: span) { #expect(header.payload.upperBound <= bytes.count) }
      if let header = try? IPv6Header(parsing: span) { #expect(header.payload.upperBound <= bytes.count) }
      _ = try? ICMPv4Message(parsing: span)
      _ = try? TCPOptions(parsing: span)
      if let header = try? TCPHeader(parsing: span) { #expect(header.headerLength <= bytes.count) }
      let any = IPAddress.v4(.any)
      if let header = try? UDPHeader(parsing: span, from: any, to: any) {
        #expect(header.payload.upperBound <= bytes.count)
      }
    }
  }

  @Test func noFrameTrapsAStackOrFillsIt() throws {
    let frames = try recorded()
    for seed in Extent.seeds(20 * Extent.factor) {
      var random = Seeded(seed)
      let simulation = Simulation(seed: 3) { $1.maximumConnections = 50 }
      let (client, server) = try simulation.connect()
      _ = try simulation.hosts[1].listen(port: 81, backlog: 5, halfOpenLimit: 5)
      for _ in 0..<500 {
        let host = simulation.hosts[random.below(2)]
        let frame = random.percent(5) ? random.bytes(random.below(200)) : frames[random.below(frames.count)]
        host.receive(Self.mutate(frame, &random).span, simulation.now)
        if random.percent(20) {
          simulation.now = simulation.now + .milliseconds(Int64(random.below(300)))
          for host in simulation.hosts {
            host.poll(simulation.now)
            while host.nextFrame() != nil {}
          }
        }
        var rest: [UInt8] = []
        _ = try? simulation.hosts[0].read(client, 100, into: &rest)
        _ = try? simulation.hosts[1].write(server, rest.span)
      }
      for host in simulation.hosts {
        #expect(host.connectionCount <= 50)
        #expect(host.bufferedBytes <= host.configuration.memoryLimit)
      }
    }
  }

  /// Segments with right checksums and random fields, straight at one connection.
  @Test func noSegmentTrapsAConnection() {
    for seed in Extent.seeds(300 * Extent.factor) {
      var random = Seeded(seed)
      let states: [TCPState] = [
        .synSent, .synReceived, .established, .finWait1, .finWait2, .closeWait, .closing, .lastAck, .timeWait,
      ]
      let script = Script.inState(states[random.below(states.count)])
      for _ in 0..<100 {
        let near = random.percent(80)
        let sequence = near ? random.below(12_000) - 1000 : Int(UInt32(truncatingIfNeeded: random.next()))
        let acknowledgement = near ? random.below(4000) - 1000 : Int(UInt32(truncatingIfNeeded: random.next()))
        script.gets("A \(sequence) \(acknowledgement) \(random.percent(50) ? 0 : random.below(3000))") {
          $0.flags = TCPFlags(rawValue: UInt8(random.below(64) & (random.percent(95) ? ~4 : ~0)))
          $0.window = UInt16(random.below(65_536))
          if random.percent(20) {
            $0.options.selective = SequenceBlocks(
              (0..<1 + random.below(4)).map { _ in
                SequenceRange(Script.ours + random.below(6000), Script.ours + random.below(6000))
              })
          }
        }
        if random.percent(30) { script.write(random.below(3000)) }
        if random.percent(30) { _ = script.read(random.below(3000)) }
        if random.percent(30) { script.pass(.milliseconds(Int64(random.below(3000)))) }
        if random.percent(3) { script.connection.finish(script.now) }
        #expect(script.segments.count < 1000, "seed \(seed): it sends without end")
        #expect(script.connection.inFlight >= 0 && script.connection.pipe >= 0)
        #expect(script.connection.readable <= 10_001)
      }
      #expect(script.budget.used <= 1 << 17)
    }
  }
}
