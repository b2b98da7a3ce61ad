// SPDX-License-Identifier: Apache-2.0
// FileSupport.swift: what the file calls have in common: descriptors, paths, and the terminal of a process.

import ApusRuntime
import ApusUnix

/// Flags and values that several file calls share (fcntl.h).
enum AtFlags {
  static var workingDirectory: Int { -100 }
  static var noFollow: UInt64 { 0x100 }
  static var effectiveAccess: UInt64 { 0x200 }
  static var removeDirectory: UInt64 { 0x200 }
  static var follow: UInt64 { 0x400 }
  static var noAutomount: UInt64 { 0x800 }
  static var emptyPath: UInt64 { 0x1000 }
}

/// How many bytes of an application's memory a transfer makes present at a time.
let transferChunk = 256 << 10
/// The most that one read or write moves (read(2), NOTES).
let transferLimit = 0x7fff_f000

extension Task {
  /// The open file of a descriptor.
  @inline(__always) func file(_ descriptor: Int) throws(Errno) -> OpenFile {
    try descriptors.file(descriptor)
  }

  /// A path that a program passes.
  func path(_ address: UInt64) throws(Errno) -> [UInt8] { try string(at: address) }

  /// A walker whose relative paths start at a directory's descriptor.
  func walker(_ directory: Int = AtFlags.workingDirectory, _ path: [UInt8]) throws(Errno) -> PathWalker {
    if directory == AtFlags.workingDirectory || path.first == 0x2f || path.isEmpty {
      return PathWalker(context, credentials)
    }
    guard let base = try file(directory).node.asDirectory else { throw .ENOTDIR }
    return PathWalker(context, credentials, base: base.top)
  }

  /// The file that a directory's descriptor and a path name; an empty path may name the descriptor's own file.
  func node(
    _ directory: Int, _ path: [UInt8], follow: Bool, emptyAllowed: Bool = false
  ) throws(Errno) -> Inode {
    if path.isEmpty && emptyAllowed {
      if directory == AtFlags.workingDirectory { return context.working }
      return try file(directory).node
    }
    return try walker(directory, path).node(path, followLast: follow)
  }

  /// The place that a path names, for calls that make, remove or rename.
  func location(_ directory: Int, _ address: UInt64) throws(Errno) -> Location {
    let path = try path(address)
    return try walker(directory, path).walk(path, .name)
  }

  /// The terminal of the process's session.
  var controllingTerminal: Terminal? {
    family.devices?.terminal(ofSession: Int32(process.session))
  }

  /// Lets a process of the background stop before it touches its terminal (termios(3), "job control").
  ///
  /// - Throws: `restart` when a stop signal was sent, `EIO` when none can be.
  func checkForeground(_ terminal: Terminal, signal: Int) throws(Errno) {
    guard terminal.session == Int32(process.session), terminal.foregroundGroup != 0,
      terminal.foregroundGroup != Int32(process.group)
    else { return }
    let isRefused = blocked.contains(signal) || process.actions[signal].isIgnore
    if signal == Signal.terminalOutput && isRefused { return }
    if isRefused || family.isOrphaned(group: process.group) { throw .EIO }
    family.signal(group: process.group, signal)
    throw .restart
  }

  /// A part of the application's memory: all of it, or what can be had from its start.
  ///
  /// - Throws: `EFAULT` if not even the first page can be had.
  func span(_ address: UInt64, _ count: Int, write: Bool) throws(Errno) -> Bytes {
    do throws(Errno) {
      return try memory(at: address, count: count, write: write)
    } catch {
      let toPageEnd = 4096 - Int(address & 4095)
      if toPageEnd >= count { throw error }
      return try memory(at: address, count: toPageEnd, write: write)
    }
  }
}

/// Enters every file call.
func registerFileCalls(_ table: CallTable) {
  registerTransferCalls(table)
  registerOpenCalls(table)
  registerDescriptorCalls(table)
  registerStatusCalls(table)
  registerNameCalls(table)
  registerAttributeCalls(table)
  registerDirectoryCalls(table)
  registerPollCalls(table)
  registerControlCalls(table)
  registerPipeCalls(table)
  registerEventCalls(table)
  registerSignalFileCalls(table)
  registerProcessFileCalls(table)
  registerCopyCalls(table)
  registerFileSystemCalls(table)
}
