// SPDX-License-Identifier: Apache-2.0
// FileLocks.swift: advisory locks: of byte ranges by processes (fcntl(2)) and of whole files (flock(2)).

/// Who holds a lock: a process, or an open file.
public struct LockOwner: Equatable {
  private let identity: ObjectIdentifier

  /// A process, by its descriptor table: a close through it ends the process's locks on the file.
  public init(_ table: DescriptorTable) { identity = ObjectIdentifier(table) }
  /// An open file, for locks of open file descriptions.
  public init(_ file: OpenFile) { identity = ObjectIdentifier(file) }
}

/// The locks on one file.
public final class FileLocks {
  /// A lock on a range.
  public struct Record {
    let owner: LockOwner
    /// The process's number, for F_GETLK; -1: an open file's lock.
    public let process: Int32
    /// Whether it is a write lock.
    public let isExclusive: Bool
    /// The first byte.
    public var start: Int64
    /// The last byte; `Int64.max`: to the end, however far that moves.
    public var last: Int64
  }

  private var records: [Record] = []
  private var wholeHolders: [OpenFile] = []
  private var wholeIsExclusive = false
  /// Who waits for a lock to end.
  public let waitQueue = WaitQueue()

  /// No locks.
  public init() {}

  /// A lock of another process that stands in the way.
  public func conflict(_ owner: LockOwner, exclusive: Bool, _ start: Int64, _ last: Int64) -> Record? {
    for record in records where record.owner != owner && record.start <= last && start <= record.last {
      if exclusive || record.isExclusive { return record }
    }
    return nil
  }

  /// Locks a range, replacing what the process held there.
  ///
  /// - Throws: `EAGAIN` if another process's lock is in the way.
  public func lock(
    _ owner: LockOwner, process: Int32, exclusive: Bool, _ start: Int64, _ last: Int64
  ) throws(Errno) {
    if conflict(owner, exclusive: exclusive, start, last) != nil { throw .EAGAIN }
    cut(owner, start, last)
    records.append(
      Record(owner: owner, process: process, isExclusive: exclusive, start: start, last: last))
    if !exclusive { waitQueue.wakeAll() }
  }

  /// Unlocks a range.
  public func unlock(_ owner: LockOwner, _ start: Int64, _ last: Int64) {
    cut(owner, start, last)
    waitQueue.wakeAll()
  }

  /// Takes a range out of what a process holds; a lock around it is split.
  private func cut(_ owner: LockOwner, _ start: Int64, _ last: Int64) {
    var kept: [Record] = []
    for record in records {
      guard record.owner == owner, record.start <= last, start <= record.last else {
        kept.append(record)
        continue
      }
      if record.start < start {
        var before = record
        before.last = start - 1
        kept.append(before)
      }
      if record.last > last {
        var after = record
        after.start = last + 1
        kept.append(after)
      }
    }
    records = kept
  }

  /// Ends all of a process's record locks.
  func releaseRecords(of owner: LockOwner) {
    if records.isEmpty { return }
    unlock(owner, 0, Int64.max)
  }

  /// flock(2): locks the whole file for an open file.
  ///
  /// - Throws: `EAGAIN` if another open file's lock is in the way.
  public func lockWhole(_ file: OpenFile, exclusive: Bool) throws(Errno) {
    var others = 0
    for holder in wholeHolders where holder !== file { others += 1 }
    if others > 0 && (exclusive || wholeIsExclusive) { throw .EAGAIN }
    if others == wholeHolders.count { wholeHolders.append(file) }
    wholeIsExclusive = exclusive
    if !exclusive { waitQueue.wakeAll() }
  }

  /// Ends an open file's lock.
  public func releaseWhole(_ file: OpenFile) {
    var index = 0
    while index < wholeHolders.count {
      if wholeHolders[index] === file {
        wholeHolders.remove(at: index)
        if wholeHolders.isEmpty { wholeIsExclusive = false }
        waitQueue.wakeAll()
        return
      }
      index += 1
    }
  }
}
