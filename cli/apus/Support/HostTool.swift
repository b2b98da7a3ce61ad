// SPDX-License-Identifier: Apache-2.0
// HostTool.swift: runs a tool of the host and takes what it says.

import CHost
import Glibc

/// What a finished tool left.
struct ToolResult {
  let status: Int32
  let output: [UInt8]

  var text: String { shown(output) }
  var firstLine: String { text.split(separator: "\n").first.map(String.init) ?? "" }
}

enum HostTool {
  /// Runs a program found in PATH to its end; nil if there is none.
  ///
  /// Both output streams are taken together.
  static func run(_ arguments: [String], directory: Path? = nil) -> ToolResult? {
    let descriptor = chost_nameless_file("/tmp")
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    let identifier = start(arguments, directory: directory, output: descriptor, error: descriptor)
    guard identifier > 0 else { return nil }
    var raw: Int32 = 0
    while waitpid(identifier, &raw, 0) < 0, errno == EINTR {}
    return ToolResult(status: chost_exit_status(raw), output: contents(descriptor))
  }

  /// Starts a program found in PATH; a failure is minus an error number.
  ///
  /// Standard input is empty unless given.
  static func start(
    _ arguments: [String], environment: [String]? = nil, directory: Path? = nil, input: Int32 = -1,
    output: Int32, error: Int32
  ) -> pid_t {
    withCStrings(arguments) { vector in
      func spawn(_ variables: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) -> pid_t {
        guard let directory else {
          return chost_spawn(arguments[0], vector, variables, input, output, error)
        }
        return HostFile.withPath(directory) {
          chost_spawn_at(arguments[0], vector, variables, input, output, error, $0, 0)
        }
      }
      guard let environment else { return spawn(environ) }
      return withCStrings(environment) { spawn($0) }
    }
  }

  /// Everything in an open file.
  static func contents(_ descriptor: Int32) -> [UInt8] {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { return [] }
    return Descriptor.read(descriptor, at: 0, limit: Int(status.st_size)) ?? []
  }
}
