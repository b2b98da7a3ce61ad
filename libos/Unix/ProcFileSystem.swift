// SPDX-License-Identifier: Apache-2.0
// ProcFileSystem.swift: the tree of /proc: which names there are, and what stands behind them (proc(5)).

import ApusRuntime

/// The /proc of a family.
///
/// Its nodes are made when somebody looks; its files are written when they are opened.
public final class ProcFileSystem {
  let fileSystem: FileSystem
  let information: any ProcessInformation
  private var madeRoot: ProcRoot?

  /// A /proc that asks `information`.
  public init(_ information: any ProcessInformation) {
    self.information = information
    // PROC_SUPER_MAGIC, statfs(2).
    fileSystem = FileSystem(device: 0x14, typeName: "proc", magic: 0x9fa0)
  }

  /// The root directory, to be mounted on /proc.
  public var root: DirectoryNode {
    if let madeRoot { return madeRoot }
    let made = ProcRoot(self)
    madeRoot = made
    return made
  }

  /// Inode numbers: a process in the upper part, what it is in the lower.
  static func number(_ process: Int, _ serial: Int) -> UInt64 { UInt64(process) << 20 | UInt64(serial) }

  func owner(_ process: Int) -> Credentials {
    guard let status = information.status(of: process) else { return Credentials() }
    return Credentials(user: status.users[1], group: status.groups[1])
  }
}

/// A name in a directory of /proc, and what it is.
struct ProcName {
  let name: String
  let item: ProcItem

  init(_ name: String, _ item: ProcItem) {
    self.name = name
    self.item = item
  }
}

/// What a name in /proc is.
enum ProcItem {
  case text(ProcText)
  case link(ProcLink)
  case processLink(String)
  case directory([ProcName])
  case descriptors
  case descriptorDetails
  case tasks

  var kind: FileKind {
    switch self {
    case .text: .regular
    case .link, .processLink: .symbolicLink
    case .directory, .descriptors, .descriptorDetails, .tasks: .directory
    }
  }
}

/// The names that every process has.
private let processNames: [ProcName] = [
  ProcName("stat", .text(.stat)), ProcName("status", .text(.status)), ProcName("statm", .text(.statm)),
  ProcName("cmdline", .text(.commandLine)), ProcName("comm", .text(.name)),
  ProcName("environ", .text(.environment)), ProcName("auxv", .text(.auxiliaryVector)),
  ProcName("maps", .text(.maps)), ProcName("limits", .text(.limits)), ProcName("mounts", .text(.mounts)),
  ProcName("mountinfo", .text(.mountInformation)), ProcName("cgroup", .text(.controlGroups)),
  ProcName("oom_score", .text(.zero)), ProcName("oom_score_adj", .text(.zero)),
  ProcName("loginuid", .text(.noIdentifier)), ProcName("wchan", .text(.zeroWithoutNewline)),
  ProcName("exe", .link(.executable)), ProcName("cwd", .link(.working)), ProcName("root", .link(.root)),
  ProcName("fd", .descriptors), ProcName("fdinfo", .descriptorDetails), ProcName("task", .tasks),
]

/// The names that every task has: a process's, but for the last one.
private let taskNames = [ProcName](processNames.dropLast())

/// The names in /proc itself.
private let rootNames: [ProcName] = [
  ProcName("self", .processLink("")), ProcName("thread-self", .processLink("task")),
  ProcName("mounts", .processLink("mounts")),
  ProcName("meminfo", .text(.memory)), ProcName("uptime", .text(.uptime)), ProcName("stat", .text(.systemStat)),
  ProcName("version", .text(.version)), ProcName("cpuinfo", .text(.processor)),
  ProcName("loadavg", .text(.loadAverage)), ProcName("filesystems", .text(.fileSystems)),
  ProcName("cmdline", .text(.bootCommand)), ProcName("devices", .text(.devices)),
  ProcName("partitions", .text(.partitions)), ProcName("swaps", .text(.swaps)),
  ProcName("vmstat", .text(.virtualMemory)), ProcName("modules", .text(.empty)),
  ProcName("diskstats", .text(.empty)), ProcName("interrupts", .text(.interrupts)),
  ProcName("sys", .directory(systemNames)),
]

