// SPDX-License-Identifier: Apache-2.0
// InternetSocket.swift: what sockets of AF_INET and AF_INET6 have in common: names, and options of IP (ip(7), ipv6(7)).

import ApusNet
import ApusRuntime

/// A socket of a family's network.
open class InternetSocket: Socket {
  final let network: Network
  /// Its own end; the port is 0 before it has one.
  final var local: Endpoint
  final var isBound = false
  /// IPV6_V6ONLY.
  final var isVersion6Only = false
  /// IP_TTL and IPV6_UNICAST_HOPS.
  final var hopLimit: UInt8 = 64
  private var typeOfService: Int32 = 0
  private var trafficClass: Int32 = 0
  private var groupHops: Int32 = 1
  private var loopsGroups: Int32 = 1
  private var discoversPath: Int32 = 0
  private var receivesErrors: Int32 = 0
  private var receivesErrors6: Int32 = 0
  /// IP_PKTINFO and IPV6_RECVPKTINFO.
  final var showsDestination = false
  /// IP_RECVTTL and IPV6_RECVHOPLIMIT.
  final var showsHopLimit = false

  init(
    _ network: Network, _ node: Inode, _ family: SocketFamily, _ type: SocketType, _ number: Int, _ flags: OpenFlags
  ) {
    self.network = network
    local = Endpoint(Self.any(family), 0)
    super.init(node, family, type, number, flags)
  }

  static func any(_ family: SocketFamily) -> IPAddress {
    family == .internet6 ? .v6(IPv6Address(high: 0, low: 0)) : .v4(IPv4Address(0))
  }

  final var stack: NetworkStack { network.stack }

  /// An end as the family shows it: to AF_INET6, IPv4 is mapped.
  final func shown(_ end: Endpoint) -> SocketAddress {
    if family == .internet6, case .v4(let address) = end.address {
      return .internet(Endpoint(.v6(IPv6Address(mapping: address)), end.port))
    }
    return .internet(end)
  }

  /// An end that a program names; mapped addresses become what they stand for.
  ///
  /// - Throws: `EAFNOSUPPORT`, `EINVAL` for another family's.
  final func end(_ address: SocketAddress) throws(Errno) -> Endpoint {
    guard case .internet(let end) = address else { throw .EAFNOSUPPORT }
    switch end.address {
    case .v4:
      guard family == .internet else { throw .EAFNOSUPPORT }
      return end
    case .v6(let address):
      guard family == .internet6 else { throw .EAFNOSUPPORT }
      guard let mapped = address.mapped else { return end }
      if isVersion6Only { throw .ENETUNREACH }
      return Endpoint(.v4(mapped), end.port)
    }
  }

  /// An end that something is to be sent to: to "any" means to this machine.
  final func destination(_ address: SocketAddress) throws(Errno) -> Endpoint {
    let end = try end(address)
    switch end.address {
    case .v4(let version4) where version4.bits == 0:
      return Endpoint(.v4(stack.address?.address ?? IPv4Address(127, 0, 0, 1)), end.port)
    case .v6(let version6) where version6.high == 0 && version6.low == 0:
      return Endpoint(.v6(IPv6Address(high: 0, low: 1)), end.port)
    default: return end
    }
  }

  /// The addresses that it answers for.
  final var scope: AddressScope {
    switch local.address {
    case .v4(let address) where address.bits == 0: AddressScope(takesVersion6: false)
    case .v6(let address) where address.high == 0 && address.low == 0: AddressScope(takesVersion4: !isVersion6Only)
    default: AddressScope(local.address)
    }
  }

  /// The address to send from, if it is bound to one.
  final var ownAddress: IPAddress? { scope.address }

  public override var name: SocketAddress { shown(local) }

