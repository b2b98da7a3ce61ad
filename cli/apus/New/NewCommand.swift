// SPDX-License-Identifier: Apache-2.0
// NewCommand.swift: `apus new`: makes a package with a LibOS of its own in the current folder, out of apps/first.

import ArgumentParser
import Glibc

struct New: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make a package with a LibOS of your own, ready to build and run.",
    discussion: """
      A folder of that name is made here. It needs nothing but this installation of Apus, builds with make, and is \
      explained by the chapter "Write your own LibOS" of the book (docs/book).
      """)

  @Argument(help: "What it is to be called: small letters, digits and dashes.")
  var name: String

  func run() throws { throw ExitCode(try execute()) }

  private func execute() throws(Failure) -> Int32 {
    let package = try PackageFiles(named: name, home: try Home().path, folder: HostFile.currentDirectory())
    try package.write()
    Diagnostics.tell(
      """
      \(name) is made. Next:

          cd \(name)
          make
          \(shown(package.home))/apus run --libos build/\(name).elf

      LibOS.swift is the LibOS, Application.swift what runs on it. What they do, line by line:
      \(shown(package.home))/docs/book/19-write-your-own-libos.md
      """)
    return 0
  }
}

/// The files of a new package.
struct PackageFiles {
  let name: String
  /// The installation of Apus that it builds with.
  let home: Path
  /// The package's own folder.
  let folder: Path
  private let files: [(name: String, contents: [UInt8])]

  static let template = "/apps/first"

  /// Reads the template.
  ///
  /// - Parameters:
  ///   - name: The package's name.
  ///   - home: Where Apus is.
  ///   - folder: In which folder the package's own is to be.
  /// - Throws: What is wrong with the name or a path.
  init(named name: String, home: Path, folder: Path) throws(Failure) {
    guard Self.isName(name) else {
      throw Failure(
        sentence: "'\(name)' is no name for a package: it takes a small letter, then small letters, digits and dashes, "
          + "at most 32 in all",
        status: Status.usage)
    }
    for path in [home, folder] {
      guard path.allSatisfy(Self.isPlain) else {
        throw Failure(
          sentence: "make cannot build in \(shown(path)): its path has a blank or a sign that means something to make; "
            + "choose another folder",
          status: Status.usage)
      }
    }
    self.name = name
    self.home = home
    self.folder = PathWalk.tidied(folder + Path("/\(name)".utf8))
    let template = home + Path(Self.template.utf8)
    do throws(HostError) {
      var files: [(name: String, contents: [UInt8])] = []
      for file in try HostFile.names(in: template) {
        let text = shown(try HostFile.contents(template + [HostFile.slash] + file))
        files.append((shown(file), Array(Self.filled(text, name: name, home: shown(home)).utf8)))
      }
      self.files = files
    } catch {
      throw Failure(
        sentence: "the template \(shown(template)) cannot be read: \(error.words)", status: Status.machine)
    }
  }

  static func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, (0x61...0x7a).contains(first), text.utf8.count <= 32 else { return false }
    return text.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d }
  }

  /// Whether make and a shell take a byte of a path for what it is.
  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x2f, 0x5f, 0x2b, 0x2c, 0x40, 0x80...: true
    default: false
    }
  }

  /// A file of the template, with what it leaves open.
  static func filled(_ text: String, name: String, home: String) -> String {
    var result = ""
    var rest = text[...]
    while let mark = rest.firstIndex(of: "@") {
      result += rest[..<mark]
      rest = rest[mark...]
      if rest.hasPrefix("@NAME@") {
        result += name
        rest = rest.dropFirst(6)
      } else if rest.hasPrefix("@HOME@") {
        result += home
        rest = rest.dropFirst(6)
      } else {
        result += "@"
        rest = rest.dropFirst()
      }
    }
    return result + rest
  }

  /// Makes the folder and its files; what is there already stays as it is.
  func write() throws(Failure) {
    guard HostFile.withPath(folder, { mkdir($0, 0o777) }) == 0 else {
      guard errno != EEXIST else {
        throw Failure(
          sentence: "\(name) is here already and was left alone; choose another name or another folder",
          status: Status.usage)
      }
      throw Failure(sentence: "\(shown(folder)) cannot be made: \(describe(errno: errno))", status: Status.machine)
    }
    for file in files { try BenchFile.write(file.contents, to: shown(folder) + "/" + file.name) }
  }
}
