// SPDX-License-Identifier: Apache-2.0
// Echo.swift: answers ARP, ICMP echo and UDP by itself, on the Runtime alone: there is no network stack.
//
// usage: echo [--poll | --handler] [--address 10.0.2.15] [--port 7] [--packets 1000]
//
// An answer is the question with the two ends swapped, which leaves all checksums as they are but ICMP's. With --poll
// the program looks for packets by itself; with --handler the kernel answers UDP by a program (apps/bpf/echo.c) while
// this one sleeps; otherwise it sleeps until a packet has arrived. It ends after so many packets of
// UDP and says how many it answered in a second.

import ApusABI
import ApusRuntime

/// What the program was asked for.
private struct Options {
  var polls = false
  var usesHandler = false
  var address: UInt32 = 0x0a00_020f
  var port: UInt16 = 7
  var packets: UInt64 = 0
  /// A word that means nothing.
  var unknown: [UInt8]?

  init(_ words: [[UInt8]]) {
    var index = 0
    func number(_ text: [UInt8]) -> UInt64? {
      var value: UInt64 = 0
      guard !text.isEmpty, text.count < 12 else { return nil }
      for digit in text {
        guard digit >= 48, digit <= 57 else { return nil }
        value = value * 10 + UInt64(digit - 48)
      }
      return value
    }
    while index < words.count, unknown == nil {
      let word = words[index]
      let next = index + 1 < words.count ? words[index + 1] : []
      index += 2
      if word == Array("--poll".utf8) {
        polls = true
        index -= 1
      } else if word == Array("--handler".utf8) {
        usesHandler = true
        index -= 1
      } else if word == Array("--port".utf8), let value = number(next), value >= 1, value <= 0xffff {
        port = UInt16(value)
      } else if word == Array("--packets".utf8), let value = number(next) {
        packets = value
      } else if word == Array("--address".utf8) {
        let parts = next.split(separator: 46, omittingEmptySubsequences: false).map { number(Array($0)) }
        var value: UInt32 = 0
        for part in parts {
          guard let part, part <= 255, parts.count == 4 else {
            unknown = next
            return
          }
          value = value << 8 | UInt32(part)
        }
        address = value
      } else {
        unknown = word
      }
    }
  }
}

/// Numbers in network order.
extension Bytes {
  fileprivate func number16(_ offset: Int) -> UInt16 { load(offset, as: UInt16.self).byteSwapped }
  fileprivate func number32(_ offset: Int) -> UInt32 { load(offset, as: UInt32.self).byteSwapped }
  fileprivate func setNumber16(_ offset: Int, _ value: UInt16) { store(value.byteSwapped, at: offset) }
  fileprivate func setNumber32(_ offset: Int, _ value: UInt32) { store(value.byteSwapped, at: offset) }

  fileprivate func setAddress(_ offset: Int, _ address: UInt64) {
    for index in 0..<6 { self[offset + index] = UInt8(truncatingIfNeeded: address >> UInt64(8 * index)) }
  }

  /// Swaps two fields of `count` bytes.
  fileprivate func swap(_ first: Int, _ second: Int, _ count: Int) {
    for index in 0..<count {
      let byte = self[first + index]
      self[first + index] = self[second + index]
      self[second + index] = byte
    }
  }
}

/// The ring, its filters, and what is on its way.
private final class Answerer {
  let options: Options
  let ring: PacketRing
  let arp: UInt32
  let icmp: UInt32
  let udp: UInt32
  /// Entries whose pages the card may still read.
  var held: [Int] = []
  private var answeredHere: UInt64 = 0
  /// The handler's memory: how many packets it has answered.
  private var memory: Page?
  var refused = 0

  /// How many packets of UDP have been answered.
  var answered: UInt64 { answeredHere + (memory.map { $0.bytes.loadShared(0) } ?? 0) }

  init?(_ options: Options) throws(SystemCallError) {
    guard let ring = PacketRing(entries: 64) else { return nil }
    self.options = options
    self.ring = ring
    let address = options.address
    arp = try ring.claim([PacketAtom(at: 12, width: 2, is: 0x0806), PacketAtom(at: 38, width: 4, is: address)])
    let internet = PacketAtom(at: 12, width: 2, is: 0x0800)
    icmp = try ring.claim([
      internet, PacketAtom(at: 23, width: 1, is: 1), PacketAtom(at: 30, width: 4, is: address),
    ])
    udp = try ring.claim([
      internet, PacketAtom(at: 23, width: 1, is: 17), PacketAtom(at: 30, width: 4, is: address),
      PacketAtom(shiftAt: 14, width: 1, mask: 0x0f, by: 2), PacketAtom(at: 16, width: 2, is: UInt32(options.port)),
    ])
  }

  /// Lets the kernel answer UDP.
  func useHandler(_ memory: Page, reply: Page) throws(Program.Refusal) {
    let program = try Program(
      Bytes.application(at: echo_program(), count: Int(echo_program_size())), for: .packetHandler)
    try program.bind(to: udp, memory: memory, reply: reply)
    self.memory = memory
  }

  /// Answers until enough has been answered.
  func run() -> UInt64 {
    var start: UInt64 = 0
    if memory != nil { start = waitForHandler() }
    while options.packets == 0 || answered < options.packets {
      while let packet = ring.received, let header = ring.nextHeader, held.count < 32 {
        if start == 0 { start = Clock.monotonicNanoseconds }
        answer(packet, header)
      }
      refused += ring.flush()
      settle()
      if !options.polls, options.packets == 0 || answered < options.packets { wait() }
    }
    while ring.transmitted != ring.sent { ring.flush() }
    return Clock.monotonicNanoseconds - start
  }

