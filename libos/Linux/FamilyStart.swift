// SPDX-License-Identifier: Apache-2.0
// FamilyStart.swift: the files and standard descriptors that a family starts with.

import ApusRuntime
import ApusUnix

/// What the first process gets.
struct FamilyStart {
  let files: RamFileSystem
  let devices: Devices
  let context: FileContext
  let descriptors: DescriptorTable

  /// Fills the root from the boot image and connects the host's streams.
  init(_ family: Family, _ image: Bytes, _ command: StartCommand) throws(Errno) {
    files = RamFileSystem()
    try files.fill(from: image)
    try files.furnish()
    try mountProcesses(family, files)
    let console = HostConsole(
      files.fileSystem, terminalStreams: UInt32(truncatingIfNeeded: command.number("terminal") ?? 0),
      size: WindowSize(
        rows: UInt16(truncatingIfNeeded: command.number("rows") ?? 24),
        columns: UInt16(truncatingIfNeeded: command.number("columns") ?? 80)))
    let signals = ConsoleSignals(family)
    console.setDelegate(signals)
    console.terminal?.setDelegate(signals)
    let terminals = PathWalker(FileContext(root: files.root, working: files.root), Credentials())
    let pseudoTerminals = PseudoTerminals(try terminals.directory(ascii("/dev/pts")))
    pseudoTerminals.setDelegate(signals)
    devices = Devices(console: console, pseudoTerminals: pseudoTerminals)
    context = FileContext(root: files.root, working: files.root)
    let walker = PathWalker(context, Credentials())
    if let workdir = command.setting("workdir") {
      context.working = try files.makeDirectories(workdir)
    }
    descriptors = DescriptorTable(limit: 1024)
    let node = try walker.node(ascii("/dev/console"))
    for stream in 0..<3 {
      _ = try descriptors.add(console.standardFile(stream, terminalNode: node))
    }
  }
}
