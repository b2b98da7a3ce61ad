// SPDX-License-Identifier: Apache-2.0
// LocalQueue.swift: messages that wait in a local socket, and the names that such sockets have beside the file tree.

import ApusRuntime

/// One message, or one write to a stream.
final class LocalMessage {
  let bytes: [UInt8]
  /// How many bytes of it were read already.
  var offset = 0
  /// Open files on their way, acquired by the message.
  private(set) var rights: [OpenFile]
  let credentials: PeerCredentials
  /// The sender's name.
  let source: SocketAddress

  init(_ bytes: [UInt8], rights: [OpenFile], _ credentials: PeerCredentials, from source: SocketAddress) {
    self.bytes = bytes
    self.rights = rights
    self.credentials = credentials
    self.source = source
    for file in rights { file.acquire() }
  }

  var rest: Int { bytes.count - offset }
  /// What it takes of a sender's buffer: about what Linux counts for its own structures and the bytes.
  var cost: Int { 768 + max(0, bytes.count - 192) }

  /// Copies what is left, as far as it fits.
  func copy(into target: Bytes, at position: Int) -> Int {
    let count = min(rest, target.count - position)
    guard count > 0 else { return 0 }
    if offset == 0 && count == bytes.count {
      target.copy(bytes, to: position)
    } else {
      bytes.withSpan { span in
        for index in 0..<count { target[position + index] = span[offset + index] }
      }
    }
    return count
  }

  /// Gives the files to a receiver: with the message's own references, or with new ones.
  func giveRights(keeping: Bool) -> [OpenFile] {
    let given = rights
    if keeping {
      for file in given { file.acquire() }
    } else {
      rights = []
    }
    return given
  }

  /// Nobody will receive it.
  func discard() {
    let dropped = rights
    rights = []
    for file in dropped { file.release() }
  }
}

extension [UInt8] {
  /// Calls `body` with the elements.
  fileprivate func withSpan(_ body: (Span<UInt8>) -> Void) { body(span) }
}

/// Messages in the order of their arrival.
struct LocalQueue {
  private var messages: [LocalMessage?] = []
  private var first = 0
  /// Bytes in all of them.
  private(set) var byteCount = 0
  /// What all of them take of a sender's buffer.
  private(set) var cost = 0

  /// How many there are.
  var count: Int { messages.count - first }
  var isEmpty: Bool { count == 0 }

  /// The message that is `index` behind the first one.
  subscript(index: Int) -> LocalMessage? { first + index < messages.count ? messages[first + index] : nil }

  mutating func append(_ message: LocalMessage) {
    messages.append(message)
    byteCount += message.rest
    cost += message.cost
  }

  /// Notes that bytes of the first message have been read.
  mutating func consume(_ count: Int) {
    guard let message = self[0] else { return }
    message.offset += count
    byteCount -= count
  }

  /// Takes the first message out.
  mutating func removeFirst() {
    guard let message = self[0] else { return }
    byteCount -= message.rest
    cost -= message.cost
    messages[first] = nil
    first += 1
    // Not at once, so that taking one stays cheap.
    if first == messages.count {
      messages.removeAll(keepingCapacity: true)
      first = 0
    } else if first >= 64 && first * 2 >= messages.count {
      messages.removeFirst(first)
      first = 0
    }
  }

  /// Takes everything out, unreceived.
  mutating func discardAll() {
    while let message = self[0] {
      removeFirst()
      message.discard()
    }
  }
}

/// A local socket's place in the file tree.
public final class SocketNode: Inode {
  /// The socket that was bound here; nil: it is gone.
  var socket: LocalSocket?

  public override var asSocketNode: SocketNode? { self }
}

/// The names of local sockets that are not in the file tree (unix(7), "Abstract sockets").
public final class LocalNames {
  private struct Entry {
    let name: [UInt8]
    let socket: LocalSocket
  }

  private var entries: [Entry] = []
  private var lastAutomatic = 0

  /// No names.
  public init() {}

  /// The socket of a name and a type: each type has names of its own.
  func find(_ name: [UInt8], _ type: SocketType) -> LocalSocket? {
    for entry in entries where entry.name == name && entry.socket.type == type { return entry.socket }
    return nil
  }

  func add(_ name: [UInt8], _ socket: LocalSocket) throws(Errno) {
    guard find(name, socket.type) == nil else { throw .EADDRINUSE }
    entries.append(Entry(name: name, socket: socket))
  }

  func remove(_ socket: LocalSocket) {
    for index in entries.indices where entries[index].socket === socket {
      entries.remove(at: index)
      return
    }
  }

  /// A name of five hexadecimal digits that nobody has (unix(7), "Autobind feature").
  func makeAutomatic(_ type: SocketType) -> [UInt8] {
    while true {
      lastAutomatic = (lastAutomatic + 1) & 0xfffff
      var name: [UInt8] = []
      for shift in [16, 12, 8, 4, 0] {
        let digit = UInt8(lastAutomatic >> shift & 15)
        name.append(digit < 10 ? 0x30 + digit : 0x57 + digit)
      }
      if find(name, type) == nil { return name }
    }
  }
}
