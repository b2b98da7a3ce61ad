// SPDX-License-Identifier: Apache-2.0
// PacketRing.swift: packets of the network card, as a LibOS sees them: a ring of its own pages that the kernel fills,
// filters that say with what, and sending.

import ApusABI
import CRuntime

/// The network card.
public enum NetworkCard {
  /// Whether the machine has one.
  public static var isThere: Bool { Information.page.packet_ring_count != 0 }
  /// Its Ethernet address, the first byte in the lowest bits.
  public static var address: UInt64 { Information.page.network_address }
}

/// Bits of a packet that have to have a value, or a move of the base that offsets count from.
public struct PacketAtom {
  let word: UInt64
  let value: UInt64

  /// The field of `width` bytes at `offset` from the base has to be `value` where `mask` has bits.
  public init(at offset: Int, width: Int, mask: UInt32? = nil, is value: UInt32) {
    let all: UInt32 = width >= 4 ? .max : 1 << (8 * UInt32(width)) - 1
    word = UInt64(offset) | UInt64(width) << 16 | UInt64(mask ?? all) << 32
    self.value = UInt64(value)
  }

  /// The masked field, shifted left by `count` bits, is added to the base.
  public init(shiftAt offset: Int, width: Int, mask: UInt32, by count: Int) {
    word = UInt64(offset) | UInt64(width) << 16 | (UInt64(APUS_ATOM_SHIFT) | UInt64(count)) << 24 | UInt64(mask) << 32
    value = 0
  }
}

/// A ring for packets, and packets to send.
public final class PacketRing {
  private let header: Page
  /// What the header and the list hold, where the LibOS sees it.
  private let headerBytes: Bytes
  private let listBytes: Bytes
  private let pages: [Page]
  /// Packets to send, as the kernel takes them, and their headers.
  private let list: Page
  private var queued = 0
  /// The first queued packet that has not been given to the card.
  private var first = 0
  private let name: UInt64
  /// The entry that the kernel fills next, as far as the ring has been read.
  private var next = 0
  /// Packets that have been given to the card.
  public private(set) var sent: UInt64 = 0

  /// The most packets that are queued.
  public static var queueLimit: Int { Int(APUS_TRANSMIT_PACKETS) }
  /// The most bytes of a packet's header.
  public static var headerLimit: Int { Int(APUS_TRANSMIT_HEADER) }

  /// Makes a ring with a page for each of so many packets, at most 256.
  ///
  /// - Returns: Nil if there is no card, no memory or no ring left.
  public init?(entries: Int) {
    guard entries >= 1, entries <= Int(APUS_PACKET_RING_ENTRIES), let header = Page.allocate(zeroed: true),
      let list = Page.allocate(zeroed: true)
    else { return nil }
    var pages: [Page] = []
    while pages.count < entries {
      guard let page = Page.allocate(zeroed: false) else { return nil }
      pages.append(page)
    }
    for index in 0..<entries { list.bytes.store(UInt64(pages[index].frame), at: index * 8) }
    do throws(SystemCallError) {
      name = try kernelCall(
        .packetRingCreate, CapabilitySlot.family, UInt64(header.frame), list.bytes.address, UInt64(entries))
    } catch { return nil }
    self.header = header
    headerBytes = header.bytes
    self.list = list
    listBytes = list.bytes
    self.pages = pages
  }

  /// From now on, packets for which all atoms hold come to this ring.
  ///
  /// - Parameter atoms: Between two shifts each sorts above the one before, by offset, then width, then mask.
  /// - Returns: The filter's number, by which packets are sent, too.
  /// - Throws: `overlap` if another account has a filter that takes such packets; `exhausted`, `invalid`.
  public func claim(_ atoms: [PacketAtom]) throws(SystemCallError) -> UInt32 {
    let place = listBytes.part(3072, 256)
    guard atoms.count <= 16 else { throw .invalid }
    for index in 0..<atoms.count {
      place.store(atoms[index].word, at: index * 16)
      place.store(atoms[index].value, at: index * 16 + 8)
    }
    return UInt32(
      truncatingIfNeeded: try kernelCall(
        .filterInsert, CapabilitySlot.family, name, place.address, UInt64(atoms.count)))
  }

  /// Ends a claim: such packets come no more, and none can be sent by it.
  ///
  /// - Parameter filter: The filter's number.
  public func unclaim(_ filter: UInt32) {
    _ = try? kernelCall(.filterRemove, CapabilitySlot.family, UInt64(filter))
  }

  // MARK: Receiving

  private func entry(_ index: Int) -> Int { 64 + index * 8 }
  /// The page of the packet that `received` shows.
  public var receivedPage: Page { pages[next] }

  /// The oldest packet that has arrived and has not been consumed.
  public var received: Bytes? {
    let flag = headerBytes.loadShared(entry(next))
    guard flag != 0 else { return nil }
    return pages[next].bytes.part(0, min(Int(truncatingIfNeeded: flag & 0xffff_ffff), 4096))
  }

