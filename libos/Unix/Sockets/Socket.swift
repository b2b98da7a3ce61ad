// SPDX-License-Identifier: Apache-2.0
// Socket.swift: what sockets of all families have in common (socket(2), socket(7)).

import ApusRuntime

/// What goes with the bytes that are sent.
public struct OutgoingMessage {
  /// To whom; nil: to whom the socket is connected.
  public var destination: SocketAddress?
  /// Open files that go along (SCM_RIGHTS).
  public var rights: [OpenFile] = []
  /// Who sends it.
  public var credentials: PeerCredentials
  /// MSG_* flags.
  public var flags = MessageFlags.none

  /// A message by somebody.
  public init(_ credentials: PeerCredentials) { self.credentials = credentials }
}

/// What came with the bytes that were received.
public struct IncomingMessage {
  /// How many bytes were stored.
  public var count = 0
  /// How many bytes the message had.
  public var fullCount = 0
  /// Who sent it; nil: the other end of a connection.
  public var source: SocketAddress?
  /// Open files that came along, each acquired once for the receiver.
  public var rights: [OpenFile] = []
  /// Who sent it, if the socket asks for that.
  public var credentials: PeerCredentials?
  /// MSG_TRUNC, MSG_EOR.
  public var flags = MessageFlags.none
  /// Of an IP datagram: to which address it was sent.
  public var destination: SocketAddress?
  /// Of an IP datagram that shows it: hops that it had left.
  public var hopLimit: UInt8?

  /// Nothing: the end of what comes.
  public init() {}
}

/// An open socket.
///
/// As of every open file, no operation waits: one that cannot go on throws `EAGAIN`. `waitQueue` is told when there is
/// something to receive or to accept, `writeQueue` when there is room to send or a connection attempt has ended.
open class Socket: OpenFile {
  /// Its address family.
  public final let family: SocketFamily
  /// Its type.
  public final let type: SocketType
  /// Its protocol, with Linux's number.
  public final let protocolNumber: Int
  /// Options of the level SOL_SOCKET.
  public final var settings = SocketSettings()
  /// What the next call or SO_ERROR tells.
  public final var pendingError: Errno?
  final let readers = WaitQueue()
  final let writers = WaitQueue()

  /// A socket that is nothing yet.
  init(_ node: Inode, _ family: SocketFamily, _ type: SocketType, _ protocolNumber: Int, _ flags: OpenFlags) {
    self.family = family
    self.type = type
    self.protocolNumber = protocolNumber
    super.init(node, flags.intersection(.settable).union(.readWrite))
  }

  /// An inode for a socket, in the tree that numbers sockets.
  static func makeNode(_ fileSystem: FileSystem, _ owner: Credentials) -> Inode {
    let node = Inode(fileSystem, FileMode(.socket, 0o777), owner: owner)
    node.linkCount = 1
    return node
  }

  public final override var asSocket: Socket? { self }
  public final override var waitQueue: WaitQueue { readers }
  public final override var writeQueue: WaitQueue { writers }

  /// Whether it accepts connections (SO_ACCEPTCONN).
  open var isListening: Bool { false }
  /// Whether a connection attempt is under way.
  open var isConnecting: Bool { false }
  /// Its own name.
  open var name: SocketAddress { .unnamed }
  /// Bytes that were sent and have not arrived (SIOCOUTQ).
  open var unsentByteCount: Int { 0 }

  /// The name of the other end.
  ///
  /// - Throws: `ENOTCONN`.
  open func peerName() throws(Errno) -> SocketAddress { throw .ENOTCONN }

  /// Who was at the other end when the connection was made (SO_PEERCRED).
  open var peerCredentials: PeerCredentials { .nobody }

  /// bind(2).
  open func bind(_ address: SocketAddress, _ caller: SocketCaller) throws(Errno) { throw .EOPNOTSUPP }

  /// listen(2).
  open func listen(_ backlog: Int, _ caller: SocketCaller) throws(Errno) { throw .EOPNOTSUPP }

  /// Takes the next connection.
  ///
  /// - Throws: `EAGAIN` if there is none, `EINVAL` if it does not listen, `EOPNOTSUPP`.
  open func accept(_ flags: OpenFlags) throws(Errno) -> Socket { throw .EOPNOTSUPP }

  /// Connects, or begins to.
  ///
  /// - Throws: `EINPROGRESS` once it has begun: `writeQueue` is told when it has ended, and calling again tells how.
  ///   `EAGAIN` if it cannot even begin now: `writeQueue` is told when it is worth another try.
  open func connect(_ address: SocketAddress, _ caller: SocketCaller) throws(Errno) { throw .EOPNOTSUPP }

  /// Sends, of a stream as much as there is room for.
  ///
  /// - Returns: How many bytes were taken.
  open func send(_ bytes: Bytes, _ message: OutgoingMessage) throws(Errno) -> Int { throw .EOPNOTSUPP }

  /// Receives what is there.
  ///
  /// - Returns: What came; no bytes at the end of a stream.
  open func receive(_ into: Bytes, _ flags: MessageFlags) throws(Errno) -> IncomingMessage { throw .EOPNOTSUPP }

  /// shutdown(2).
  open func shutdown(reads: Bool, writes: Bool) throws(Errno) { throw .EOPNOTSUPP }

  /// An option of another level than SOL_SOCKET, all of them words.
  ///
  /// - Throws: `ENOPROTOOPT`, `EOPNOTSUPP`.
  open func option(_ level: Int, _ option: Int) throws(Errno) -> Int32 { throw .EOPNOTSUPP }

  /// Sets such an option.
  open func setOption(_ level: Int, _ option: Int, _ value: Int32) throws(Errno) { throw .EOPNOTSUPP }

  /// Called when options of the level SOL_SOCKET have changed.
  open func settingsChanged() {}

  /// Takes the error that is to be told, if there is one.
  public final func takeError() -> Errno? {
    let error = pendingError
    pendingError = nil
    return error
  }

  public override func read(_ into: Bytes) throws(Errno) -> Int {
    let message = try receive(into, .none)
    for file in message.rights { file.release() }
    return message.count
  }

  public override func write(_ from: Bytes) throws(Errno) -> Int {
    try send(from, OutgoingMessage(sender))
  }

  /// Whom messages of write(2) come from: whoever made the socket.
  public final var sender = PeerCredentials.nobody

  /// Tells everybody who waits.
  final func wakeAll() {
    readers.wakeAll()
    writers.wakeAll()
  }
}