private let systemNames: [ProcName] = [
  ProcName(
    "kernel",
    .directory([
      ProcName("ostype", .text(.systemType)), ProcName("osrelease", .text(.release)),
      ProcName("version", .text(.systemVersion)), ProcName("hostname", .text(.hostName)),
      ProcName("domainname", .text(.domainName)), ProcName("pid_max", .text(.number(32768))),
      ProcName("threads-max", .text(.number(4096))), ProcName("ngroups_max", .text(.number(65536))),
      ProcName("cap_last_cap", .text(.number(40))), ProcName("overflowuid", .text(.number(65534))),
      ProcName("overflowgid", .text(.number(65534))), ProcName("randomize_va_space", .text(.number(2))),
      ProcName("sched_child_runs_first", .text(.number(0))), ProcName("tainted", .text(.number(0))),
      ProcName(
        "random",
        .directory([
          ProcName("uuid", .text(.uniqueIdentifier)),
          ProcName("entropy_avail", .text(.number(256))), ProcName("poolsize", .text(.number(256))),
        ])),
    ])),
  ProcName(
    "vm",
    .directory([
      ProcName("overcommit_memory", .text(.number(1))), ProcName("max_map_count", .text(.number(65530))),
      ProcName("swappiness", .text(.number(0))), ProcName("mmap_min_addr", .text(.number(65536))),
    ])),
  ProcName(
    "fs",
    .directory([
      ProcName("file-max", .text(.number(1 << 20))), ProcName("nr_open", .text(.number(1 << 20))),
      ProcName("pipe-max-size", .text(.number(Pipe.capacity))),
    ])),
]

/// A directory of /proc whose names are fixed.
class ProcDirectory: DirectoryNode {
  let tree: ProcFileSystem
  let process: Int
  let names: [ProcName]
  private let serial: Int

  init(
    _ tree: ProcFileSystem, process: Int, names: [ProcName], serial: Int, permissions: UInt32 = 0o555
  ) {
    self.tree = tree
    self.process = process
    self.names = names
    self.serial = serial
    super.init(
      tree.fileSystem, permissions: permissions, owner: process == 0 ? Credentials() : tree.owner(process),
      number: ProcFileSystem.number(process, serial))
  }

  override func find(_ name: ArraySlice<UInt8>) throws(Errno) -> Inode? {
    for index in names.indices where names[index].name.utf8.elementsEqual(name) {
      return make(names[index], serial: serial * 32 + index + 1, Array(name))
    }
    return nil
  }

  /// Nobody makes names here; Linux says so with this error.
  override func add(_ node: Inode, _ name: [UInt8]) throws(Errno) { throw .ENOENT }

  /// Makes the node behind a name.
  private func make(_ entry: ProcName, serial: Int, _ name: [UInt8]) -> Inode {
    let node: Inode
    switch entry.item {
    case .text(let text): return ProcTextNode(tree, process, text, serial: serial)
    case .link(let link): return ProcLinkNode(tree, process, link, serial: serial)
    case .processLink(let rest): return ProcSelfLink(tree, rest, serial: serial)
    case .directory(let names): node = ProcDirectory(tree, process: process, names: names, serial: serial)
    case .descriptors: node = ProcDescriptors(tree, process, serial: serial, areDetails: false)
    case .descriptorDetails: node = ProcDescriptors(tree, process, serial: serial, areDetails: true)
    case .tasks: node = ProcTasks(tree, process: process, names: [], serial: serial)
    }
    if let directory = node.asDirectory {
      directory.parent = self
      directory.name = name
    }
    return node
  }

  override func entry(after position: Int64) -> DirectoryEntry? {
    let index = Int(max(0, position - 2))
    guard index < names.count else { return nil }
    return DirectoryEntry(
      name: Array(names[index].name.utf8), inode: ProcFileSystem.number(process, serial * 32 + index + 1),
      kind: names[index].item.kind, position: Int64(index) + 3)
  }

