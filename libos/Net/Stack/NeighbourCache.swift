// SPDX-License-Identifier: Apache-2.0
// NeighbourCache.swift: which Ethernet address has which neighbour, for ARP and neighbour discovery alike.

/// A question to send to a neighbour.
struct NeighbourQuestion: Equatable {
  var address: IPAddress
  /// To whom; everybody, if nobody is known yet.
  var hardware: MACAddress?
}

/// A bounded cache of neighbours.
///
/// An entry is asked for, used, and after a while confirmed again (RFC 4861, 7.3, made simpler: an entry
/// that is used after its time is asked for at once, and stays in use meanwhile).
struct NeighbourCache {
  private struct Entry {
    var address: IPAddress
    var hardware: MACAddress?
    /// Until when it needs no confirmation.
    var freshUntil = Instant.zero
    var askAt: Instant?
    var asked = 0
    var lastUsed: Instant
    /// Frames that wait for the answer, their first six bytes to be filled in.
    var waiting: [[UInt8]] = []
  }

  private var entries: [Entry] = []
  private let capacity: Int
  private var lastFound = 0
  private static let freshness = TimeSpan.seconds(30)
  private static let pause = TimeSpan.seconds(1)
  private static let tries = 3
  private static let waitingFrames = 8
  /// Frames dropped since nobody answered, or too many waited.
  private(set) var dropped = 0

  init(capacity: Int) { self.capacity = capacity }

  var count: Int { entries.count }

  private mutating func index(of address: IPAddress) -> Int? {
    if lastFound < entries.count, entries[lastFound].address == address { return lastFound }
    guard let index = entries.firstIndex(where: { $0.address == address }) else { return nil }
    lastFound = index
    return index
  }

  /// The Ethernet address of a neighbour.
  ///
  /// - Returns: The address if it is known, and a question if one has to be asked now.
  mutating func look(up address: IPAddress, _ now: Instant) -> (hardware: MACAddress?, question: NeighbourQuestion?) {
    guard let index = index(of: address) else {
      makeRoom()
      entries.append(
        Entry(address: address, askAt: now + Self.pause, asked: 1, lastUsed: now))
      return (nil, NeighbourQuestion(address: address))
    }
    entries[index].lastUsed = now
    guard let hardware = entries[index].hardware else { return (nil, nil) }
    guard now >= entries[index].freshUntil, entries[index].askAt == nil else { return (hardware, nil) }
    entries[index].askAt = now + Self.pause
    entries[index].asked = 1
    return (hardware, NeighbourQuestion(address: address, hardware: hardware))
  }

  /// The Ethernet address of a neighbour of which nothing has to be asked.
  mutating func known(_ address: IPAddress, _ now: Instant) -> MACAddress? {
    guard let index = index(of: address), now < entries[index].freshUntil || entries[index].askAt != nil else {
      return nil
    }
    entries[index].lastUsed = now
    return entries[index].hardware
  }

  /// Keeps a frame until its neighbour has answered.
  mutating func keep(_ frame: [UInt8], for address: IPAddress) {
    guard let index = index(of: address), entries[index].hardware == nil else { return }
    if entries[index].waiting.count >= Self.waitingFrames {
      entries[index].waiting.removeFirst()
      dropped += 1
    }
    entries[index].waiting.append(frame)
  }

  /// Takes over what a neighbour said, and returns the frames that waited for it.
  ///
  /// Only one that answers a question of ours, or asks for us, becomes known by it.
  mutating func learn(_ address: IPAddress, _ hardware: MACAddress, isAnswer: Bool, _ now: Instant) -> [[UInt8]] {
    guard !hardware.isMulticast, hardware.bits != 0 else { return [] }
    guard let index = index(of: address) else {
      guard isAnswer else { return [] }
      makeRoom()
      entries.append(Entry(address: address, hardware: hardware, freshUntil: now + Self.freshness, lastUsed: now))
      return []
    }
    let waiting = entries[index].waiting
    entries[index].waiting = []
    entries[index].hardware = hardware
    entries[index].freshUntil = now + Self.freshness
    entries[index].askAt = nil
    entries[index].asked = 0
    return waiting
  }

  /// When `expire` has something to do.
  var deadline: Instant? {
    var first: Instant?
    for entry in entries { first = earlier(first, entry.askAt) }
    return first
  }

  /// Questions to ask again; a neighbour that did not answer three is forgotten, with what waited for it.
  mutating func expire(_ now: Instant) -> [NeighbourQuestion] {
    var questions: [NeighbourQuestion] = []
    var index = 0
    while index < entries.count {
      guard let due = entries[index].askAt, due <= now else {
        index += 1
        continue
      }
      if entries[index].asked >= Self.tries {
        dropped += entries[index].waiting.count
        entries.remove(at: index)
        continue
      }
      entries[index].asked += 1
      entries[index].askAt = now + Self.pause
      questions.append(NeighbourQuestion(address: entries[index].address, hardware: entries[index].hardware))
      index += 1
    }
    return questions
  }

  /// Forgets the entry that was not used for the longest time.
  private mutating func makeRoom() {
    guard entries.count >= capacity else { return }
    var oldest = 0
    for index in entries.indices where entries[index].lastUsed < entries[oldest].lastUsed { oldest = index }
    dropped += entries[oldest].waiting.count
    entries.remove(at: oldest)
  }
}
