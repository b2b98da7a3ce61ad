// SPDX-License-Identifier: Apache-2.0
// DescriptorTests.swift: descriptors are the lowest free numbers, and the last one closes the file.

import Testing

@testable import ApusUnix

/// A file that counts how often it is closed.
private final class ClosingFile: OpenFile {
  var closes = 0
  override func close() { closes += 1 }
}

@Suite struct DescriptorTests {
  private let node = Tree().files.root

  private func file() -> ClosingFile { ClosingFile(node, .readOnly) }

  @Test func theLowestFreeNumberIsTaken() throws {
    let table = DescriptorTable()
    for expected in 0..<5 { #expect(try table.add(file()) == expected) }
    try table.close(1)
    try table.close(3)
    #expect(try table.add(file()) == 1)
    #expect(try table.add(file(), from: 10) == 10)
    #expect(try table.add(file()) == 3)
    #expect(try table.add(file()) == 5)
    #expect(table.end == 11)
    #expect(throws: Errno.EBADF) { try table.close(7) }
    #expect(throws: Errno.EBADF) { try table.file(-1) }
  }

  @Test func theLimitHolds() throws {
    let table = DescriptorTable(limit: 3)
    for _ in 0..<3 { _ = try table.add(file()) }
    let homeless = file()
    #expect(throws: Errno.EMFILE) { try table.add(homeless) }
    #expect(homeless.closes == 1)
    #expect(throws: Errno.EMFILE) { try table.add(try table.file(0)) }
    #expect(try (table.file(0) as? ClosingFile)?.closes == 0)
    #expect(throws: Errno.EBADF) { try table.set(3, to: file()) }
    #expect(throws: Errno.EINVAL) { try table.add(file(), from: 3) }
  }

  @Test func theLastDescriptorClosesTheFile() throws {
    let table = DescriptorTable()
    let file = file()
    let first = try table.add(file)
    try table.set(7, to: file)
    let child = table.copy()
    table.closeAll()
    #expect(file.closes == 0)
    try child.close(first)
    #expect(file.closes == 0)
    try child.set(7, to: self.file())
    #expect(file.closes == 1)
  }

  @Test func duplicatingOntoItselfKeepsTheFileOpen() throws {
    let table = DescriptorTable()
    let file = file()
    let number = try table.add(file)
    try table.set(number, to: file)
    #expect(file.closes == 0)
    #expect(file.references == 1)
  }

  @Test func execClosesWhatIsMarked() throws {
    let table = DescriptorTable()
    let marked = file()
    let kept = file()
    _ = try table.add(marked, closesOnExec: true)
    _ = try table.add(kept)
    #expect(try table.closesOnExec(0))
    table.closeForExec()
    #expect(marked.closes == 1)
    #expect(kept.closes == 0)
    #expect(try table.add(file()) == 0)
    #expect(try !table.closesOnExec(0))
  }

  @Test func aSharedTableIsClosedByItsLastUser() throws {
    let table = DescriptorTable()
    let file = file()
    _ = try table.add(file)
    #expect(table.share() === table)
    table.closeAllUnlessShared()
    #expect(file.closes == 0)
    table.closeAllUnlessShared()
    #expect(file.closes == 1)
  }

  @Test func recordLocksConflictBetweenProcessesOnly() throws {
    let locks = FileLocks()
    let one = DescriptorTable()
    let two = DescriptorTable()
    try locks.lock(LockOwner(one), process: 1, exclusive: true, 10, 19)
    try locks.lock(LockOwner(one), process: 1, exclusive: false, 12, 13)
    #expect(throws: Errno.EAGAIN) { try locks.lock(LockOwner(two), process: 2, exclusive: false, 10, 10) }
    #expect(throws: Errno.EAGAIN) { try locks.lock(LockOwner(two), process: 2, exclusive: true, 12, 12) }
    try locks.lock(LockOwner(two), process: 2, exclusive: false, 12, 13)
    #expect(locks.conflict(LockOwner(two), exclusive: false, 0, Int64.max)?.start == 10)
    #expect(locks.conflict(LockOwner(two), exclusive: false, 14, 14)?.last == 19)
    locks.unlock(LockOwner(one), 0, Int64.max)
    try locks.lock(LockOwner(two), process: 2, exclusive: true, 0, Int64.max)
    #expect(locks.conflict(LockOwner(one), exclusive: false, 500, 500)?.process == 2)
  }

  @Test func closingAnyDescriptorEndsTheProcessesLocks() throws {
    let tree = Tree()
    let node = try tree.makeFile("/f")
    let locks = FileLocks()
    node.locks = locks
    let table = DescriptorTable()
    let other = DescriptorTable()
    let first = try table.add(try node.open(.readWrite, Opener()))
    let second = try table.add(try node.open(.readOnly, Opener()))
    try locks.lock(LockOwner(table), process: 1, exclusive: true, 0, 9)
    try locks.lockWhole(try table.file(first), exclusive: true)
    try table.close(second)
    #expect(locks.conflict(LockOwner(other), exclusive: true, 0, 9) == nil)
    let third = try other.add(try node.open(.readOnly, Opener()))
    #expect(throws: Errno.EAGAIN) { try locks.lockWhole(try other.file(third), exclusive: false) }
    try table.close(first)
    try locks.lockWhole(try other.file(third), exclusive: false)
  }
}
