// SPDX-License-Identifier: Apache-2.0
// InternetSocketTests.swift: TCP, UDP and echoes over the loopback, as programs call them (tcp(7), udp(7), icmp(7)).

import ApusNet
import ApusRuntime
import Testing

@testable import ApusUnix

@Suite struct InternetSocketTests {
  private let tree = Tree()
  private let fileSystem = FileSystem(device: 8, typeName: "sockfs", magic: 0)
  private let network: Network

  init() {
    network = Network(fileSystem, secret: Secret(low: 1, high: 2))
  }

  private var caller: SocketCaller {
    SocketCaller(walker: tree.walker, credentials: PeerCredentials(process: 1, user: 0, group: 0))
  }

  private func make(
    _ type: SocketType, _ family: SocketFamily = .internet, _ number: Int = 0
  ) throws -> Socket {
    let socket = try network.makeSocket(family, type, number, .readOnly, owner: Credentials())
    socket.acquire()
    return socket
  }

  private func local(_ port: UInt16, _ family: SocketFamily = .internet) -> SocketAddress {
    if family == .internet6 { return .internet(Endpoint(.v6(IPv6Address(high: 0, low: 1)), port)) }
    return .internet(Endpoint(.v4(IPv4Address(127, 0, 0, 1)), port))
  }

  private func listener(_ port: UInt16, _ family: SocketFamily = .internet) throws -> Socket {
    let server = try make(.stream, family)
    try server.bind(local(port, family), caller)
    try server.listen(4, caller)
    return server
  }

  private func connected(_ port: UInt16) throws -> (client: Socket, server: Socket) {
    let server = try listener(port)
    let client = try make(.stream)
    try client.connect(local(port), caller)
    let taken = try server.accept(.readOnly)
    taken.acquire()
    server.release()
    return (client, taken)
  }

  @Test(arguments: [SocketFamily.internet, .internet6]) func aConnectionThroughTheLoopback(
    _ family: SocketFamily
  ) throws {
    let server = try listener(80, family)
    #expect(throws: Errno.EAGAIN) { try server.accept(.readOnly) }
    let client = try make(.stream, family)
    let waiter = CountingWaiter()
    server.waitQueue.add(waiter)
    try client.connect(local(80, family), caller)
    #expect(waiter.count > 0)
    #expect(server.poll() == .readable)
    let taken = try server.accept(.readOnly)
    taken.acquire()
    #expect(try taken.peerName() == client.name)
    #expect(try client.peerName() == taken.name)
    #expect(try client.say("hello") == 5)
    #expect(taken.readableByteCount == 5)
    #expect(try taken.get(2, .peek).bytes == ascii("he"))
    #expect(try taken.get(9).bytes == ascii("hello"))
    try client.shutdown(reads: false, writes: true)
    #expect(try taken.get(9).bytes == [])
    #expect(throws: Errno.EPIPE) { try client.say("x") }
    #expect(try taken.say("back") == 4)
    taken.release()
    #expect(try client.get(9).bytes == ascii("back"))
    #expect(try client.get(9).bytes == [])
    client.release()
    server.release()
  }

