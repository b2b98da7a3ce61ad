// SPDX-License-Identifier: Apache-2.0
// CachePolicy.swift: which blocks a cache keeps, how far it reads ahead, when it writes back: the application's choice.

/// What a cached block holds, as far as a policy may care.
public enum BlockUse: UInt8, Sendable {
  /// A file's contents.
  case data
  /// Directories, inodes, maps.
  case metadata
}

/// Decides about a cache; blocks are known to it by their slot.
public protocol CachePolicy: AnyObject {
  /// How many blocks the cache should hold; blocks that may not leave yet can make it more.
  var capacity: Int { get }
  /// How many blocks beyond a sequential reader are fetched; 0: none.
  var readAheadCount: Int { get }
  /// How many changed blocks may gather before the file system writes them by itself.
  var changedLimit: Int { get }
  /// A block came in.
  func entered(_ slot: Int, _ use: BlockUse)
  /// A block was used again.
  func used(_ slot: Int)
  /// A block is gone.
  func left(_ slot: Int)
  /// The slot whose block should leave.
  ///
  /// - Parameter mayLeave: Tells of a slot whether its block may; nothing else may be answered.
  /// - Returns: nil if none may.
  func victim(_ mayLeave: (Int) -> Bool) -> Int?
}

/// Lets the block leave that was not used for the longest time.
public final class LeastRecentlyUsed: CachePolicy {
  private struct Link {
    var newer: Int32 = -1
    var older: Int32 = -1
    var isLinked = false
  }

  /// How many blocks to hold.
  public let capacity: Int
  /// How many blocks to fetch beyond a sequential reader.
  public let readAheadCount: Int
  /// How many changed blocks may gather.
  public let changedLimit: Int
  private var links: [Link] = []
  private var newest: Int32 = -1
  private var oldest: Int32 = -1

  /// Makes a policy.
  ///
  /// - Parameters:
  ///   - capacity: How many blocks to hold.
  ///   - readAhead: How many blocks to fetch beyond a sequential reader.
  ///   - changedLimit: How many changed blocks may gather; nil: half of the capacity.
  public init(capacity: Int, readAhead: Int = 16, changedLimit: Int? = nil) {
    self.capacity = max(8, capacity)
    readAheadCount = readAhead
    self.changedLimit = changedLimit ?? max(4, capacity / 2)
  }

  private func unlink(_ slot: Int) {
    let link = links[slot]
    if link.newer >= 0 { links[Int(link.newer)].older = link.older } else { newest = link.older }
    if link.older >= 0 { links[Int(link.older)].newer = link.newer } else { oldest = link.newer }
    links[slot] = Link()
  }

  private func linkNewest(_ slot: Int) {
    links[slot] = Link(newer: -1, older: newest, isLinked: true)
    if newest >= 0 { links[Int(newest)].newer = Int32(slot) } else { oldest = Int32(slot) }
    newest = Int32(slot)
  }

  /// Puts a block at the new end.
  public func entered(_ slot: Int, _ use: BlockUse) {
    while links.count <= slot { links.append(Link()) }
    linkNewest(slot)
  }

  /// Puts a block at the new end again.
  public func used(_ slot: Int) {
    if newest == Int32(slot) { return }
    unlink(slot)
    linkNewest(slot)
  }

  /// Forgets a block.
  public func left(_ slot: Int) { unlink(slot) }

  /// The oldest block that may leave.
  public func victim(_ mayLeave: (Int) -> Bool) -> Int? {
    var slot = oldest
    while slot >= 0 {
      if mayLeave(Int(slot)) { return Int(slot) }
      slot = links[Int(slot)].newer
    }
    return nil
  }
}
