// SPDX-License-Identifier: Apache-2.0
// ControlSocket.swift: what other commands ask of a running machine: its last output, and its end.
//
// A request is one line; the answer goes on until the other side closes.
//
//     logs [PROGRAM]     what was written lately
//     follow [PROGRAM]   that, and what is written from now on
//     programs           a line for each program: its name and what it does
//     stop [PROGRAM]     `ok`, or a sentence

import CHost
import Glibc

/// What was written lately, as far as it is remembered.
struct OutputMemory {
  private struct Piece {
    let program: String
    let bytes: [UInt8]
  }

  private var pieces: [Piece] = []
  /// Those before are forgotten.
  private var first = 0
  private var byteCount = 0
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  mutating func append(_ bytes: some Collection<UInt8>, of program: String) {
    pieces.append(Piece(program: program, bytes: Array(bytes)))
    byteCount += bytes.count
    while byteCount > limit, first < pieces.count - 1 {
      byteCount -= pieces[first].bytes.count
      first += 1
    }
    // Not one by one: the rest would be moved each time.
    if first > 1024, first * 2 > pieces.count {
      pieces.removeFirst(first)
      first = 0
    }
  }

  /// What a program wrote, or all of them.
  func bytes(of program: String?) -> [UInt8] {
    pieces[first...].filter { program == nil || $0.program == program }.flatMap(\.bytes)
  }
}

/// A request of another command.
struct ControlRequest: Equatable {
  let verb: String
  /// One program of several.
  let program: String?

  init(verb: String, program: String?) {
    self.verb = verb
    self.program = program
  }

  /// Reads a line.
  init?(_ line: String) {
    let words = line.split(separator: " ").map(String.init)
    guard let verb = words.first, words.count <= 2 else { return nil }
    self.init(verb: verb, program: words.count == 2 ? words[1] : nil)
  }

  var line: String { ([verb] + (program.map { [$0] } ?? [])).joined(separator: " ") + "\n" }
}

/// The machine's side: listens, and carries answers to whoever asked.
final class ControlServer {
  private struct Client {
    let descriptor: Int32
    var request: [UInt8] = []
    var answer = ByteQueue()
    var program: String?
    var isFollowing = false
    var isAnswered = false
  }

  private let listener: Int32
  private var clients: [Client] = []

  /// A follower that is so far behind is let go, so that nobody can stop a machine by not reading.
  private static let answerLimit = 4 << 20
  private static let requestLimit = 256

  init(listener: Int32) { self.listener = listener }

  deinit { for client in clients { close(client.descriptor) } }

  /// Everything to wait for.
  var entries: [pollfd] {
    guard listener >= 0 else { return [] }
    return [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
      + clients.map { client in
        let events = (client.isAnswered ? 0 : POLLIN) | (client.answer.isEmpty ? 0 : POLLOUT)
        return pollfd(fd: client.descriptor, events: Int16(events), revents: 0)
      }
  }

  /// Takes what has come.
  ///
  /// - Parameters:
  ///   - ready: The entries, as poll(2) left them.
  ///   - memory: What was written lately.
  ///   - answer: Answers a request; nil: with what is remembered and what follows.
  func step(_ ready: ArraySlice<pollfd>, memory: OutputMemory, answer: (ControlRequest) -> String?) {
    for entry in ready where entry.revents != 0 {
      if entry.fd == listener {
        while true {
          let descriptor = chost_accept(listener)
          guard descriptor >= 0 else { break }
          clients.append(Client(descriptor: descriptor))
        }
      } else if let index = clients.firstIndex(where: { $0.descriptor == entry.fd }) {
        if entry.revents & Int16(POLLIN | POLLHUP) != 0, !clients[index].isAnswered {
          read(index, memory, answer)
        } else if entry.revents & Int16(POLLHUP | POLLERR) != 0 {
          clients[index].isFollowing = false
          clients[index].answer = ByteQueue()
          clients[index].isAnswered = true
        }
      }
    }
    flush()
  }

  private func read(_ index: Int, _ memory: OutputMemory, _ answer: (ControlRequest) -> String?) {
    var buffer = [UInt8](repeating: 0, count: Self.requestLimit)
    let count = Glibc.read(clients[index].descriptor, &buffer, buffer.count)
    if count < 0, errno == EAGAIN || errno == EINTR { return }
    if count > 0 { clients[index].request += buffer[..<count] }
    guard let end = clients[index].request.firstIndex(of: 0x0a) else {
      if count <= 0 || clients[index].request.count >= Self.requestLimit { clients[index].isAnswered = true }
      return
    }
    clients[index].isAnswered = true
    guard let request = ControlRequest(shown(clients[index].request[..<end])) else { return }
    if let text = answer(request) {
      clients[index].answer.append(Array(text.utf8))
      return
    }
    clients[index].program = request.program
    clients[index].answer.append(memory.bytes(of: request.program))
    clients[index].isFollowing = request.verb == "follow"
  }

  /// Something was written.
  func tell(_ bytes: some Collection<UInt8>, of program: String) {
    for index in clients.indices where clients[index].isFollowing {
      guard clients[index].program == nil || clients[index].program == program else { continue }
      clients[index].answer.append(bytes)
      if clients[index].answer.count > Self.answerLimit {
        clients[index].isFollowing = false
        clients[index].answer = ByteQueue()
      }
    }
  }

  /// Writes what the others take, and closes what is done with.
  func flush() {
    for index in clients.indices {
      let descriptor = clients[index].descriptor
      var failed = false
      clients[index].answer.consume { bytes in
        let count = Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        if count >= 0 { return count }
        if errno == EAGAIN || errno == EINTR { return 0 }
        failed = true
        return bytes.count
      }
      if failed { clients[index].isFollowing = false }
    }
    clients.removeAll { client in
      guard client.isAnswered, !client.isFollowing, client.answer.isEmpty else { return false }
      close(client.descriptor)
      return true
    }
  }
}

/// The other command's side.
enum ControlClient {
  /// Asks a machine, and hands on what it answers as it comes.
  ///
  /// - Throws: If the machine does not listen.
  static func ask(_ machine: RunningMachine, _ request: ControlRequest, _ take: ([UInt8]) -> Void) throws(Failure) {
    let descriptor = HostFile.withPath(MachineRegistry.folder(of: machine.name)) {
      chost_connect($0, MachineRegistry.controlName)
    }
    guard descriptor >= 0 else {
      throw Failure(
        sentence: "the machine \(machine.name) cannot be asked: \(describe(errno: -descriptor))",
        status: Status.machine)
    }
    defer { close(descriptor) }
    Descriptor.writeAll(descriptor, Array(request.line.utf8))
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return }
      take(Array(buffer[..<count]))
    }
  }

  /// Asks a machine for a text.
  static func ask(_ machine: RunningMachine, _ request: ControlRequest) throws(Failure) -> String {
    var bytes: [UInt8] = []
    try ask(machine, request) { bytes += $0 }
    return shown(bytes)
  }
}
