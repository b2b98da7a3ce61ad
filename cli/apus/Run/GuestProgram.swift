// SPDX-License-Identifier: Apache-2.0
// GuestProgram.swift: a program with its file tree and its start command, and the boot image made of them.

import ApusImage
import Glibc

/// A program that is to run in a family of its own.
struct GuestProgram {
  /// argv; the first word names the program.
  var words: [[UInt8]]
  /// The LibOS that runs it.
  var libos: Path = []
  /// The first word is no program: the LibOS makes of the words what it likes.
  var isBare = false
  /// The host's folder that becomes its file system; empty: only the program itself is there.
  var root: Path = []
  var workdir: String?
  /// NAME=value, beside what every program gets.
  var environment: [String] = []
  /// TERM, at a terminal.
  var terminalType: String?
  /// Further files of the host: regular ones.
  var files: [(guest: Path, host: Path)] = []
  /// Settings of the start command.
  var settings: [(String, String)] = []

  init(words: [[UInt8]]) { self.words = words }

  /// The folder that a text names, symbolic links followed.
  static func directory(_ text: String, called name: String) throws(Failure) -> Path {
    let path = PathWalk.tidied(Path(text.utf8))
    do throws(PathError) {
      let walk = try PathWalk(root: [], path: path)
      guard case .directory? = walk.steps.last else { throw .notDirectory(path) }
      return walk.resolved
    } catch {
      throw Failure(sentence: "\(name) is no directory", status: Status.usage)
    }
  }

  /// Packs the program's boot image.
  ///
  /// - Parameters:
  ///   - keptAt: Where it is left for later; nil: without a name.
  ///   - limit: How much file data a machine has room for.
  ///   - isRepeatable: Whether wall clock and random seed are the same each time.
  /// - Returns: The image.
  /// - Throws: Why the program cannot be found, run or packed.
  func pack(keptAt: Path?, limit: Memory, isRepeatable: Bool) throws(Failure) -> ImageFile {
    let program = isBare ? nil : try Program(named: words[0], root: root)
    let tree = try fileTree(program, limit)
    var all = settings
    if let workdir { all.append(("workdir", shown(Self.absolute(workdir)))) }
    all += isRepeatable ? Self.repeatable : Self.moment()
    let command = StartCommand(
      settings: all.map { .init(key: Array($0.0.utf8), value: Array($0.1.utf8)) },
      program: program?.path ?? words[0], arguments: words, environment: variables())
    return try ImageFile(libos: libos, tree: tree, command: command, keptAt: keptAt)
  }

  private static func absolute(_ path: String) -> Path { PathWalk.tidied([HostFile.slash] + Path(path.utf8)) }

  private func fileTree(_ program: Program?, _ limit: Memory) throws(Failure) -> FileTree {
    var tree = FileTree()
    // First, so that they stand in the place of what a root has there.
    for (guest, host) in files {
      do {
        var facts = try HostFile.facts(host)
        if facts.isSymbolicLink { facts = try HostFile.facts(PathWalk(root: [], path: PathWalk.tidied(host)).resolved) }
        guard facts.isRegular else { throw HostError(number: EISDIR) }
        tree.addFile(PathWalk.tidied(guest), from: host, facts)
      } catch {
        throw Failure(sentence: "\(shown(host)) is no file that can be packed", status: Status.usage)
      }
    }
    if root.isEmpty {
      tree.addSkeleton(withAccounts: true)
      for path in program.map({ [$0.path] + $0.interpreters }) ?? [] {
        do {
          tree.addWalk(try PathWalk(root: [], path: path))
        } catch {
          throw Failure(sentence: "\(shown(path)) went away while it was packed", status: Status.machine)
        }
      }
      if let workdir { tree.addDirectory(Self.absolute(workdir)) }
    } else {
      try tree.addTree(root, limit: limit.bytes)
      if !isBare { tree.addSkeleton(withAccounts: false) }
      if let first = tree.skipped.first {
        let others = tree.skipped.count - 1
        Diagnostics.say(
          "not packed, as it is a device, a socket, a pipe or another file system: \(shown(root + first))"
            + (others > 0 ? " and \(others) more like it" : ""))
      }
      if let workdir, !tree.contains(Self.absolute(workdir)) {
        throw Failure(
          sentence: "--workdir \(workdir): there is no such directory in \(shown(root))", status: Status.usage)
      }
    }
    return tree
  }

  /// The wall clock and random bytes of counted runs, which are then the same to the instruction.
  static let repeatable = [("epoch", "1700000000000000000"), ("seed", String(repeating: "5a", count: 32))]

  private static func moment() -> [(String, String)] {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    var generator = SystemRandomNumberGenerator()
    let digits = Array("0123456789abcdef".utf8)
    let seed = (0..<64).map { _ in digits[Int(generator.next() & 15)] }
    return [("epoch", String(Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))), ("seed", shown(seed))]
  }

  private func variables() -> [[UInt8]] {
    var variables: [(name: String, text: String)] = []
    func set(_ text: String) {
      let name = String(text.prefix { $0 != "=" })
      variables.removeAll { $0.name == name }
      variables.append((name, text))
    }
    set("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    set("HOME=/root")
    if let terminalType { set("TERM=" + terminalType) }
    for text in environment { set(text) }
    return variables.map { Array($0.text.utf8) }
  }
}
