// SPDX-License-Identifier: Apache-2.0
// ProcNodes.swift: the links and the text files of /proc.

import ApusRuntime

/// What a link of a process's directory stands for.
enum ProcLink {
  case executable
  case working
  case root
  case descriptor(Int)
}

/// A link that leads to the file itself and not to a path.
final class ProcLinkNode: SymbolicLinkNode {
  private let tree: ProcFileSystem
  private let process: Int
  private let link: ProcLink

  init(_ tree: ProcFileSystem, _ process: Int, _ link: ProcLink, serial: Int) {
    self.tree = tree
    self.process = process
    self.link = link
    super.init(
      tree.fileSystem, target: [], owner: tree.owner(process), number: ProcFileSystem.number(process, serial))
    linkCount = 1
    if case .descriptor(let descriptor) = link, let file = openFile(descriptor) {
      // The owner's bits say how the descriptor was opened.
      mode.permissions = (file.isReadable ? 0o500 : 0o100) | (file.isWritable ? 0o200 : 0)
    }
  }

  private func openFile(_ descriptor: Int) -> OpenFile? {
    guard let table = tree.information.descriptors(of: process), table.isOpen(descriptor) else { return nil }
    do throws(Errno) { return try table.file(descriptor) } catch { return nil }
  }

  override func target() throws(Errno) -> [UInt8] {
    guard let context = tree.information.context(of: process) else { throw .ENOENT }
    switch link {
    case .executable:
      let path = tree.information.executable(of: process)
      if path.isEmpty { throw .ENOENT }
      return path
    case .working: return try context.path(of: context.working)
    case .root: return bytes("/")
    case .descriptor(let descriptor):
      guard let file = openFile(descriptor) else { throw .ENOENT }
      return context.path(of: file)
    }
  }

  override func targetNode() throws(Errno) -> Inode? {
    switch link {
    case .executable: return nil
    case .working: return tree.information.context(of: process)?.working
    case .root: return tree.information.context(of: process)?.root
    case .descriptor(let descriptor): return openFile(descriptor)?.node
    }
  }
}

/// /proc/self and what leads through it.
final class ProcSelfLink: SymbolicLinkNode {
  private let tree: ProcFileSystem
  private let rest: String

  init(_ tree: ProcFileSystem, _ rest: String, serial: Int) {
    self.tree = tree
    self.rest = rest
    super.init(tree.fileSystem, target: [], owner: Credentials(), number: ProcFileSystem.number(0, serial))
    linkCount = 1
  }

  override func target() throws(Errno) -> [UInt8] {
    let process = decimal(UInt64(tree.information.currentProcess()))
    if rest.isEmpty { return process }
    if bytes(rest) == bytes("task") {
      return process + bytes("/task/") + decimal(UInt64(tree.information.currentTask()))
    }
    return bytes("self/") + bytes(rest)
  }
}

/// A file of /proc.
final class ProcTextNode: Inode {
  private let tree: ProcFileSystem
  private let process: Int
  private let text: ProcText

  init(_ tree: ProcFileSystem, _ process: Int, _ text: ProcText, serial: Int) {
    self.tree = tree
    self.process = process
    self.text = text
    super.init(
      tree.fileSystem, FileMode(.regular, text.permissions),
      owner: process == 0 ? Credentials() : tree.owner(process),
      number: ProcFileSystem.number(process, serial))
    linkCount = 1
  }

  /// Programs open some files of /proc with O_TRUNC before they write.
  override func truncate(to size: Int64) throws(Errno) {}

  override func open(_ flags: OpenFlags, _ opener: Opener) throws(Errno) -> OpenFile {
    guard let contents = text.contents(tree.information, process) else { throw .ESRCH }
    return ProcTextFile(self, contents, flags, ignoresWrites: text.ignoresWrites)
  }
}

/// An open file of /proc: its text as it was when it was opened.
final class ProcTextFile: OpenFile {
  private var contents: [UInt8]
  private let ignoresWrites: Bool

  init(_ node: Inode, _ contents: [UInt8], _ flags: OpenFlags, ignoresWrites: Bool) {
    self.contents = contents
    self.ignoresWrites = ignoresWrites
    super.init(node, flags)
  }

  override var isSeekable: Bool { true }
  override var isPollable: Bool { false }

  override func read(_ into: Bytes) throws(Errno) -> Int {
    let count = try pread(into, at: offset)
    offset += Int64(count)
    return count
  }

  override func pread(_ into: Bytes, at position: Int64) throws(Errno) -> Int {
    guard position < contents.count else { return 0 }
    let start = Int(position)
    let count = min(into.count, contents.count - start)
    return Bytes.withArray(&contents) { all in
      into.copy(all.part(start, count))
      return count
    }
  }

  override func write(_ from: Bytes) throws(Errno) -> Int {
    guard ignoresWrites else { throw .EINVAL }
    return from.count
  }

  override func pwrite(_ from: Bytes, at position: Int64) throws(Errno) -> Int { try write(from) }
}
