// SPDX-License-Identifier: Apache-2.0
// LocalSocketTests.swift: sockets within the machine (unix(7)).

import ApusRuntime
import Testing

@testable import ApusUnix

/// Sockets of one tree, and a caller.
struct LocalSockets {
  let tree = Tree()
  let names = LocalNames()
  let fileSystem = FileSystem(device: 8, typeName: "sockfs", magic: 0)
  let me = PeerCredentials(process: 7, user: 0, group: 0)

  var caller: SocketCaller { SocketCaller(walker: tree.walker, credentials: me) }

  func make(_ type: SocketType) -> LocalSocket {
    let socket = LocalSocket(fileSystem, names, type, .readOnly, owner: Credentials())
    socket.acquire()
    return socket
  }

  func pair(_ type: SocketType) -> (LocalSocket, LocalSocket) {
    let pair = LocalSocket.makePair(fileSystem, names, type, .readOnly, owner: Credentials(), me)
    pair.0.acquire()
    pair.1.acquire()
    return pair
  }
}

extension Socket {
  /// Receives at most `count` bytes.
  func get(_ count: Int, _ flags: MessageFlags = .none) throws(Errno) -> (bytes: [UInt8], message: IncomingMessage) {
    var buffer = [UInt8](repeating: 0xee, count: count)
    let result: Result<IncomingMessage, Errno> = Bytes.withArray(&buffer) { bytes in
      do throws(Errno) { return .success(try self.receive(bytes, flags)) } catch { return .failure(error) }
    }
    let message = try result.get()
    return (Array(buffer[..<message.count]), message)
  }

  /// Sends bytes, perhaps with files.
  func say(_ text: String, _ rights: [OpenFile] = [], to destination: SocketAddress? = nil) throws(Errno) -> Int {
    var buffer = ascii(text)
    var message = OutgoingMessage(PeerCredentials(process: 7, user: 0, group: 0))
    message.rights = rights
    message.destination = destination
    let result: Result<Int, Errno> = Bytes.withArray(&buffer) { bytes in
      do throws(Errno) { return .success(try self.send(bytes, message)) } catch { return .failure(error) }
    }
    return try result.get()
  }
}

@Suite struct LocalSocketTests {
  private let sockets = LocalSockets()

  @Test func aStreamKeepsOrderAndNotBoundaries() throws {
    let (one, other) = sockets.pair(.stream)
    #expect(try one.say("ab") == 2)
    #expect(try one.say("cdef") == 4)
    #expect(try other.get(3, .peek).bytes == ascii("abc"))
    #expect(try other.get(3).bytes == ascii("abc"))
    #expect(try other.get(9).bytes == ascii("def"))
    #expect(throws: Errno.EAGAIN) { try other.get(1) }
  }

  @Test func aFullStreamWakesItsWriterWhenItIsRead() throws {
    let (one, other) = sockets.pair(.stream)
    let block = [UInt8](repeating: 1, count: 50_000)
    var sent = 0
    while let count = try? one.put(block) { sent += count }
    #expect(sent == one.settings.sendBuffer)
    #expect(!one.poll().intersects(.writable))
    let waiter = CountingWaiter()
    one.writeQueue.add(waiter)
    _ = try other.get(1000)
    #expect(waiter.count == 0)
    var got = 1000
    while got < sent { got += try other.get(60_000).bytes.count }
    #expect(waiter.count > 0)
    #expect(one.poll().intersects(.writable))
  }

  @Test func theEndAndItsErrors() throws {
    let (one, other) = sockets.pair(.stream)
    _ = try one.say("last")
    one.release()
    #expect(try other.get(9).bytes == ascii("last"))
    #expect(try other.get(9).bytes == [])
    #expect(throws: Errno.EPIPE) { try other.say("x") }
    let (three, four) = sockets.pair(.stream)
    _ = try three.say("unread")
    four.release()
    #expect(throws: Errno.ECONNRESET) { try three.get(1) }
    #expect(try three.get(1).bytes == [])
  }

  @Test func datagramsAreWholeOrCut() throws {
    let (one, other) = sockets.pair(.datagram)
    _ = try one.say("first")
    _ = try one.say("second")
    let cut = try other.get(2)
    #expect(cut.bytes == ascii("fi") && cut.message.fullCount == 5 && cut.message.flags == .truncated)
    #expect(try other.get(99).bytes == ascii("second"))
    var count = 0
    while (try? one.say("x")) != nil { count += 1 }
    // As many as Linux's structures for them fit into the sender's buffer.
    #expect(count == 278)
    #expect(!one.poll().intersects(.writable))
    let waiter = CountingWaiter()
    one.writeQueue.add(waiter)
    _ = try other.get(1)
    #expect(waiter.count > 0)
    other.release()
    #expect(throws: Errno.ECONNREFUSED) { try one.say("x") }
    #expect(throws: Errno.ENOTCONN) { try one.say("x") }
  }

