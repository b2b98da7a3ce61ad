// SPDX-License-Identifier: Apache-2.0
// ImageTests.swift: the tree that the boot image brings, and the directories that are always there.

import ApusRuntime
import CApusABI
import Testing

@testable import ApusUnix

/// Packs a boot image as the ABI header describes it, without segments.
private struct Packer {
  var strings: [UInt8] = []
  var entries: [UInt8] = []
  var data: [UInt8] = []
  var count = 0

  private func number(_ value: UInt64, _ size: Int) -> [UInt8] {
    (0..<size).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
  }

  mutating func add(_ path: String, _ mode: UInt32, target: String = "", data contents: [UInt8] = [], linksTo: Int = 0)
  {
    let offset = strings.count
    strings += ascii(path) + ascii(target)
    let dataOffset = 4096 * 4 + data.count
    data += contents + [UInt8](repeating: 0, count: (4096 - contents.count % 4096) % 4096)
    entries += number(UInt64(offset), 8) + number(UInt64(path.utf8.count), 8)
    entries += number(UInt64(offset + path.utf8.count), 8) + number(UInt64(target.utf8.count), 8)
    entries += number(UInt64(contents.isEmpty ? 0 : dataOffset), 8) + number(UInt64(contents.count), 8)
    entries += number(UInt64(mode), 4) + number(3, 4) + number(4, 4) + number(UInt64(linksTo), 4) + number(1000, 8)
    count += 1
  }

  /// Header in page 0, entries in pages 1 and 2, strings in page 3, data from page 4 on.
  var image: [UInt8] {
    var header = number(UInt64(APUS_IMAGE_MAGIC), 8) + number(UInt64(4 * 4096 + data.count), 8) + number(0, 16)
    header += [UInt8](repeating: 0, count: 8 * MemoryLayout<apus_image_segment>.size)
    header += number(4096, 8) + number(UInt64(count), 8) + number(3 * 4096, 8) + number(UInt64(strings.count), 8)
    func padded(_ bytes: [UInt8], _ size: Int) -> [UInt8] { bytes + [UInt8](repeating: 0, count: size - bytes.count) }
    return padded(header, 4096) + padded(entries, 8192) + padded(strings, 4096) + data
  }
}

/// The memory that stands for the image is one for all: one test at a time.
@Suite(.serialized) struct ImageTests {
  private func packed() -> Packer {
    var packer = Packer()
    packer.add("/bin", 0o040711)
    packer.add("/bin/tool", 0o100755, data: (0..<5000).map { UInt8(truncatingIfNeeded: $0) })
    packer.add("/bin/alias", 0o120777, target: "tool")
    packer.add("/bin/other", 0o100755, linksTo: 2)
    packer.add("/empty", 0o100600)
    packer.add("/deep/er/file", 0o100644, data: ascii("deep"))
    return packer
  }

  @Test func filesLinksAndDirectoriesAreThere() throws {
    let tree = Tree()
    try tree.files.fill(from: Page.setImage(packed().image))
    let tool = try tree.node("/bin/tool")
    #expect(tool.size == 5000)
    #expect(tool.mode.rawValue == 0o100755)
    #expect(tool.user == 3)
    #expect(tool.linkCount == 2)
    #expect(tool.modificationTime == 1_000_000_000_000)
    #expect(try tree.node("/bin/alias") === tool)
    #expect(try tree.node("/bin/other") === tool)
    #expect(try tree.node("/bin").mode.permissions == 0o711)
    #expect(try tree.contents("/deep/er/file") == "deep")
    #expect(try tree.contents("/empty") == "")
    let file = try tool.open(.readOnly, Opener())
    #expect(try file.take(9999) == (0..<5000).map { UInt8(truncatingIfNeeded: $0) })
  }

  @Test func dataStayWhereTheyLie() throws {
    let image = Page.setImage(packed().image)
    let tree = Tree()
    try tree.files.fill(from: image)
    let file = try tree.node("/bin/tool").open(.readWrite, Opener())
    let page = try file.page(at: 1)
    #expect(page.bytes.address == image.address + 5 * 4096)
    try file.truncate(to: 4097)
    try file.truncate(to: 5000)
    #expect(try file.take(3, at: 4096) == [0, 0, 0])
    _ = try file.put(ascii("new"), at: 0)
    #expect(try file.take(4, at: 0) == ascii("new") + [3])
  }

  /// A damaged image is refused or read in part; it never makes the LibOS fail.
  @Test func damageIsSurvived() throws {
    let whole = packed().image
    var random = Sequence64(seed: 3)
    for _ in 0..<300 {
      var bytes = whole
      for _ in 0...random.next(below: 4) {
        bytes[random.next(below: 2) == 0 ? random.next(below: 400) : 4096 + random.next(below: 500)] =
          UInt8(random.next(below: 256))
      }
      var copy = bytes
      let tree = Tree()
      Bytes.withArray(&copy) { view in
        do throws(Errno) { try tree.files.fill(from: view) } catch {}
      }
    }
    #expect(throws: Errno.EINVAL) { try Tree().files.fill(from: Bytes.empty) }
  }

  @Test func theUsualDirectoriesAndDevicesAreMade() throws {
    let tree = Tree()
    try tree.files.furnish()
    #expect(try tree.node("/tmp").mode.rawValue == 0o041777)
    let null = try tree.node("/dev/null")
    #expect(null.kind == .characterDevice)
    #expect(null.representedDevice == DeviceNumber(major: 1, minor: 3))
    #expect(try tree.node("/dev/stdin", follow: false).asSymbolicLink?.target() == ascii("/proc/self/fd/0"))
    #expect(throws: Errno.ENXIO) { try null.open(.readWrite, Opener()) }
    let console = HostConsole(tree.files.fileSystem, terminalStreams: 0, size: WindowSize(rows: 1, columns: 1))
    let opener = Opener(devices: Devices(console: console))
    #expect(try null.open(.readWrite, opener).take(5) == [])
    #expect(try tree.node("/dev/zero").open(.readOnly, opener).take(5) == [0, 0, 0, 0, 0])
    #expect(throws: Errno.ENOSPC) { try tree.node("/dev/full").open(.readWrite, opener).put([1]) }
    #expect(throws: Errno.ENXIO) { try tree.node("/dev/tty").open(.readWrite, opener) }
  }

  @Test(arguments: [(1, 3), (5, 1), (4095, 255), (8, 1_048_575), (1 << 20, 1 << 10)])
  func deviceNumbersKeepTheirParts(major: UInt32, minor: UInt32) {
    let number = DeviceNumber(major: major, minor: minor)
    #expect(number.major == major)
    #expect(number.minor == minor)
  }
}
