// SPDX-License-Identifier: Apache-2.0
// EventCounter.swift: a number that wakes its readers (eventfd(2)).

import ApusRuntime

/// An open event counter.
public final class EventCounter: OpenFile {
  private var value: UInt64
  private let isSemaphore: Bool
  private let queue = WaitQueue()

  private init(_ node: Inode, _ value: UInt64, isSemaphore: Bool, _ flags: OpenFlags) {
    self.value = value
    self.isSemaphore = isSemaphore
    super.init(node, flags)
  }

  /// A counter.
  public static func make(
    _ fileSystem: FileSystem, initial: UInt64, isSemaphore: Bool, _ flags: OpenFlags
  ) -> OpenFile {
    let node = Inode(fileSystem, FileMode(.regular, 0o600), owner: Credentials())
    node.linkCount = 1
    return EventCounter(node, initial, isSemaphore: isSemaphore, flags)
  }

  public override var waitQueue: WaitQueue { queue }

  public override func read(_ into: Bytes) throws(Errno) -> Int {
    guard into.count >= 8 else { throw .EINVAL }
    if value == 0 { throw .EAGAIN }
    into.store(isSemaphore ? 1 : value, at: 0)
    value = isSemaphore ? value - 1 : 0
    queue.wakeAll()
    return 8
  }

  public override func write(_ from: Bytes) throws(Errno) -> Int {
    guard from.count >= 8 else { throw .EINVAL }
    let added = from.load(0, as: UInt64.self)
    guard added != .max else { throw .EINVAL }
    // The greatest value is one less than the greatest number.
    if value > UInt64.max - 1 - added { throw .EAGAIN }
    value += added
    queue.wakeAll()
    return 8
  }

  public override func poll() -> PollEvents {
    var events = PollEvents.none
    if value > 0 { events = events.union(.readable) }
    if value < UInt64.max - 1 { events = events.union(.writable) }
    return events
  }

  public override func anonymousName() -> [UInt8] { Array("anon_inode:[eventfd]".utf8) }
}