  public override func bind(_ address: SocketAddress, _ caller: SocketCaller) throws(Errno) {
    guard !isBound else { throw .EINVAL }
    // Linux takes an AF_UNSPEC address of all zeros for AF_INET.
    let wanted = address == .unspecified && family == .internet ? local : try end(address)
    var isAny = false
    switch wanted.address {
    case .v4(let version4): isAny = version4.bits == 0
    case .v6(let version6): isAny = version6.high == 0 && version6.low == 0
    }
    guard isAny || stack.isOwn(wanted.address) || isGroup(wanted.address) else { throw .EADDRNOTAVAIL }
    if wanted.port > 0, wanted.port < 1024, !caller.walker.credentials.isSuperuser { throw .EACCES }
    let before = local
    local = isAny ? Endpoint(Self.any(family), wanted.port) : wanted
    do throws(Errno) {
      try takePort(wanted.port)
    } catch {
      local = before
      throw error
    }
    isBound = true
  }

  private func isGroup(_ address: IPAddress) -> Bool {
    switch address {
    case .v4(let address): type != .stream && (address.bits >> 28 == 0xe || address.bits == .max)
    case .v6(let address): type != .stream && address.high >> 56 == 0xff
    }
  }

  /// Takes a port; 0: any.
  open func takePort(_ port: UInt16) throws(Errno) {
    local.port = try network.claim(port, scope, self)
  }

  /// Takes a port if it has none yet.
  final func bindIfNeeded() throws(Errno) {
    guard !isBound else { return }
    try takePort(0)
    isBound = true
  }

  /// What a failure to send means to programs.
  final func errno(_ error: UDPError) -> Errno {
    switch error {
    case .notOpen: .EINVAL
    case .inUse: .EADDRINUSE
    case .unreachable: .ENETUNREACH
    case .tooLarge: .EMSGSIZE
    }
  }

  // MARK: Options

  public override func option(_ level: Int, _ option: Int) throws(Errno) -> Int32 {
    if level == 41 && family != .internet6 { throw .EOPNOTSUPP }
    switch (level, option) {
    case (0, 1): return typeOfService
    case (0, 2): return Int32(hopLimit)
    case (0, 8): return showsDestination ? 1 : 0
    case (0, 10): return discoversPath
    case (0, 11): return receivesErrors
    case (0, 12): return showsHopLimit ? 1 : 0
    case (0, 14): return 1500
    case (0, 33): return groupHops
    case (0, 34): return loopsGroups
    case (41, 16), (41, 18): return option == 16 ? Int32(hopLimit) : groupHops
    case (41, 19): return loopsGroups
    case (41, 25): return receivesErrors6
    case (41, 26): return isVersion6Only ? 1 : 0
    case (41, 49): return showsDestination ? 1 : 0
    case (41, 51): return showsHopLimit ? 1 : 0
    case (41, 67): return trafficClass
    default: throw level == 0 || level == 41 ? .ENOPROTOOPT : .EOPNOTSUPP
    }
  }

  public override func setOption(_ level: Int, _ option: Int, _ value: Int32) throws(Errno) {
    if level == 41 && family != .internet6 { throw .ENOPROTOOPT }
    switch (level, option) {
    case (0, 1): typeOfService = value & 0xff
    case (0, 2):
      guard value == -1 || (1...255).contains(value) else { throw .EINVAL }
      hopLimit = value == -1 ? 64 : UInt8(value)
    case (0, 8), (41, 49): showsDestination = value != 0
    case (0, 10), (41, 23): discoversPath = value
    case (0, 11): receivesErrors = value != 0 ? 1 : 0
    case (0, 12), (41, 51): showsHopLimit = value != 0
    case (0, 33), (41, 18):
      guard (-1...255).contains(value) else { throw .EINVAL }
      groupHops = value == -1 ? 1 : value
    case (0, 34), (41, 19): loopsGroups = value != 0 ? 1 : 0
    case (41, 16):
      guard (-1...255).contains(value) else { throw .EINVAL }
      hopLimit = value == -1 ? 64 : UInt8(value)
    case (41, 25): receivesErrors6 = value != 0 ? 1 : 0
    case (41, 26):
      guard !isBound else { throw .EINVAL }
      isVersion6Only = value != 0
    case (41, 67):
      guard (-1...255).contains(value) else { throw .EINVAL }
      trafficClass = max(0, value)
    default: throw level == 0 || level == 41 ? .ENOPROTOOPT : .EOPNOTSUPP
    }
  }
}