  @Test func aNamedReceiverTakesFewDatagrams() throws {
    let receiver = sockets.make(.datagram)
    try receiver.bind(.abstract(ascii("d")), sockets.caller)
    let sender = sockets.make(.datagram)
    try sender.connect(.abstract(ascii("d")), sockets.caller)
    var count = 0
    while (try? sender.say("x")) != nil { count += 1 }
    #expect(count == LocalSocket.datagramLimit)
    #expect(!sender.poll().intersects(.writable))
    let waiter = CountingWaiter()
    sender.writeQueue.add(waiter)
    _ = try receiver.get(1)
    #expect(waiter.count == 1)
    #expect(sender.poll().intersects(.writable))
  }

  @Test func namesLeadToListeners() throws {
    for address in [SocketAddress.path(ascii("/s")), .abstract(ascii("s"))] {
      let server = sockets.make(.stream)
      let client = sockets.make(.stream)
      #expect(throws: (any Error).self) { try client.connect(address, sockets.caller) }
      try server.bind(address, sockets.caller)
      #expect(throws: Errno.ECONNREFUSED) { try client.connect(address, sockets.caller) }
      try server.listen(0, sockets.caller)
      try client.connect(address, sockets.caller)
      #expect(try client.say("early") == 5)
      #expect(client.peerCredentials == sockets.me)
      let second = sockets.make(.stream)
      #expect(throws: Errno.EAGAIN) { try second.connect(address, sockets.caller) }
      let waiter = CountingWaiter()
      second.writeQueue.add(waiter)
      let taken = try server.accept(.readOnly)
      taken.acquire()
      #expect(waiter.count == 1)
      #expect(try taken.get(9).bytes == ascii("early"))
      #expect(try client.peerName() == address)
      #expect(throws: Errno.EADDRINUSE) { try second.bind(address, sockets.caller) }
      let wrong = sockets.make(.datagram)
      let error = address == .abstract(ascii("s")) ? Errno.ECONNREFUSED : .EPROTOTYPE
      #expect(throws: error) { try wrong.connect(address, sockets.caller) }
      try second.connect(address, sockets.caller)
      server.release()
      #expect(throws: Errno.ECONNRESET) { try second.get(1) }
      #expect(throws: Errno.ECONNREFUSED) { try sockets.make(.stream).connect(address, sockets.caller) }
      taken.release()
      client.release()
    }
  }

  @Test func filesTravelAndEndWithTheirMessage() throws {
    let (one, other) = sockets.pair(.stream)
    let pipe = PipeNode.makePair(sockets.fileSystem, .readOnly, owner: Credentials())
    pipe.reader.acquire()
    pipe.writer.acquire()
    _ = try one.say("ab")
    _ = try one.say("c", [pipe.writer])
    _ = try one.say("de")
    #expect(pipe.writer.references == 2)
    let got = try other.get(9)
    #expect(got.bytes == ascii("abc"))
    #expect(got.message.rights.count == 1 && got.message.rights[0] === pipe.writer)
    pipe.writer.release()
    #expect(pipe.writer.references == 1)
    #expect(try other.get(9).bytes == ascii("de"))
    _ = try one.say("x", [pipe.writer])
    pipe.writer.release()
    #expect(!pipe.reader.poll().intersects(.hangup))
    other.release()
    #expect(pipe.reader.poll().intersects(.hangup))
  }

  private func parse(_ encoded: [UInt8]) throws(Errno) -> SocketAddress {
    var copy = encoded
    let result: Result<SocketAddress, Errno> = Bytes.withArray(&copy) { bytes in
      do throws(Errno) { return .success(try SocketAddress(bytes)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  @Test func addressesAreReadAndWritten() throws {
    for address in [SocketAddress.path(ascii("/a/b")), .abstract([0, 1, 0]), .abstract([]), .unnamed] {
      #expect(try parse(address.encoded) == address)
    }
    #expect(throws: Errno.EINVAL) { try parse([2, 0, 0, 80]) }
    #expect(throws: Errno.EINVAL) { try parse([1]) }
    #expect(throws: Errno.EAFNOSUPPORT) { try parse([99, 0, 0, 80]) }
  }
}
