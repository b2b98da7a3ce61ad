// SPDX-License-Identifier: Apache-2.0
// FilterTableTests.swift: the merged and compiled filters against each filter tried on its own.

import ApusPacketFilter
import CApusABI
import FilterHost
import Testing

/// What a filter says of a packet, by its definition.
func matches(_ atoms: [Atom], _ packet: [UInt8]) -> Bool {
  var base = 0
  for atom in atoms {
    let start = base + Int(atom.offset)
    guard start + Int(atom.width) <= packet.count else { return false }
    let number = packet[start..<(start + Int(atom.width))].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    if atom.isShift {
      base += Int(number & atom.mask) << Int(atom.kind & 3)
    } else if number & atom.mask != atom.value {
      return false
    }
  }
  return true
}

/// An Ethernet frame with an IPv4 packet in it.
func datagram(
  from source: UInt32 = 0x0a00_0001, to destination: UInt32 = 0x0a00_0002, transport: UInt8 = 17,
  ports: (UInt16, UInt16), optionWords: Int = 0
) -> [UInt8] {
  func bytes(_ number: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) } }
  let addresses = [UInt8](repeating: 0x22, count: 12)
  var packet = addresses + [8, 0, UInt8(0x45 + optionWords), 0, 0, 40, 0, 0, 0, 0, 64, transport, 0, 0]
  packet += bytes(source) + bytes(destination) + [UInt8](repeating: 1, count: 4 * optionWords)
  return packet + bytes(UInt32(ports.0) << 16 | UInt32(ports.1)) + [UInt8](repeating: 0, count: 12)
}

/// The filter of a UDP or TCP port, or of a connection.
func portFilter(transport: UInt8 = 17, port: UInt16, source: UInt32? = nil, sourcePort: UInt16? = nil) -> [Atom] {
  var atoms = [Atom(at: 12, width: 2, is: 0x0800), Atom(at: 23, width: 1, is: UInt32(transport))]
  if let source { atoms.append(Atom(at: 26, width: 4, is: source)) }
  atoms.append(Atom(shiftAt: 14, width: 1, mask: 0x0f, by: 2))
  if let sourcePort { atoms.append(Atom(at: 14, width: 2, is: UInt32(sourcePort))) }
  atoms.append(Atom(at: 16, width: 2, is: UInt32(port)))
  return atoms
}

