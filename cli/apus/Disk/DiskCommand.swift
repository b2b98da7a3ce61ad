// SPDX-License-Identifier: Apache-2.0
// DiskCommand.swift: `apus disk`: what is on a disk's image, and who owns which block.

import ArgumentParser

struct DiskCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "disk",
    abstract: "Explain the blocks of a disk's image.",
    discussion: "An image is a disk that XN shares out, or an ext2 file system. Nothing is ever written to it.",
    subcommands: [Check.self, Map.self])

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Find out who owns what, as the kernel does after a crash.",
      discussion: """
        Of XN: from the roots, each template's program tells what its blocks own; programs are verified first. Of ext2: \
        what superblock and bitmaps say; e2fsck judges. Ends with status 1 if something is wrong.
        """)

    @Flag(help: "Explain each block.")
    var blocks = false

    @Argument(help: "The image's file.")
    var image: String

    func run() throws {
      let contents = try DiskContents.of(try DiskImage(image))
      Diagnostics.tell(contents.title)
      for line in contents.details + contents.summary + (blocks ? contents.extents : []) { Diagnostics.tell(line) }
      for problem in contents.problems { Diagnostics.tell("wrong: " + problem) }
      if !contents.problems.isEmpty { throw ExitCode(1) }
    }
  }

  struct Map: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show who owns which block: letters for data, capitals for metadata, # structures, . free.")

    @Option(help: ArgumentHelp("Draw it into this file.", valueName: "file"))
    var svg: String?

    @Argument(help: "The image's file.")
    var image: String

    func run() throws {
      let map = DiskMap(contents: try DiskContents.of(try DiskImage(image)))
      if let svg { return try SeeingFile.write(map.svg, to: svg) }
      for line in map.lines { Diagnostics.tell(line) }
    }
  }
}
