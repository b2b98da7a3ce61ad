// SPDX-License-Identifier: Apache-2.0
// RegularFileTests.swift: contents of regular files: holes, truncation, positions, the boot image.

import ApusRuntime
import Testing

@testable import ApusUnix

@Suite struct RegularFileTests {
  private func open(_ flags: OpenFlags = .readWrite) throws -> OpenFile {
    try Tree().makeFile("/f").open(flags, Opener())
  }

  @Test func bytesComeBack() throws {
    let file = try open()
    let data = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    #expect(try file.put(data) == data.count)
    #expect(file.offset == 20_000)
    #expect(try file.take(10).isEmpty)
    #expect(try file.seek(0, .start) == 0)
    #expect(try file.take(30_000) == data)
    #expect(try file.take(5, at: 4094) == Array(data[4094..<4099]))
    #expect(file.status().blocks == 40)
  }

  @Test func holesReadAsZeroAndTakeNoSpace() throws {
    let file = try open()
    #expect(try file.put([1], at: 100_000_000) == 1)
    #expect(file.node.size == 100_000_001)
    #expect(file.status().blocks == 8)
    #expect(try file.take(3, at: 50_000_000) == [0, 0, 0])
    #expect(try file.take(3, at: 99_999_999) == [0, 1])
    #expect(try file.seek(0, .data) == 100_000_000 & ~4095)
    #expect(try file.seek(100_000_000, .hole) == 100_000_001)
    #expect(throws: Errno.ENXIO) { try file.seek(100_000_001, .data) }
    try file.truncate(to: 10)
    #expect(file.status().blocks == 0)
  }

  @Test func whatWasCutOffDoesNotComeBack() throws {
    let file = try open()
    _ = try file.put([UInt8](repeating: 9, count: 5000))
    try file.truncate(to: 100)
    try file.truncate(to: 5000)
    #expect(try file.take(5000, at: 0) == [UInt8](repeating: 9, count: 100) + [UInt8](repeating: 0, count: 4900))
    // A mapping may have written behind the end.
    try file.truncate(to: 100)
    let page = try file.page(at: 0)
    page.bytes[200] = 7
    page.release()
    _ = try file.put([1], at: 300)
    #expect(try file.take(1, at: 200) == [0])
  }

  @Test func appendingIgnoresThePosition() throws {
    let file = try open(OpenFlags.readWrite.union(.append))
    _ = try file.put(ascii("one"))
    _ = try file.seek(0, .start)
    _ = try file.put(ascii("two"))
    #expect(try file.take(10, at: 0) == ascii("onetwo"))
    _ = try file.put(ascii("!"), at: 0)
    #expect(try file.take(10, at: 0) == ascii("onetwo!"))
  }

  @Test func seekingChecks() throws {
    let file = try open()
    #expect(throws: Errno.EINVAL) { try file.seek(-1, .start) }
    #expect(throws: Errno.EINVAL) {
      _ = try file.seek(Int64.max, .start)
      _ = try file.seek(1, .current)
    }
    #expect(try file.seek(5, .end) == 5)
    #expect(throws: Errno.EFBIG) { try file.put([1], at: Int64.max) }
  }

  @Test func aMappingSeesWritesAndPagesPastTheEndAreNotThere() throws {
    let file = try open()
    _ = try file.put(ascii("abc"))
    let page = try file.page(at: 0)
    #expect(page.referenceCount == 2)
    _ = try file.put(ascii("X"), at: 1)
    #expect(page.bytes[1] == UInt8(ascii: "X"))
    page.bytes[2] = UInt8(ascii: "Y")
    #expect(try file.take(3, at: 0) == ascii("aXY"))
    #expect(throws: Errno.ENXIO) { try file.page(at: 1) }
    page.release()
  }

  @Test func punchingAndFilling() throws {
    let file = try open()
    _ = try file.put([UInt8](repeating: 1, count: 10_000))
    let regular = try #require(file.node.asRegular)
    regular.punch(4000, 200)
    #expect(try file.take(202, at: 3999) == [1] + [UInt8](repeating: 0, count: 200) + [1])
    try regular.allocate(0, 50_000, keepSize: true)
    #expect(regular.size == 10_000)
    try regular.allocate(0, 50_000, keepSize: false)
    #expect(regular.size == 50_000)
    #expect(try file.take(1, at: 49_999) == [0])
  }

  /// Random writes, reads and truncations against an array.
  @Test(arguments: 1...6)
  func randomTransfersMatchAnArray(seed: Int) throws {
    var random = Sequence64(seed: UInt64(seed))
    let file = try open()
    var model: [UInt8] = []
    for step in 0..<400 {
      let position = random.next(below: 40_000)
      switch random.next(below: 4) {
      case 0:
        try file.truncate(to: Int64(position))
        model = Array(model.prefix(position)) + [UInt8](repeating: 0, count: max(0, position - model.count))
      case 1:
        let data = (0..<random.next(below: 9000) + 1).map { _ in UInt8(random.next(below: 256)) }
        _ = try file.put(data, at: Int64(position))
        model += [UInt8](repeating: 0, count: max(0, position + data.count - model.count))
        model.replaceSubrange(position..<position + data.count, with: data)
      default:
        let count = random.next(below: 9000) + 1
        let expected = Array(model.dropFirst(position).prefix(count))
        #expect(try file.take(count, at: Int64(position)) == expected, "step \(step)")
      }
      #expect(file.node.size == Int64(model.count))
    }
  }

  @Test func aProgramThatRunsIsNotWritten() throws {
    let tree = Tree()
    let node = try tree.makeFile("/program")
    let writer = try node.open(.readWrite, Opener())
    writer.acquire()
    #expect(throws: Errno.ETXTBSY) { try node.openProgram(Opener()) }
    writer.release()
    var program: OpenFile? = try node.openProgram(Opener())
    #expect(throws: Errno.ETXTBSY) { try node.open(.writeOnly, Opener()) }
    #expect(throws: Errno.ETXTBSY) { try node.truncate(to: 0) }
    #expect(program?.isMappable == true)
    program = nil
    _ = try node.open(.writeOnly, Opener())
  }

  @Test func attributesChangeByTheirRules() throws {
    let tree = Tree()
    let node = try tree.makeFile("/f")
    let other = Credentials(user: 4, group: 4)
    #expect(throws: Errno.EPERM) { try node.changePermissions(0o777, other) }
    #expect(throws: Errno.EPERM) { try node.changeOwner(user: 4, group: nil, other) }
    try node.changePermissions(0o6755, tree.who)
    try node.changeOwner(user: 4, group: 9, tree.who)
    #expect(node.mode.permissions == 0o755)
    try node.changeOwner(user: nil, group: 4, other)
    #expect(throws: Errno.EPERM) { try node.changeOwner(user: nil, group: 8, other) }
    try node.changeTimes(access: .set(5), modification: .keep, other)
    #expect(node.accessTime == 5)
    let third = Credentials(user: 6, group: 6)
    #expect(throws: Errno.EPERM) { try node.changeTimes(access: .set(5), modification: .now, third) }
    #expect(throws: Errno.EACCES) { try node.changeTimes(access: .now, modification: .now, third) }
    #expect(throws: Errno.EACCES) { try node.check(.write, third) }
    #expect(throws: Errno.EACCES) { try tree.makeFile("/g").check(.execute, tree.who) }
  }
}