  @Test func muchGoesThroughAndWaitersAreTold() throws {
    let (client, server) = try connected(81)
    let block = (0..<60_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    var sent = 0
    var got: [UInt8] = []
    let waiter = CountingWaiter()
    client.writeQueue.add(waiter)
    while sent < 3_000_000 {
      do throws(Errno) {
        sent += try client.put(Array(block[(sent % 60_000)...]))
      } catch {
        #expect(error == .EAGAIN)
        let before = waiter.count
        while let part = try? server.get(50_000).bytes, !part.isEmpty { got += part }
        #expect(waiter.count > before)
      }
    }
    while let part = try? server.get(50_000).bytes, !part.isEmpty { got += part }
    #expect(got.count == sent)
    #expect(got.indices.allSatisfy { got[$0] == block[$0 % 60_000] })
  }

  @Test func refusalsResetsAndStates() throws {
    let client = try make(.stream)
    #expect(throws: Errno.ECONNREFUSED) { try client.connect(local(9), caller) }
    #expect(throws: Errno.ENOTCONN) { try client.get(1) }
    #expect(throws: Errno.EPIPE) { try client.say("x") }
    let (one, other) = try connected(82)
    #expect(throws: Errno.EISCONN) { try one.connect(local(82), caller) }
    other.settings.linger = 0
    other.release()
    #expect(one.poll().intersects(.error))
    #expect(throws: Errno.ECONNRESET) { try one.get(1) }
    #expect(try one.get(1).bytes == [])
    let unreachable = try make(.stream)
    #expect(throws: Errno.ENETUNREACH) {
      try unreachable.connect(.internet(Endpoint(.v4(IPv4Address(10, 1, 2, 3)), 80)), caller)
    }
    #expect(throws: Errno.EAFNOSUPPORT) { try unreachable.connect(local(80, .internet6), caller) }
    #expect(throws: Errno.EADDRNOTAVAIL) {
      try unreachable.bind(.internet(Endpoint(.v4(IPv4Address(10, 1, 2, 3)), 80)), caller)
    }
  }

  @Test func portsAreTakenAndShared() throws {
    let first = try make(.stream)
    try first.bind(local(83), caller)
    let second = try make(.stream)
    #expect(throws: Errno.EADDRINUSE) { try second.bind(local(83), caller) }
    second.settings.reusesAddress = true
    first.settings.reusesAddress = true
    try second.bind(local(83), caller)
    try first.listen(1, caller)
    let third = try make(.stream)
    third.settings.reusesAddress = true
    #expect(throws: Errno.EADDRINUSE) { try third.bind(local(83), caller) }
    first.release()
    second.release()
    try third.bind(local(83), caller)
    // A connection that closes keeps its port from those who did not say that they know.
    let (one, other) = try connected(84)
    other.release()
    one.release()
    let late = try make(.stream)
    #expect(throws: Errno.EADDRINUSE) { try late.bind(local(84), caller) }
    late.settings.reusesAddress = true
    try late.bind(local(84), caller)
  }

  @Test func aListenerOfVersion6TakesBoth() throws {
    let server = try make(.stream, .internet6)
    try server.bind(.internet(Endpoint(.v6(IPv6Address(high: 0, low: 0)), 85)), caller)
    try server.listen(1, caller)
    let client = try make(.stream)
    try client.connect(local(85), caller)
    let taken = try server.accept(.readOnly)
    taken.acquire()
    let mapped = IPv6Address(mapping: IPv4Address(127, 0, 0, 1))
    #expect(taken.name == .internet(Endpoint(.v6(mapped), 85)))
    let only = try make(.stream, .internet6)
    try only.setOption(41, 26, 1)
    try only.bind(.internet(Endpoint(.v6(IPv6Address(high: 0, low: 0)), 86)), caller)
    try only.listen(1, caller)
    let other = try make(.stream)
    #expect(throws: Errno.ECONNREFUSED) { try other.connect(local(86), caller) }
  }

  @Test func datagrams() throws {
    let server = try make(.datagram)
    try server.bind(local(53), caller)
    let client = try make(.datagram)
    #expect(throws: Errno.EDESTADDRREQ) { try client.say("x") }
    let waiter = CountingWaiter()
    server.waitQueue.add(waiter)
    _ = try client.say("question", to: local(53))
    #expect(waiter.count == 1)
    let got = try server.get(4, .peek)
    #expect(got.bytes == ascii("ques") && got.message.flags == .truncated && got.message.fullCount == 8)
    let source = try server.get(99).message.source
    guard case .internet(let from) = source else { throw Errno.EINVAL }
    _ = try server.say("answer", to: source)
    #expect(try client.get(99).bytes == ascii("answer"))
    // Connected: others are not heard, and a closed port is told of.
    try client.connect(local(53), caller)
    let stranger = try make(.datagram)
    _ = try stranger.say("spam", to: .internet(from))
    #expect(throws: Errno.EAGAIN) { try client.get(9) }
    server.release()
    _ = try client.say("anybody")
    #expect(client.poll().intersects(.error))
    #expect(throws: Errno.ECONNREFUSED) { try client.get(9) }
    let large = String(repeating: "x", count: 60_000)
    let sink = try make(.datagram)
    try sink.bind(local(54), caller)
    #expect(try stranger.say(large, to: local(54)) == 60_000)
    #expect(try sink.get(65_535).bytes.count == 60_000)
    #expect(throws: Errno.EMSGSIZE) { try stranger.say(large + large, to: local(54)) }
  }

  @Test(arguments: [SocketFamily.internet, .internet6]) func echoes(_ family: SocketFamily) throws {
    let number = family == .internet ? 1 : 58
    let raw = try make(.raw, family, number)
    let echo = try make(.datagram, family, number)
    let request: UInt8 = family == .internet ? 8 : 128
    var message: [UInt8] = [request, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4]
    var outgoing = OutgoingMessage(.nobody)
    outgoing.destination = local(0, family)
    let sent: Result<Int, Errno> = Bytes.withArray(&message) { bytes in
      do throws(Errno) { return .success(try echo.send(bytes, outgoing)) } catch { return .failure(error) }
    }
    #expect(try sent.get() == 12)
    let reply = try echo.get(99).bytes
    #expect(reply[0] == (family == .internet ? 0 : 129) && Array(reply[6...]) == [0, 1, 1, 2, 3, 4])
    #expect(throws: Errno.EAGAIN) { try echo.get(9) }
    // The raw socket sees the request and the reply, over IPv4 with their headers.
    let first = try raw.get(99).bytes
    #expect(first.count == (family == .internet ? 32 : 12))
    #expect(first[family == .internet ? 20 : 0] == request)
    _ = try raw.get(99)
    #expect(throws: Errno.EAGAIN) { try raw.get(99) }
  }

  @Test func deadlinesAreToldOnceEach() throws {
    var alarms: [UInt64] = []
    network.alarm = { alarms.append($0) }
    let (client, server) = try connected(87)
    try client.setOption(6, 1, 1)
    _ = try client.say("x")
    _ = try server.get(1)
    let count = alarms.count
    #expect(count > 0)
    #expect(alarms == alarms.sorted(by: >))
    for _ in 0..<20 {
      _ = try client.say("x")
      _ = try server.get(1)
    }
    #expect(alarms.count <= count + 2)
    // Who looks after deadlines is not told of them while it looks.
    let told = alarms.count
    #expect(network.alarmRang() > 0)
    #expect(alarms.count == told)
    network.pump()
    #expect(alarms.count == told)
  }
}
