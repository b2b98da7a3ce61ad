// SPDX-License-Identifier: Apache-2.0
// DescriptorTable.swift: small numbers that stand for open files (open(2), dup(2)).

/// A process's descriptors; shared by tasks made with CLONE_FILES.
public final class DescriptorTable {
  private struct Slot {
    var file: OpenFile?
    var closesOnExec = false
  }

  private var slots: [Slot] = []
  /// No free slot lies below this.
  private var firstFree = 0
  /// Processes that use the table.
  private var users = 1
  /// One more than the greatest descriptor allowed (RLIMIT_NOFILE).
  public var limit: Int

  /// An empty table.
  public init(limit: Int = 1024) { self.limit = limit }

  /// One more than the greatest descriptor in use.
  public var end: Int {
    var end = slots.count
    while end > 0 && slots[end - 1].file == nil { end -= 1 }
    return end
  }

  /// The open file of a descriptor.
  ///
  /// - Throws: `EBADF` if it is not open.
  @inline(__always) public func file(_ descriptor: Int) throws(Errno) -> OpenFile {
    guard descriptor >= 0, descriptor < slots.count, let file = slots[descriptor].file else { throw .EBADF }
    return file
  }

  /// Whether a descriptor is open.
  public func isOpen(_ descriptor: Int) -> Bool {
    descriptor >= 0 && descriptor < slots.count && slots[descriptor].file != nil
  }

  /// Gives a file the lowest free descriptor that is at least `minimum`.
  ///
  /// - Throws: `EMFILE` if that would pass the limit, `EINVAL` if `minimum` does.
  public func add(_ file: OpenFile, closesOnExec: Bool = false, from minimum: Int = 0) throws(Errno) -> Int {
    guard minimum >= 0, minimum < limit || minimum == 0 else { throw .EINVAL }
    var index = max(minimum, firstFree)
    while index < slots.count && slots[index].file != nil { index += 1 }
    guard index < limit else {
      file.closeUnlessUsed()
      throw .EMFILE
    }
    while slots.count <= index { slots.append(Slot()) }
    slots[index] = Slot(file: file, closesOnExec: closesOnExec)
    file.acquire()
    if minimum <= firstFree { firstFree = index + 1 }
    return index
  }

  /// Lets a certain descriptor stand for a file, closing what it stood for.
  ///
  /// - Throws: `EBADF` if the number passes the limit.
  public func set(_ descriptor: Int, to file: OpenFile, closesOnExec: Bool = false) throws(Errno) {
    guard descriptor >= 0, descriptor < limit else { throw .EBADF }
    while slots.count <= descriptor { slots.append(Slot()) }
    let old = slots[descriptor].file
    slots[descriptor] = Slot(file: file, closesOnExec: closesOnExec)
    file.acquire()
    if let old { drop(old) }
  }

  /// close(2).
  public func close(_ descriptor: Int) throws(Errno) {
    let file = try file(descriptor)
    slots[descriptor] = Slot()
    firstFree = min(firstFree, descriptor)
    drop(file)
  }

  /// Ends one reference; any close ends the process's record locks on the file (fcntl(2)).
  private func drop(_ file: OpenFile) {
    file.node.locks?.releaseRecords(of: LockOwner(self))
    file.release()
  }

  /// Closes a range (close_range(2)).
  public func closeRange(_ first: Int, _ last: Int) {
    var index = max(0, first)
    while index < slots.count && index <= last {
      if let file = slots[index].file {
        slots[index] = Slot()
        firstFree = min(firstFree, index)
        drop(file)
      }
      index += 1
    }
  }

  /// Closes everything, when the process ends.
  public func closeAll() {
    closeRange(0, Int.max)
    slots = []
    firstFree = 0
  }

  /// Lets another process use this very table (clone(2), CLONE_FILES); threads of one process count once.
  public func share() -> DescriptorTable {
    users += 1
    return self
  }

  /// Ends one process's use; the last one closes everything.
  public func closeAllUnlessShared() {
    users -= 1
    if users == 0 { closeAll() }
  }

  /// Closes what is marked so, when another program is run.
  public func closeForExec() {
    for index in 0..<slots.count where slots[index].closesOnExec { closeRange(index, index) }
  }

  /// Whether exec closes a descriptor.
  public func closesOnExec(_ descriptor: Int) throws(Errno) -> Bool {
    _ = try file(descriptor)
    return slots[descriptor].closesOnExec
  }

  /// Says whether exec closes a descriptor.
  public func setClosesOnExec(_ descriptor: Int, _ closes: Bool) throws(Errno) {
    _ = try file(descriptor)
    slots[descriptor].closesOnExec = closes
  }

  /// The same descriptors for a new process.
  public func copy() -> DescriptorTable {
    let other = DescriptorTable(limit: limit)
    other.slots = slots
    other.firstFree = firstFree
    for slot in slots { slot.file?.acquire() }
    return other
  }
}
