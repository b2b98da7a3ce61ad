// SPDX-License-Identifier: Apache-2.0
// EventPoll.swift: watching many files at once (epoll(7)).

import ApusRuntime

/// An open event poll.
public final class EventPoll: OpenFile {
  /// One watched descriptor.
  final class Watch: Waiter {
    /// Closing either end of the watch breaks this circle.
    let poll: EventPoll
    let descriptor: Int
    let file: OpenFile
    var wanted: UInt32
    var data: UInt64
    /// Something has happened since the last report; edge-triggered watches report only then.
    var isFresh = true

    init(_ poll: EventPoll, _ descriptor: Int, _ file: OpenFile, _ wanted: UInt32, _ data: UInt64) {
      self.poll = poll
      self.descriptor = descriptor
      self.file = file
      self.wanted = wanted
      self.data = data
    }

    func wake() {
      isFresh = true
      poll.queue.wakeAll()
    }

    /// What is to be reported now.
    var events: UInt32 {
      if wanted & EventPoll.disabled != 0 { return 0 }
      if wanted & EventPoll.edgeTriggered != 0 && !isFresh { return 0 }
      // Errors and hang-ups are reported whether asked for or not.
      return UInt32(file.poll().rawValue) & (wanted | 0x18) & 0xffff
    }
  }

  private static var edgeTriggered: UInt32 { 1 << 31 }
  private static var oneShot: UInt32 { 1 << 30 }
  /// A one-shot watch that has reported; a bit that programs cannot set.
  private static var disabled: UInt32 { 1 << 16 }

  private var list: [Watch] = []
  /// Where the next report starts, so that busy files do not starve others.
  private var first = 0
  private let queue = WaitQueue()

  /// Makes a poll that watches nothing.
  public static func make(_ fileSystem: FileSystem) -> EventPoll {
    let node = Inode(fileSystem, FileMode(.regular, 0o600), owner: Credentials())
    node.linkCount = 1
    return EventPoll(node, .readWrite)
  }

  public override var asEventPoll: EventPoll? { self }
  public override var waitQueue: WaitQueue { queue }
  public override func anonymousName() -> [UInt8] { Array("anon_inode:[eventpoll]".utf8) }

  public override func poll() -> PollEvents {
    for watch in list where watch.events != 0 { return .readable }
    return .none
  }

  public override var readyDeadline: UInt64 {
    var deadline = UInt64.max
    for watch in list { deadline = min(deadline, watch.file.readyDeadline) }
    return deadline
  }

  public override func close() {
    while let watch = list.last { forget(watch) }
  }

  private func index(_ descriptor: Int, _ file: OpenFile) -> Int? {
    for index in list.indices where list[index].descriptor == descriptor && list[index].file === file { return index }
    return nil
  }

  /// Watches a descriptor (EPOLL_CTL_ADD).
  ///
  /// - Throws: `EEXIST` if it is watched, `EPERM` if such files are always ready, `EINVAL` for itself, `ELOOP`.
  public func add(_ descriptor: Int, _ file: OpenFile, wanted: UInt32, data: UInt64) throws(Errno) {
    guard file !== self else { throw .EINVAL }
    guard file.isPollable else { throw .EPERM }
    guard index(descriptor, file) == nil else { throw .EEXIST }
    if file.watches(self, depth: 0) { throw .ELOOP }
    let watch = Watch(self, descriptor, file, wanted & ~EventPoll.disabled, data)
    list.append(watch)
    file.watches.append(watch)
    file.waitQueue.add(watch)
    if file.writeQueue !== file.waitQueue { file.writeQueue.add(watch) }
    if watch.events != 0 { queue.wakeAll() }
  }

  /// Changes what a descriptor is watched for (EPOLL_CTL_MOD).
  ///
  /// - Throws: `ENOENT` if it is not watched.
  public func modify(_ descriptor: Int, _ file: OpenFile, wanted: UInt32, data: UInt64) throws(Errno) {
    guard let index = index(descriptor, file) else { throw .ENOENT }
    list[index].wanted = wanted & ~EventPoll.disabled
    list[index].data = data
    list[index].wake()
  }

  /// Watches a descriptor no more (EPOLL_CTL_DEL).
  ///
  /// - Throws: `ENOENT` if it is not watched.
  public func remove(_ descriptor: Int, _ file: OpenFile) throws(Errno) {
    guard let index = index(descriptor, file) else { throw .ENOENT }
    forget(list[index])
  }

  /// Drops a watch, when its file or this poll is closed.
  func forget(_ watch: Watch) {
    watch.file.waitQueue.remove(watch)
    if watch.file.writeQueue !== watch.file.waitQueue { watch.file.writeQueue.remove(watch) }
    for index in list.indices where list[index] === watch {
      list.remove(at: index)
      break
    }
    for index in watch.file.watches.indices where watch.file.watches[index] === watch {
      watch.file.watches.remove(at: index)
      break
    }
  }

  /// Writes what is ready into an array of `struct epoll_event` (12 bytes each on x86_64).
  ///
  /// - Returns: How many.
  public func report(into bytes: Bytes) -> Int {
    let limit = bytes.count / 12
    var count = 0
    var looked = 0
    let total = list.count
    if first >= total { first = 0 }
    while looked < total && count < limit {
      let watch = list[(first + looked) % total]
      looked += 1
      let events = watch.events
      if events == 0 { continue }
      bytes.store(events, at: count * 12)
      bytes.store(watch.data, at: count * 12 + 4)
      count += 1
      watch.isFresh = false
      if watch.wanted & EventPoll.oneShot != 0 { watch.wanted |= EventPoll.disabled }
    }
    if total > 0 { first = (first + looked) % total }
    return count
  }

  /// Whether this poll watches `other`, through others as well.
  fileprivate func reaches(_ other: EventPoll, depth: Int) -> Bool {
    for watch in list where watch.file === other || watch.file.watches(other, depth: depth + 1) { return true }
    return false
  }
}

extension OpenFile {
  /// Whether this is an event poll that watches `other`, so that watching it would go round in a circle.
  fileprivate func watches(_ other: EventPoll, depth: Int) -> Bool {
    guard depth < 5, let poll = asEventPoll else { return depth >= 5 }
    return poll.reaches(other, depth: depth)
  }
}