  /// Goes on to the next packet; the entry stays the application's until it is released.
  ///
  /// - Returns: The entry, for `release`.
  public func take() -> Int {
    let taken = next
    next = next + 1 == pages.count ? 0 : next + 1
    return taken
  }

  /// Gives an entry back to the kernel: its page may be filled again.
  public func release(_ index: Int) { headerBytes.store(0 as UInt64, at: entry(index)) }

  /// Packets that found no free entry.
  public var overruns: UInt64 { headerBytes.loadShared(8) }
  /// Packets that the card is done with: what they were made of may change again.
  public var transmitted: UInt64 { headerBytes.loadShared(16) }

  /// The address of the word that counts packets: it differs from `arrivals` when another has arrived.
  public var arrivalWord: UInt64 { headerBytes.address }
  /// How many packets have arrived so far.
  public var arrivals: UInt64 { headerBytes.loadShared(0) }

  /// Gives up the CPU until a packet has arrived that `received` does not show yet, or a deadline in ticks.
  ///
  /// Packets that the card has no room for yet are tried again soon.
  public func wait(deadline: UInt64) {
    let seen = arrivals
    guard received == nil else { return }
    let soon = queued == 0 ? UInt64.max : Clock.ticks(afterNanoseconds: 100_000)
    FamilyScheduler.packets = arrivalWord
    runtime_suspend(arrivalWord, seen, min(deadline, soon), FamilyScheduler.handle)
    Execution.giveUpOwedSlice()
    Exclusive.awaitTurn()
  }

  // MARK: Sending

  /// Whether packets wait for room at the card.
  public var isBacklogged: Bool { queued > 0 }
  /// The number that the next packet to be queued gets: the card is done with it when `transmitted` is above.
  public var nextNumber: UInt64 { sent + UInt64(queued - first) }

  /// Whether another packet can be queued.
  public var hasRoom: Bool { queued < Self.queueLimit }

  /// Room for the header of the next packet to send; nil until the queue has been flushed.
  public var nextHeader: Bytes? {
    guard queued < Self.queueLimit else { return nil }
    return listBytes.part(1024 + queued * Self.headerLimit, Self.headerLimit)
  }

  /// Names a part of the next packet, behind its header and the parts before it.
  ///
  /// - Parameters:
  ///   - index: Which part, from 0 on; at most three.
  ///   - place: Frame number times 4,096 and where the part begins there.
  ///   - count: Its bytes, which stay as they are until the packet has been sent.
  @inline(__always) public func setPart(_ index: Int, place: UInt64, count: Int) {
    let part = listBytes.part(queued * 64 + 16 + index * 16, 16)
    part.store(place, at: 0)
    part.store(UInt64(count), at: 8)
  }

  /// Queues the packet whose header was written to `nextHeader`, and whose parts have been named.
  ///
  /// - Parameters:
  ///   - headerCount: Bytes of the header, at least 14.
  ///   - filter: The filter of this ring that the packet mirrors.
  ///   - parts: How many parts it has.
  public func queue(headerCount: Int, filter: UInt32, parts: Int) {
    guard let header = nextHeader else { return }
    let place = listBytes.part(queued * 64, 64)
    place.store(header.address, at: 0)
    place.store(UInt16(headerCount), at: 8)
    place.store(UInt16(parts), at: 10)
    place.store(filter, at: 12)
    queued += 1
  }

  /// Queues the packet whose header was written to `nextHeader`.
  ///
  /// - Parameters:
  ///   - headerCount: Bytes of the header, at least 14.
  ///   - filter: The filter of this ring that the packet mirrors.
  ///   - page: A page of the family's with the rest of the packet, which stays as it is until it has been sent.
  ///   - offset: Where the rest begins there.
  ///   - count: Bytes of it; 0: there is none.
  public func queue(headerCount: Int, filter: UInt32, page: Page? = nil, offset: Int = 0, count: Int = 0) {
    guard queued < Self.queueLimit else { return }
    var parts = 0
    if let page, count > 0 {
      setPart(0, place: UInt64(page.frame) << 12 | UInt64(offset), count: count)
      parts = 1
    }
    queue(headerCount: headerCount, filter: filter, parts: parts)
  }

  /// Sends what is queued, as far as the card has room, and takes in what has arrived.
  ///
  /// What the card has no room for stays queued.
  ///
  /// - Returns: How many packets were refused; they are gone.
  @discardableResult public func flush() -> Int {
    var refused = 0
    repeat {
      let place = listBytes.address + UInt64(first * 64)
      do throws(SystemCallError) {
        let accepted = try kernelCall(.transmit, CapabilitySlot.family, name, place, UInt64(queued - first))
        sent += accepted
        first += Int(accepted)
        // What stopped it is either the card, or a packet that is refused when it is the first.
        if accepted == 0 { break }
      } catch {
        guard first < queued else { break }
        refused += 1
        first += 1
      }
    } while first < queued
    if first == queued {
      first = 0
      queued = 0
    }
    return refused
  }
}

extension Bytes {
  /// A word that somebody else changes.
  public func loadShared(_ offset: Int) -> UInt64 { runtime_load_shared(address + UInt64(offset)) }
}
