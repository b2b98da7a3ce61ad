// SPDX-License-Identifier: Apache-2.0
// Program.swift: which file the user means, and whether Apus can run it.

import Glibc

/// A program that was found and looks runnable.
struct Program {
  /// Its path in the guest.
  let path: Path
  /// The same with symbolic links followed, in the guest.
  let resolved: Path
  /// What a script is run by, as often as a script's interpreter is itself a script.
  let interpreters: [Path]

  /// The folders that a name without a slash is looked for in, inside a root.
  private static let guestFolders = [
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
  ]

  /// Finds a program on the host, or inside `root` if that is not empty, and checks that it can run.
  init(named name: [UInt8], root: Path) throws(Failure) {
    let path = try Self.find(name, root: root)
    var next = path
    var interpreters: [Path] = []
    var resolved = path
    while true {
      let walk = try Self.walk(next, root: root, named: name, interpreter: !interpreters.isEmpty)
      if interpreters.isEmpty { resolved = walk.resolved }
      let subject =
        interpreters.isEmpty ? shown(name) : "\(shown(next)), which is to run \(shown(name)),"
      guard let interpreter = try Self.check(walk, root: root, subject: subject) else { break }
      // Linux gives up at the fifth (execve(2)).
      guard interpreters.count < 4 else {
        throw Failure(
          sentence: "\(shown(name)): its interpreters are scripts themselves, more than four deep",
          status: Status.notRunnable)
      }
      interpreters.append(interpreter)
      next = interpreter
    }
    self.path = path
    self.resolved = resolved
    self.interpreters = interpreters
  }

  private static func find(_ name: [UInt8], root: Path) throws(Failure) -> Path {
    guard !name.isEmpty else {
      throw Failure(sentence: "the program's name is empty", status: Status.usage)
    }
    if !root.isEmpty {
      if name.contains(HostFile.slash) {
        return PathWalk.join(PathWalk.components(name).filter { $0 != [0x2e] })
      }
      for folder in guestFolders.map({ Path($0.utf8) }) + [[]] {
        let candidate = folder + [HostFile.slash] + name
        if let walk = try? PathWalk(root: root, path: candidate), case .file = walk.last {
          return candidate
        }
      }
      throw Failure(
        sentence: "\(shown(name)) is in none of \(guestFolders.joined(separator: ", ")) of \(shown(root))",
        status: Status.notFound)
    }
    if name.contains(HostFile.slash) { return PathWalk.tidied(name) }
    let here = PathWalk.tidied(name)
    if let walk = try? PathWalk(root: [], path: here), case .file = walk.last { return here }
    if let found = HostFile.findProgram(name) { return PathWalk.tidied(found) }
    throw Failure(
      sentence: "\(shown(name)) was found neither here nor in the folders of PATH",
      status: Status.notFound)
  }

  private static func walk(
    _ path: Path, root: Path, named name: [UInt8], interpreter: Bool
  ) throws(Failure) -> PathWalk {
    let subject = interpreter ? "\(shown(path)), which is to run \(shown(name))," : shown(name)
    let place = root.isEmpty ? "" : " in \(shown(root))"
    do throws(PathError) {
      return try PathWalk(root: root, path: path)
    } catch {
      switch error {
      case .missing(let part):
        let detail = part == path ? "" : ": there is no \(shown(part))"
        throw Failure(
          sentence: "\(subject) does not exist\(place)\(detail)",
          status: interpreter ? Status.notRunnable : Status.notFound)
      case .notDirectory(let part):
        throw Failure(
          sentence: "\(subject) does not exist\(place): \(shown(part)) is no directory",
          status: Status.notFound)
      case .tooManyLinks:
        throw Failure(
          sentence: "\(subject) is behind more than 40 symbolic links", status: Status.notRunnable)
      case .host(let part, let reason):
        throw Failure(
          sentence: "\(subject) cannot be reached: \(shown(part)): \(reason.words)",
          status: Status.notRunnable)
      }
    }
  }

  /// Checks the file at the end of a walk; returns a script's interpreter.
  private static func check(_ walk: PathWalk, root: Path, subject: String) throws(Failure) -> Path? {
    func refuse(_ reason: String) -> Failure {
      Failure(sentence: "\(subject) \(reason)", status: Status.notRunnable)
    }
    guard case .file(let place, let facts)? = walk.last else { throw refuse("is a directory, not a program") }
    guard facts.isRegular else { throw refuse("is not a regular file") }
    guard facts.mode & 0o111 != 0 else {
      throw refuse("is not executable; make it so with: chmod +x \(shown(root + place))")
    }
    let descriptor: Int32
    do { descriptor = try HostFile.open(root + place) } catch {
      throw refuse("cannot be read: \(error.words)")
    }
    defer { close(descriptor) }
    guard let start = Descriptor.read(descriptor, at: 0, limit: 256) else {
      throw refuse("cannot be read: \(describe(errno: errno))")
    }
    guard !start.isEmpty else { throw refuse("is empty") }
    if start.starts(with: [0x23, 0x21]) {
      let blanks: [UInt8] = [0x20, 0x09]
      let line = start.dropFirst(2).prefix { $0 != 0x0a && $0 != 0 }
      let interpreter = Path(line.drop { blanks.contains($0) }.prefix { !blanks.contains($0) && $0 != 0x0d })
      guard !interpreter.isEmpty else { throw refuse("starts with #! but names no interpreter") }
      guard interpreter.first == HostFile.slash else {
        throw refuse("names an interpreter that is no absolute path: \(shown(interpreter))")
      }
      return interpreter
    }
    guard start.starts(with: ElfFile.magic.prefix(start.count)) else {
      throw refuse("is no program: it starts neither with an ELF header nor with #!")
    }
    do throws(NotRunnable) {
      try ElfFile(descriptor: descriptor, size: facts.size).checkStatic()
    } catch {
      throw refuse(error.reason)
    }
    return nil
  }
}