  /// The first of some rising numbers that comes after a position, as a directory entry.
  final func numbered(
    _ numbers: [Int], after position: Int64, base: Int64, kind: FileKind
  ) -> DirectoryEntry? {
    for number in numbers where base + Int64(number) > position {
      return DirectoryEntry(
        name: decimal(UInt64(number)), inode: ProcFileSystem.number(number, 1), kind: kind,
        position: base + Int64(number))
    }
    return nil
  }
}

/// The number that a name writes in decimal, as Linux writes it: without leading zeros.
func decimalNumber(_ name: ArraySlice<UInt8>) -> Int? {
  guard let first = name.first, name.count <= 9, first != UInt8(ascii: "0") || name.count == 1 else { return nil }
  var value = 0
  for digit in name {
    guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
    value = value * 10 + Int(digit - UInt8(ascii: "0"))
  }
  return value
}

/// /proc itself.
final class ProcRoot: ProcDirectory {
  /// Positions of processes begin here.
  private static var processBase: Int64 { 256 }

  init(_ tree: ProcFileSystem) {
    super.init(tree, process: 0, names: rootNames, serial: 1)
  }

  override func find(_ name: ArraySlice<UInt8>) throws(Errno) -> Inode? {
    guard let process = decimalNumber(name) else { return try super.find(name) }
    guard tree.information.status(of: process) != nil else { return nil }
    return directory(of: process, names: processNames, Array(name))
  }

  override func entry(after position: Int64) -> DirectoryEntry? {
    if position < ProcRoot.processBase, let entry = super.entry(after: position) { return entry }
    return numbered(
      tree.information.processIdentifiers(), after: max(position, ProcRoot.processBase),
      base: ProcRoot.processBase, kind: .directory)
  }
}

extension ProcDirectory {
  /// The directory of a process, or of one of its tasks.
  fileprivate func directory(of process: Int, names: [ProcName], _ name: [UInt8]) -> DirectoryNode {
    let made = ProcDirectory(tree, process: process, names: names, serial: 1)
    made.parent = self
    made.name = name
    return made
  }
}

/// /proc/PID/task.
final class ProcTasks: ProcDirectory {
  override func find(_ name: ArraySlice<UInt8>) throws(Errno) -> Inode? {
    guard let wanted = decimalNumber(name) else { return nil }
    for task in tree.information.taskIdentifiers(of: process) where task == wanted {
      return directory(of: process, names: taskNames, Array(name))
    }
    return nil
  }

  override func entry(after position: Int64) -> DirectoryEntry? {
    numbered(
      tree.information.taskIdentifiers(of: process), after: position, base: 2, kind: .directory)
  }
}

/// /proc/PID/fd and fdinfo.
final class ProcDescriptors: ProcDirectory {
  private let areDetails: Bool

  init(_ tree: ProcFileSystem, _ process: Int, serial: Int, areDetails: Bool) {
    self.areDetails = areDetails
    super.init(tree, process: process, names: [], serial: serial, permissions: areDetails ? 0o555 : 0o500)
  }

  override func find(_ name: ArraySlice<UInt8>) throws(Errno) -> Inode? {
    guard let descriptor = decimalNumber(name), let table = tree.information.descriptors(of: process),
      table.isOpen(descriptor)
    else { return nil }
    let serial = 0x1000 + descriptor
    if areDetails { return ProcTextNode(tree, process, .descriptor(descriptor), serial: serial << 1) }
    return ProcLinkNode(tree, process, .descriptor(descriptor), serial: serial << 1 | 1)
  }

  override func entry(after position: Int64) -> DirectoryEntry? {
    guard let table = tree.information.descriptors(of: process) else { return nil }
    var descriptor = Int(max(0, position - 2))
    while descriptor < table.end {
      if table.isOpen(descriptor) {
        return DirectoryEntry(
          name: decimal(UInt64(descriptor)), inode: ProcFileSystem.number(process, 0x2000 + descriptor),
          kind: areDetails ? .regular : .symbolicLink, position: Int64(descriptor) + 3)
      }
      descriptor += 1
    }
    return nil
  }
}
