// SPDX-License-Identifier: Apache-2.0
// EventTests.swift: event polls, event counters and timers (epoll(7), eventfd(2), timerfd_create(2)).

import ApusRuntime
import Testing

@testable import ApusUnix

@Suite struct EventTests {
  private let tree = Tree()

  private struct Report: Equatable {
    let events: UInt32
    let data: UInt64
  }

  private func report(_ poll: EventPoll, limit: Int = 8) -> [Report] {
    var buffer = [UInt8](repeating: 0, count: limit * 12)
    return Bytes.withArray(&buffer) { bytes in
      (0..<poll.report(into: bytes)).map {
        Report(events: bytes.load($0 * 12, as: UInt32.self), data: bytes.load($0 * 12 + 4, as: UInt64.self))
      }
    }
  }

  private func pipe() -> (reader: OpenFile, writer: OpenFile) {
    let pair = PipeNode.makePair(tree.files.fileSystem, .readOnly, owner: Credentials())
    pair.reader.acquire()
    pair.writer.acquire()
    return pair
  }

  @Test func levelEdgeAndOneShot() throws {
    let poll = EventPoll.make(tree.files.fileSystem)
    let (reader, writer) = pipe()
    try poll.add(3, reader, wanted: 1, data: 77)
    #expect(report(poll) == [])
    _ = try writer.put([1])
    #expect(report(poll) == [Report(events: 1, data: 77)])
    #expect(report(poll) == [Report(events: 1, data: 77)])
    try poll.modify(3, reader, wanted: 1 | 1 << 31, data: 78)
    #expect(report(poll).count == 1)
    #expect(report(poll) == [])
    _ = try writer.put([1])
    #expect(report(poll) == [Report(events: 1, data: 78)])
    try poll.modify(3, reader, wanted: 1 | 1 << 30, data: 79)
    #expect(report(poll).count == 1)
    #expect(report(poll) == [])
  }

  @Test func waitersOfThePollAreTold() throws {
    let poll = EventPoll.make(tree.files.fileSystem)
    let (reader, writer) = pipe()
    let waiter = CountingWaiter()
    poll.waitQueue.add(waiter)
    try poll.add(3, reader, wanted: 1, data: 0)
    #expect(waiter.count == 0)
    _ = try writer.put([1])
    #expect(waiter.count == 1)
    try poll.remove(3, reader)
    _ = try writer.put([1])
    #expect(waiter.count == 1)
    #expect(throws: Errno.ENOENT) { try poll.remove(3, reader) }
  }

  @Test func aClosedFileIsForgotten() throws {
    let poll = EventPoll.make(tree.files.fileSystem)
    let (reader, writer) = pipe()
    _ = try writer.put([1])
    try poll.add(3, reader, wanted: 1, data: 0)
    reader.release()
    #expect(report(poll) == [])
    #expect(reader.watches.isEmpty)
    #expect(reader.waitQueue.isEmpty)
  }

  @Test func busyFilesDoNotStarveOthers() throws {
    let poll = EventPoll.make(tree.files.fileSystem)
    var pairs: [(reader: OpenFile, writer: OpenFile)] = []
    for index in 0..<3 {
      let pair = pipe()
      _ = try pair.writer.put([1])
      try poll.add(index, pair.reader, wanted: 1, data: UInt64(index))
      pairs.append(pair)
    }
    var seen: Set<UInt64> = []
    for _ in 0..<3 { seen.formUnion(report(poll, limit: 1).map(\.data)) }
    #expect(seen == [0, 1, 2])
  }

  @Test func circlesAndFilesThatAreAlwaysReadyAreRefused() throws {
    let one = EventPoll.make(tree.files.fileSystem)
    let two = EventPoll.make(tree.files.fileSystem)
    try one.add(1, two, wanted: 1, data: 0)
    #expect(throws: Errno.ELOOP) { try two.add(1, one, wanted: 1, data: 0) }
    #expect(throws: Errno.EINVAL) { try one.add(1, one, wanted: 1, data: 0) }
    let file = try tree.makeFile("/f").open(.readOnly, Opener())
    #expect(throws: Errno.EPERM) { try one.add(2, file, wanted: 1, data: 0) }
  }

  @Test func countersCountAndSemaphoresGiveOne() throws {
    let counter = EventCounter.make(tree.files.fileSystem, initial: 2, isSemaphore: false, .readWrite)
    _ = try counter.put([3, 0, 0, 0, 0, 0, 0, 0])
    #expect(try counter.take(8) == [5, 0, 0, 0, 0, 0, 0, 0])
    #expect(throws: Errno.EAGAIN) { try counter.take(8) }
    #expect(throws: Errno.EINVAL) { try counter.take(7) }
    let semaphore = EventCounter.make(tree.files.fileSystem, initial: 2, isSemaphore: true, .readWrite)
    #expect(try semaphore.take(8)[0] == 1)
    #expect(semaphore.poll().intersects(.readable))
    #expect(try semaphore.take(8)[0] == 1)
    #expect(throws: Errno.EAGAIN) { try semaphore.take(8) }
  }

  @Test func timersExpireByTheClock() throws {
    // The tests' clock moves by a microsecond whenever somebody looks.
    let timer = TimerFile.make(tree.files.fileSystem, isRealtime: false, .readWrite)
    #expect(timer.readyDeadline == .max)
    timer.set(1_000_000_000, interval: 0, isAbsolute: false)
    #expect(timer.poll() == .none)
    #expect(throws: Errno.EAGAIN) { try timer.take(8) }
    #expect(timer.setting.rest > 500_000_000)
    timer.set(1, interval: 0, isAbsolute: true)
    #expect(timer.poll() == .readable)
    #expect(try timer.take(8)[0] == 1)
    #expect(throws: Errno.EAGAIN) { try timer.take(8) }
    timer.set(1, interval: 0, isAbsolute: true)
    timer.set(0, interval: 0, isAbsolute: false)
    #expect(timer.poll() == .none)
  }
}
