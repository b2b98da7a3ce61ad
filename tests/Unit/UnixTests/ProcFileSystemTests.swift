// SPDX-License-Identifier: Apache-2.0
// ProcFileSystemTests.swift: /proc's tree and its texts, for two made-up processes.

import ApusRuntime
import Testing

@testable import ApusUnix

private final class Information: ProcessInformation {
  let table = DescriptorTable()
  let fileContext: FileContext
  init(_ context: FileContext) { fileContext = context }

  func currentProcess() -> Int { 12 }
  func currentTask() -> Int { 13 }
  func processIdentifiers() -> [Int] { [1, 12] }
  func taskIdentifiers(of process: Int) -> [Int] { process == 12 ? [12, 13] : [process] }
  func status(of process: Int) -> ProcessStatus? {
    guard process == 1 || process == 12 else { return nil }
    var status = ProcessStatus()
    status.identifier = process
    status.name = ascii(process == 1 ? "init" : "my prog")
    status.parent = process == 1 ? 0 : 1
    status.group = 12
    status.session = 1
    status.usedNanoseconds = 1_230_000_000
    status.startNanoseconds = 5_000_000_000
    status.virtualBytes = 8192
    status.residentPages = 2
    status.caughtSignals = 0x10
    return status
  }
  func systemStatus() -> SystemStatus {
    var status = SystemStatus()
    status.uptimeNanoseconds = 61_230_000_000
    status.idleNanoseconds = 1_000_000_000
    status.release = ascii("6.1.0")
    return status
  }
  func commandLine(of process: Int) -> [UInt8] { ascii("prog\0-x\0") }
  func environment(of process: Int) -> [UInt8] { ascii("A=b\0") }
  func auxiliaryVector(of process: Int) -> [UInt8] { [] }
  func maps(of process: Int) -> [UInt8] { ascii("map\n") }
  func limits(of process: Int) -> [UInt8] { [] }
  func executable(of process: Int) -> [UInt8] { ascii("/bin/prog") }
  func descriptors(of process: Int) -> DescriptorTable? { process == 12 ? table : nil }
  func context(of process: Int) -> FileContext? { fileContext }
}

@Suite struct ProcFileSystemTests {
  private func make() throws -> (Tree, Information) {
    let tree = Tree()
    try tree.makeDirectory("/proc")
    try tree.makeDirectory("/bin")
    try tree.makeFile("/bin/prog", "program")
    let information = Information(tree.context)
    try #require(try tree.node("/proc").asDirectory).mount(ProcFileSystem(information).root)
    return (tree, information)
  }

  @Test func theRootListsProcesses() throws {
    let (tree, _) = try make()
    let names = try tree.names("/proc")
    #expect(Array(names.suffix(2)) == ["1", "12"])
    for name in ["self", "meminfo", "uptime", "mounts", "sys"] { #expect(names.contains(name)) }
    #expect(throws: Errno.ENOENT) { try tree.node("/proc/7") }
    #expect(throws: Errno.ENOENT) { try tree.node("/proc/012") }
  }

  /// Whatever a directory lists must be there, of the kind that it says.
  @Test(arguments: ["/proc", "/proc/self", "/proc/sys", "/proc/sys/kernel", "/proc/self/task", "/proc/1/fd"])
  func whatIsListedIsThere(path: String) throws {
    let (tree, _) = try make()
    let file = try tree.node(path).open(.readOnly, Opener())
    while let entry = try file.nextEntry() {
      file.offset = entry.position
      let name = String(decoding: entry.name, as: UTF8.self)
      if name.hasPrefix(".") { continue }
      let node = try tree.node(path + "/" + name, follow: false)
      #expect(node.kind == entry.kind, "\(name)")
      #expect(node.number == entry.inode || entry.kind == .directory, "\(name)")
      if node.kind == .regular { _ = try tree.contents(path + "/" + name) }
    }
  }

  @Test(arguments: [
    ("/proc/self/comm", "my prog\n"), ("/proc/1/comm", "init\n"), ("/proc/self/cmdline", "prog\0-x\0"),
    ("/proc/uptime", "61.23 1.00\n"), ("/proc/sys/kernel/osrelease", "6.1.0\n"), ("/proc/self/exe", "program"),
    ("/proc/self/statm", "2 2 0 0 0 2 0\n"), ("/proc/thread-self/environ", "A=b\0"),
    ("/proc/self/root/bin/prog", "program"), ("/proc/self/maps", "map\n"),
    (
      "/proc/mounts",
      "tmpfs / tmpfs rw,relatime 0 0\ndevtmpfs /dev devtmpfs rw,relatime 0 0\nproc /proc proc rw,relatime 0 0\n"
    ),
  ])
  func aFileSaysWhatItShould(path: String, expected: String) throws {
    let (tree, _) = try make()
    #expect(try tree.contents(path) == expected)
  }

  @Test func tasksEndTheTree() throws {
    let (tree, _) = try make()
    #expect(try tree.names("/proc/self/task") == [".", "..", "12", "13"])
    #expect(try tree.contents("/proc/self/task/13/comm") == "my prog\n")
    #expect(throws: Errno.ENOENT) { try tree.node("/proc/self/task/13/task") }
  }

  @Test func theStatLineHasItsFields() throws {
    let (tree, _) = try make()
    let line = try tree.contents("/proc/self/stat")
    #expect(line.hasPrefix("12 (my prog) R 1 12 1 0 -1 "))
    let fields = line.drop { $0 != ")" }.dropFirst(2).split(separator: " ")
    #expect(fields.count == 50)
    #expect(fields[11] == "123")
    #expect(fields[19] == "500")
    #expect(fields[20] == "8192")
    #expect(fields[21] == "2")
    #expect(fields[31] == "16")
  }

  @Test func descriptorsLeadToTheirFiles() throws {
    let (tree, information) = try make()
    let place = try tree.place("/bin/prog")
    let file = try #require(place.node).open(.readOnly, Opener())
    file.place = Place(directory: place.directory, name: place.name)
    _ = try information.table.add(file)
    let pipe = PipeNode.makePair(tree.files.fileSystem, .readOnly, owner: Credentials())
    _ = try information.table.add(pipe.writer)
    #expect(try tree.names("/proc/self/fd") == [".", "..", "0", "1"])
    #expect(try tree.node("/proc/self/fd/0") === file.node)
    #expect(try tree.node("/proc/self/fd/0", follow: false).asSymbolicLink?.target() == ascii("/bin/prog"))
    let target = try #require(try tree.node("/proc/self/fd/1", follow: false).asSymbolicLink?.target())
    #expect(String(decoding: target, as: UTF8.self) == "pipe:[\(pipe.writer.node.number)]")
    try tree.unlink("/bin/prog")
    #expect(try tree.node("/proc/self/fd/0", follow: false).asSymbolicLink?.target() == ascii("/bin/prog (deleted)"))
    #expect(try tree.contents("/proc/self/fd/0") == "program")
  }

  @Test func nobodyMakesOrRemovesNames() throws {
    let (tree, _) = try make()
    #expect(throws: Errno.ENOENT) { try tree.makeFile("/proc/x") }
    #expect(throws: Errno.EPERM) { try tree.unlink("/proc/uptime") }
    #expect(throws: Errno.EINVAL) { try tree.node("/proc/uptime").open(.writeOnly, Opener()).put([1]) }
  }
}