  /// Sleeps until a packet arrives, until what is held may have left, or until the handler may have answered enough.
  private func wait() {
    let isWoken = held.isEmpty && (memory == nil || options.packets == 0)
    ring.wait(deadline: isWoken ? UInt64.max : Clock.ticks(afterNanoseconds: 1_000_000))
  }

  /// Answers what is not the handler's until that has answered first.
  private func waitForHandler() -> UInt64 {
    while answered == 0 {
      while let packet = ring.received, let header = ring.nextHeader { answer(packet, header) }
      refused += ring.flush()
      settle()
      ring.wait(deadline: Clock.ticks(afterNanoseconds: 1_000_000))
    }
    return Clock.monotonicNanoseconds
  }

  /// When all that was sent has left, its pages can be filled again.
  private func settle() {
    guard !held.isEmpty, ring.transmitted == ring.sent else { return }
    for entry in held { ring.release(entry) }
    held.removeAll(keepingCapacity: true)
  }

  private func answer(_ packet: Bytes, _ header: Bytes) {
    let page = ring.receivedPage
    let entry = ring.take()
    let count = min(packet.count, PacketRing.headerLimit)
    header.copy(packet.part(0, count))
    guard let filter = swapEnds(header.part(0, count), packet.count) else {
      ring.release(entry)
      return
    }
    let rest = packet.count - count
    ring.queue(headerCount: count, filter: filter, page: page, offset: count, count: rest)
    if rest > 0 { held.append(entry) } else { ring.release(entry) }
    if filter == udp { answeredHere += 1 }
  }

  /// Makes an answer of a question.
  ///
  /// - Returns: The filter that it mirrors; nil if there is no answer to this packet.
  private func swapEnds(_ header: Bytes, _ count: Int) -> UInt32? {
    guard header.count >= 42 else { return nil }
    header.swap(0, 6, 6)
    header.setAddress(6, NetworkCard.address)
    if header.number16(12) == 0x0806 {
      guard header.number16(20) == 1 else { return nil }  // a request
      header.setNumber16(20, 2)
      header.swap(22, 32, 10)
      header.setAddress(22, NetworkCard.address)
      return arp
    }
    let length = Int(header[14] & 15) * 4
    guard header[14] >> 4 == 4, length >= 20, 14 + length + 8 <= header.count,
      header.number16(20) & 0x3fff == 0
    else { return nil }  // not whole, or a fragment
    header.swap(26, 30, 4)
    if header[23] == 1 {
      guard header[14 + length] == 8 else { return nil }  // an echo request
      header[14 + length] = 0
      // RFC 1624: the sum's complement grows by what the sum lost.
      let sum = UInt32(header.number16(16 + length)) + 0x0800
      header.setNumber16(16 + length, UInt16(truncatingIfNeeded: sum + sum >> 16))
      return icmp
    }
    header.swap(14 + length, 16 + length, 2)
    return udp
  }
}

private func write(_ stream: ConsoleStream, _ text: String) {
  var line = Array(text.utf8) + [10]
  while Bytes.withArray(&line, { Console.write(stream, $0) }) == 0 {}
}

private func exit(_ status: UInt8) -> Never {
  var record: [UInt8] = [status, 0, 0, 0]
  while Bytes.withArray(&record, { Console.write(.exit, $0) }) == 0 {}
  Console.powerOff(status: Int(status))
}

// MARK: The Runtime's side of a LibOS: the addresses that the entries pass are not used here

@c @used func linux_start(_ image: UInt64, _ size: UInt64) -> Never {
  let options = Options(StartArguments.words())
  if let unknown = options.unknown {
    write(.error, "echo: what is '" + String(decoding: unknown, as: UTF8.self) + "'?")
    exit(2)
  }
  guard NetworkCard.isThere else {
    write(.error, "echo: the machine has no network card: apus run --net user or --net tap:NAME")
    exit(1)
  }
  do throws(SystemCallError) {
    guard let answerer = try Answerer(options) else {
      write(.error, "echo: there is no memory or no ring for packets left")
      exit(1)
    }
    if options.usesHandler, let memory = Page.allocate(zeroed: true), let reply = Page.allocate(zeroed: true) {
      do throws(Program.Refusal) { try answerer.useHandler(memory, reply: reply) } catch {
        write(
          .error,
          "echo: the handler was refused, error \(error.error.rawValue), rule \(error.reason), slot \(error.slot)")
        exit(1)
      }
    }
    write(.output, options.polls ? "echo polls" : options.usesHandler ? "echo sleeps" : "echo waits")
    let nanoseconds = answerer.run()
    let rate = answerer.answered * 1_000_000_000 / max(nanoseconds, 1)
    let losses = "\(answerer.ring.overruns) lost, \(answerer.refused) refused"
    write(.output, "\(answerer.answered) packets answered, \(rate) a second; " + losses)
    exit(answerer.refused == 0 ? 0 : 1)
  } catch {
    write(.error, "echo: a packet filter was refused, error \(error.rawValue)")
    exit(1)
  }
}

@c @used func linux_system_call(_ registers: UInt64) {}
@c @used func linux_fault(_ registers: UInt64, _ vector: UInt64, _ error: UInt64, _ address: UInt64) {}
@c @used func linux_attention(_ registers: UInt64) {}
