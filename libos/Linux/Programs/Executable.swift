// SPDX-License-Identifier: Apache-2.0
// Executable.swift: finding a program and what really runs: the file itself, or a script's interpreter.

import ApusELF
import ApusRuntime
import ApusUnix

/// A program that has been found and checked, and the arguments that it gets.
struct Executable {
  let file: OpenFile
  /// Its absolute path, for /proc/self/exe.
  let path: [UInt8]
  /// What execve was called with (AT_EXECFN).
  let calledPath: [UInt8]
  let program: ELFProgram
  /// The file's user and group, if it is set-user-id or set-group-id.
  let setUser: UInt32?
  let setGroup: UInt32?
  /// What stands before argv[1], instead of argv[0], when a script was called.
  var scriptArguments: [[UInt8]]?

  /// How many scripts may call each other (execve(2): ELOOP).
  private static var scriptDepth: Int { 5 }
  /// How much of a script's first line counts.
  private static var lineLimit: Int { 256 }

  /// Finds what `path` runs.
  ///
  /// - Parameters:
  ///   - task: Who wants to run it.
  ///   - path: What was called.
  ///   - base: The directory that a relative path starts from; nil: the working directory.
  ///   - opened: The file itself, when execveat named a descriptor and no path.
  ///   - followsLast: Whether a symbolic link at the path's end is followed.
  /// - Returns: The program, an interpreter if the path is a script.
  /// - Throws: The errors of execve(2).
  static func find(
    _ task: Task, _ path: [UInt8], base: DirectoryNode? = nil, opened: OpenFile? = nil,
    followsLast: Bool = true
  ) throws(Errno) -> Executable {
    var current = path
    var start = base
    var prefix: [[UInt8]]?
    for _ in 0..<scriptDepth {
      let walker = PathWalker(task.context, task.credentials, base: start)
      let node: Inode
      var place: Place?
      if let opened, prefix == nil {
        node = opened.node
        place = opened.place
      } else {
        let found = try walker.walk(current, followsLast ? .follow : .noFollow)
        guard let there = found.node else { throw .ENOENT }
        node = there
        if found.last == .name { place = Place(directory: found.directory, name: found.name) }
      }
      guard node.kind == .regular else { throw .EACCES }
      try node.check(.execute, task.credentials)
      let file = try node.openProgram(task.opener)
      file.place = place
      let size = min(Int(file.node.size), lineLimit)
      var head = [UInt8](repeating: 0, count: size)
      try read(file, &head, at: 0)
      if head.count >= 2, head[0] == 0x23, head[1] == 0x21 {
        let line = try scriptLine(head)
        // The interpreter's path and option, the script's path; argv[0] is dropped.
        var arguments = [line.interpreter]
        if let option = line.option { arguments.append(option) }
        arguments.append(current)
        if let prefix { arguments += [[UInt8]](prefix[1...]) }
        prefix = arguments
        current = line.interpreter
        start = nil
        continue
      }
      let program = try parse(file, head)
      let permissions = node.mode.permissions
      return Executable(
        file: file, path: walker.path(of: file), calledPath: path, program: program,
        setUser: permissions & FileMode.setUser != 0 ? node.user : nil,
        setGroup: permissions & (FileMode.setGroup | 0o10) == FileMode.setGroup | 0o10
          ? node.group : nil,
        scriptArguments: prefix)
    }
    throw .ELOOP
  }

  private static func read(
    _ file: OpenFile, _ into: inout [UInt8], at offset: Int64
  ) throws(Errno) {
    let wanted = into.count
    var failure: Errno?
    let count = Bytes.withArray(&into) { bytes in
      do throws(Errno) {
        return try file.pread(bytes, at: offset)
      } catch {
        failure = error
        return 0
      }
    }
    if let failure { throw failure }
    guard count == wanted else { throw .ENOEXEC }
  }

  private static func parse(_ file: OpenFile, _ head: [UInt8]) throws(Errno) -> ELFProgram {
    let size = UInt64(max(0, file.node.size))
    do throws(ELFError) {
      let header = try ELFHeader(parsing: head.span, fileSize: size)
      var table = [UInt8](repeating: 0, count: header.programHeaderByteCount)
      do throws(Errno) {
        try read(file, &table, at: Int64(header.programHeaderOffset))
      } catch {
        throw .truncated
      }
      return try ELFProgram(header, table: table.span, fileSize: size)
    } catch {
      throw error == .dynamic ? .ELIBBAD : .ENOEXEC
    }
  }

  /// Why a file cannot be run, for the report about the family's first program.
  static func reason(_ task: Task, _ path: [UInt8]) -> StaticString? {
    do throws(Errno) {
      let node = try PathWalker(task.context, task.credentials).node(path)
      let file = try node.open(.readOnly, task.opener)
      var head = [UInt8](repeating: 0, count: min(Int(node.size), lineLimit))
      try read(file, &head, at: 0)
      do throws(ELFError) {
        let header = try ELFHeader(parsing: head.span, fileSize: UInt64(node.size))
        var table = [UInt8](repeating: 0, count: header.programHeaderByteCount)
        try? read(file, &table, at: Int64(header.programHeaderOffset))
        _ = try ELFProgram(header, table: table.span, fileSize: UInt64(node.size))
        return nil
      } catch {
        return error.reason
      }
    } catch {
      return nil
    }
  }

  private struct ScriptLine {
    let interpreter: [UInt8]
    let option: [UInt8]?
  }

  /// Takes "#! interpreter [option]" apart; all after the interpreter is one argument (execve(2)).
  private static func scriptLine(_ head: [UInt8]) throws(Errno) -> ScriptLine {
    func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
    var end = 2
    while end < head.count, head[end] != 0x0a, head[end] != 0 { end += 1 }
    var start = 2
    while start < end, isBlank(head[start]) { start += 1 }
    var nameEnd = start
    while nameEnd < end, !isBlank(head[nameEnd]) { nameEnd += 1 }
    guard nameEnd > start else { throw .ENOEXEC }
    if nameEnd == head.count, head.count == lineLimit { throw .ENOEXEC }
    var optionStart = nameEnd
    while optionStart < end, isBlank(head[optionStart]) { optionStart += 1 }
    while end > optionStart, isBlank(head[end - 1]) { end -= 1 }
    return ScriptLine(
      interpreter: [UInt8](head[start..<nameEnd]),
      option: optionStart < end ? [UInt8](head[optionStart..<end]) : nil)
  }
}
