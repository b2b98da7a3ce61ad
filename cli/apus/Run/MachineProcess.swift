// SPDX-License-Identifier: Apache-2.0
// MachineProcess.swift: the emulator as a child process with three pipes.

import CHost
import Glibc

/// A running emulator, which dies with this process.
struct MachineProcess: ~Copyable {
  let identifier: pid_t
  /// Our ends of its standard streams; the first two never block.
  let input: Int32
  let output: Int32
  let error: Int32
  private var status: Int32?

  init(_ line: MachineLine) throws(Failure) {
    let input = try Self.makePipe()
    let output = try Self.makePipe()
    let error = try Self.makePipe()
    let arguments = line.arguments
    let identifier = withCStrings(arguments) { vector in
      chost_spawn(arguments[0], vector, environ, input.read, output.write, error.write)
    }
    close(input.read)
    close(output.write)
    close(error.write)
    guard identifier > 0 else {
      throw Failure(
        sentence: "\(line.emulator) cannot be started: \(describe(errno: -identifier))",
        status: Status.machine)
    }
    self.identifier = identifier
    self.input = input.write
    self.output = output.read
    self.error = error.read
    for descriptor in [self.input, self.output, self.error] { Descriptor.makeNonblocking(descriptor) }
  }

  private static func makePipe() throws(Failure) -> (read: Int32, write: Int32) {
    var ends: [Int32] = [0, 0]
    // Large pipes keep the emulator from waiting for us at each page of output.
    let result = chost_pipe(&ends, 256 << 10)
    guard result == 0 else {
      throw Failure(sentence: "no pipe can be made: \(describe(errno: -result))", status: Status.machine)
    }
    return (ends[0], ends[1])
  }

  /// Its status if it has ended.
  mutating func poll() -> Int32? {
    if let status { return status }
    var raw: Int32 = 0
    if waitpid(identifier, &raw, WNOHANG) == identifier { status = chost_exit_status(raw) }
    return status
  }

  /// Ends it, if it has not, and waits for that.
  mutating func end() {
    guard status == nil else { return }
    kill(identifier, SIGKILL)
    var raw: Int32 = 0
    while waitpid(identifier, &raw, 0) < 0, errno == EINTR {}
    status = chost_exit_status(raw)
  }

  func signal(_ number: Int32) {
    if status == nil { kill(identifier, number) }
  }

  deinit {
    close(input)
    close(output)
    close(error)
  }
}

/// Calls `body` with an argument vector.
func withCStrings<R>(
  _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> R
) -> R {
  var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) } + [nil]
  defer { for pointer in pointers { free(pointer) } }
  return pointers.withUnsafeMutableBufferPointer { buffer in
    // The vector holds at least the closing nil.
    body(buffer.baseAddress.unsafelyUnwrapped)
  }
}
