// SPDX-License-Identifier: Apache-2.0
// StreamTests.swift: whatever the link does, the bytes come out as they went in; over many seeds.

import Testing

@testable import ApusNet

/// One side of an exchange: sends its bytes in pieces of random sizes, reads the other's.
private struct Side {
  let handle: TCPHandle
  let stack: NetworkStack
  let outgoing: [UInt8]
  /// Memory with all of the bytes, of which some are sent without being copied.
  var source: TestSource?
  var written = 0
  var incoming: [UInt8] = []
  var isFinished = false
  var isAtEnd = false
  var failure: TCPError?

  mutating func act(_ random: inout Seeded, _ now: Instant) {
    do throws(TCPError) {
      if written < outgoing.count {
        let piece = min(outgoing.count - written, 1 + random.below(5000))
        if let source, random.percent(50) {
          written += try stack.write(handle, from: source, written, piece)
        } else {
          written += try stack.write(handle, outgoing.span.extracting(written..<written + piece))
        }
      } else if !isFinished {
        stack.finish(handle, now)
        isFinished = true
      }
      if !isAtEnd, !random.percent(20) {
        if try stack.read(handle, 1 + random.below(8000), into: &incoming) == nil { isAtEnd = true }
      }
    } catch { failure = error }
  }

  var isDone: Bool { failure != nil || isFinished && isAtEnd }
}

@Suite struct StreamTests {
  /// A configuration out of all that can be agreed on.
  private func configuration(_ random: inout Seeded) -> TCPConfiguration {
    var tcp = TCPConfiguration()
    tcp.usesTimestamps = random.percent(60)
    tcp.usesSelectiveAcknowledgement = random.percent(60)
    tcp.usesWindowScaling = random.percent(60)
    tcp.sendsAtOnce = random.percent(30)
    tcp.sendBuffer = 1 << (10 + random.below(9))
    tcp.receiveBuffer = 1000 + random.below(1 << (10 + random.below(9)))
    tcp.acknowledgementDelay = random.percent(20) ? .zero : .milliseconds(40)
    tcp.timeWait = .seconds(10)
    tcp.retries = 100
    tcp.synchronizeRetries = 100
    tcp.maximumTimeout = .seconds(8)
    if random.percent(50) { tcp.makeController = { NewReno() } }
    return tcp
  }

  private func exchange(_ seed: Int) throws {
    var random = Seeded(seed &* 7919)
    var impairment = Impairment()
    if seed % 8 != 0 {
      impairment.loss = random.below(31)
      impairment.duplication = random.below(20)
      impairment.reordering = random.below(50)
      impairment.corruption = random.below(10)
    }
    impairment.delay = .microseconds(Int64(random.below(50_000)))
    let packets = [random.percent(50) ? 1500 : 600 + random.below(900), 1500]
    let simulation = Simulation(seed: seed, impairment) { $1.maximumPacket = packets[$0] }
    let tcp = [configuration(&random), configuration(&random)]
    let (client, server) = try simulation.connect(tcp)
    let sizes = [random.below(40_000), random.below(40_000)]
    var sides = [
      Side(handle: client, stack: simulation.hosts[0], outgoing: random.bytes(sizes[0])),
      Side(handle: server, stack: simulation.hosts[1], outgoing: random.bytes(sizes[1])),
    ]
    for index in 0..<2 where random.percent(60) {
      let page = random.percent(50) ? 4096 : 1 + random.below(2000)
      let source = TestSource(sides[index].outgoing, number: 0, page: page)
      sides[index].source = source
      guard random.percent(70) else { continue }
      simulation.gather(index, capacity: 1 + random.below(100))
      simulation.links[index]?.sources = [source]
    }
    let isDone = simulation.run(.seconds(100_000)) {
      for index in 0..<2 { sides[index].act(&random, simulation.now) }
      return sides[0].isDone && sides[1].isDone
    }
    #expect(isDone, "seed \(seed): the exchange does not end")
    #expect(sides[0].failure == nil && sides[1].failure == nil, "seed \(seed): \(sides.map(\.failure))")
    let fromServer = sides[0].incoming == sides[1].outgoing
    let fromClient = sides[1].incoming == sides[0].outgoing
    #expect(fromServer, "seed \(seed): the server's bytes are not those it sent")
    #expect(fromClient, "seed \(seed): the client's bytes are not those it sent")
    for index in 0..<2 { simulation.hosts[index].release(sides[index].handle, simulation.now) }
    let isEmpty = simulation.run(.seconds(5000)) { simulation.hosts.allSatisfy { $0.connectionCount == 0 } }
    #expect(isEmpty, "seed \(seed): connections are left over")
    #expect(simulation.hosts.allSatisfy { $0.bufferedBytes == 0 }, "seed \(seed): memory is left over")
  }

  @Test func streamsAreWholeOverManySeeds() throws {
    for seed in Extent.seeds(300 * (Extent.factor > 1 ? 34 : 1)) { try exchange(seed) }
  }
}