struct FilterTableTests {
  private func table(_ filters: Int = 64, states: Int? = nil) throws -> FilterTable<HostFilterMemory> {
    FilterTable(memory: try #require(HostFilterMemory(filters: filters, states: states)))
  }

  @Test func emptyTakesNothing() throws {
    let table = try table()
    #expect(table.memory.match([]) == nil)
    #expect(table.memory.match(datagram(ports: (1, 2))) == nil)
  }

  @Test func portsFindTheirFilters() throws {
    var table = try table(1000, states: 2000)
    var numbers: [UInt16: UInt32] = [:]
    for port in UInt16(1)...700 {
      numbers[port] = try table.insert(portFilter(port: port), account: port) { _ in false }
    }
    for port in UInt16(1)...700 {
      #expect(table.memory.match(datagram(ports: (9, port))) == numbers[port])
      #expect(table.memory.match(datagram(ports: (9, port), optionWords: 3)) == numbers[port])
    }
    #expect(table.memory.match(datagram(ports: (9, 701))) == nil)
    #expect(table.memory.match(datagram(transport: 6, ports: (9, 7))) == nil)
    #expect(table.memory.match(Array(datagram(ports: (9, 7)).prefix(37))) == nil)
    for port in UInt16(1)...700 where port % 3 != 0 { table.remove(try #require(numbers[port])) }
    for port in UInt16(1)...700 {
      #expect(table.memory.match(datagram(ports: (9, port))) == (port % 3 == 0 ? numbers[port] : nil))
    }
  }

  @Test func theOneWithMoreAtomsWins() throws {
    for listenerFirst in [true, false] {
      var table = try table()
      let listener = portFilter(transport: 6, port: 80)
      let connection = portFilter(transport: 6, port: 80, source: 0x0a00_0009, sourcePort: 1234)
      let first = try table.insert(listenerFirst ? listener : connection, account: 1) { _ in false }
      let second = try table.insert(listenerFirst ? connection : listener, account: 1) { _ in false }
      let (wide, narrow) = listenerFirst ? (first, second) : (second, first)
      #expect(table.memory.match(datagram(from: 0x0a00_0009, transport: 6, ports: (1234, 80))) == narrow)
      #expect(table.memory.match(datagram(from: 0x0a00_0009, transport: 6, ports: (1235, 80))) == wide)
      #expect(table.memory.match(datagram(from: 0x0a00_0008, transport: 6, ports: (1234, 80), optionWords: 10)) == wide)
      table.remove(narrow)
      #expect(table.memory.match(datagram(from: 0x0a00_0009, transport: 6, ports: (1234, 80))) == wide)
    }
  }

  @Test func othersPacketsAreRefused() throws {
    var table = try table()
    let holder = try table.insert(portFilter(port: 53), account: 1) { _ in false }
    for atoms in [
      portFilter(port: 53), portFilter(port: 53, source: 7), [Atom(at: 23, width: 1, is: 17)],
      [Atom(at: 0, width: 1, is: 0x22)], [Atom(at: 36, width: 2, is: 53)],
      [Atom(at: 12, width: 1, is: 8)], [Atom(at: 12, width: 2, mask: 0x0f00, is: 0x0800)],
    ] {
      #expect(throws: FilterError.overlap(holder)) { try table.insert(atoms, account: 2) { _ in false } }
    }
    // What contradicts it somewhere is free, whatever it asks beside.
    for atoms in [
      portFilter(port: 54), [Atom(at: 12, width: 2, is: 0x0806)], [Atom(at: 12, width: 1, is: 9)],
      [Atom(at: 11, width: 4, mask: 0x00ff_0000, is: 0x0009_0000)] + [Atom(at: 20, width: 1, is: 1)],
    ] { _ = try table.insert(atoms, account: 2) { _ in false } }
    // With leave, what has all of its atoms and more; but the same filter never, nor one that is neither.
    _ = try table.insert(portFilter(port: 53, source: 7), account: 2) { $0 == 1 }
    #expect(throws: FilterError.overlap(holder)) { try table.insert(portFilter(port: 53), account: 2) { _ in true } }
    #expect(throws: FilterError.self) { try table.insert([Atom(at: 30, width: 4, is: 8)], account: 3) { _ in true } }
  }

  @Test func meaninglessAtomsAreNamed() throws {
    var table = try table()
    let good = Atom(at: 12, width: 2, is: 0x0800)
    let cases: [([Atom], Int)] = [
      ([], 0), ([good, Atom(at: 14, width: 3, is: 1)], 1), ([good, good], 1),
      ([good, Atom(at: 2, width: 1, is: 1)], 1),
      ([Atom(at: 12, width: 1, mask: 0x100, is: 0)], 0), ([Atom(at: 12, width: 1, mask: 0, is: 0)], 0),
      ([Atom(at: 12, width: 1, mask: 0x0f, is: 0x10)], 0), ([Atom(at: 0x7fff, width: 1, is: 1)], 0),
      ([Atom(shiftAt: 14, width: 4, mask: 0xffff_ffff, by: 3), good], 0),
      ([good, Atom(shiftAt: 14, width: 1, mask: 0x0f, by: 2)], 1),
      ((0..<17).map { Atom(at: $0, width: 1, is: 1) }, 0),
    ]
    for (atoms, index) in cases {
      #expect(throws: FilterError.invalid(atom: index)) { try table.insert(atoms, account: 1) { _ in false } }
    }
  }

  /// An owner cannot make others' packets dear, however its filters are arranged; taking them out gives all back.
  @Test func costIsBounded() throws {
    var table = try table(200, states: 1500)
    var inserted: [UInt32] = []
    var refused = false
    for index in 0..<100 {
      do { inserted.append(try table.insert(late(index), account: 1) { _ in false }) } catch {
        #expect(error == .costly)
        refused = true
        break
      }
    }
    #expect(refused && inserted.count == 7)
    for filter in inserted { table.remove(filter) }
    for _ in 0..<50 {
      let again = try (0..<7).map { try table.insert(late($0), account: 1) { _ in false } }
      for filter in again { table.remove(filter) }
    }
  }

  /// A filter that finds out late that it does not match.
  private func late(_ index: Int) -> [Atom] {
    (0..<8).map { Atom(at: UInt16($0 + index), width: 1, is: 1) } + [Atom(at: 200, width: 1, is: UInt32(index))]
  }

  @Test func aFullTableSaysSo() throws {
    var table = try table(4, states: 6)
    for port in UInt16(1)...2 { _ = try table.insert(portFilter(port: port), account: 1) { _ in false } }
    let before = (1...4).map { table.memory[filter: $0].state }
    #expect(throws: FilterError.exhausted) {
      try table.insert(portFilter(transport: 6, port: 3), account: 1) { _ in false }
    }
    #expect((1...4).map { table.memory[filter: $0].state } == before)
  }

  /// A filter over the first few bytes, which may mean nothing.
  private func randomAtoms(_ random: inout Generator) -> [Atom] {
    func key(_ atom: Atom) -> (UInt16, UInt8, UInt32) { (atom.offset, atom.width, atom.mask) }
    var atoms: [Atom] = []
    for _ in 0..<random.below(3) {
      var segment: [Atom] = []
      for _ in 0..<random.below(4) {
        let width = UInt8([1, 1, 2, 4][random.below(4)])
        let mask = random.below(3) == 0 ? UInt32(random.below(255) + 1) : nil
        let value = UInt32(random.below(3)) & (mask ?? .max)
        segment.append(Atom(at: UInt16(random.below(6)), width: width, mask: mask, is: value))
      }
      segment.sort { key($0) < key($1) }
      if !atoms.isEmpty || random.below(4) == 0 {
        let width = UInt8(1 + random.below(2))
        atoms.append(
          Atom(shiftAt: UInt16(random.below(3)), width: width, mask: 3, by: UInt8(random.below(2))))
      }
      for atom in segment where atoms.last.map({ $0.isShift || key($0) != key(atom) }) ?? true { atoms.append(atom) }
    }
    return atoms
  }

  /// Whether a filter asks what another one asks, of the same bytes, and maybe more.
  private func asksAll(of few: [Atom], _ many: [Atom]) -> Bool {
    func placed(_ atoms: [Atom]) -> [[Atom]] {
      atoms.indices.map { index in atoms[..<index].filter(\.isShift) + [atoms[index]] }
    }
    return placed(few).allSatisfy(placed(many).contains)
  }

  /// Random filters of a few owners come and go; after each change random packets go where each filter on its own says.
  @Test(arguments: 0..<100) func agreesWithEachFilterOnItsOwn(seed: Int) throws {
    var random = Generator(seed: UInt64(seed) &* 77 &+ 5)
    var table = try table(40, states: 200)
    var live: [UInt32: (atoms: [Atom], account: UInt16)] = [:]
    for _ in 0..<120 {
      if random.below(3) == 0, let victim = live.keys.sorted().randomElement(using: &random) {
        table.remove(victim)
        live[victim] = nil
      } else {
        let new = randomAtoms(&random)
        let account = UInt16(random.below(3))
        do {
          let filter = try table.insert(new, account: account) { $0 == 2 }
          #expect(live[filter] == nil)
          live[filter] = (new, account)
        } catch {}
      }
      let map = FilterMap(
        states: (0..<table.memory.stateCount).map { table.memory[state: $0] },
        fields: (0..<table.memory.fieldCount).map { table.memory[field: $0] },
        filters: (0..<table.memory.filterCount).map { table.memory[filter: $0] })
      for _ in 0..<30 {
        let packet = (0..<random.below(14)).map { _ in
          UInt8(random.below(8) == 0 ? random.below(256) : random.below(3))
        }
        let takers = live.filter { matches($0.value.atoms, packet) }
        let chosen = table.memory.match(packet)
        let seen = map.match(packet)
        #expect(seen.filter == Int(chosen ?? 0))
        #expect(map.lines(marking: seen) { "\($0)" }.filter { $0.hasPrefix("* ") }.count == max(seen.path.count, 1) - 1)
        guard let chosen else {
          #expect(takers.isEmpty)
          continue
        }
        let winner = try #require(takers[chosen])
        for (other, taker) in takers where other != chosen {
          // Nobody loses a packet to a stranger, but to one who asks more and had the leave.
          if taker.account != winner.account {
            #expect(asksAll(of: taker.atoms, winner.atoms) || winner.account == 2 || taker.account == 2)
          }
          #expect(!(asksAll(of: winner.atoms, taker.atoms) && taker.atoms.count > winner.atoms.count))
        }
      }
    }
    for filter in live.keys { table.remove(filter) }
    #expect(table.memory[state: 1].first_field == 0)
    #expect(table.memory.match([1, 2, 3]) == nil)
  }
}

/// Numbers that look random and are the same every time (splitmix64: Steele, Lea and Flood, OOPSLA 2014).
struct Generator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
}
