// SPDX-License-Identifier: Apache-2.0
// FilterClaims.swift: what a stack claims, as packet filters of the kernel; and which of them a frame is sent by.

import ApusABI
import ApusNet
import ApusRuntime

/// The filters of one stack: ARP and ICMP for its address, and one for each port or connection that it claims.
final class FilterClaims: PortClaims {
  private struct Entry {
    let claim: PortClaim
    /// The kernel's number; 0: the kernel has no filter for it, since there is no address or somebody else has the port.
    var filter: UInt32
    var users: Int
  }

  private let ring: PacketRing
  private var address: UInt32?
  private var arp: UInt32 = 0
  private var icmp: UInt32 = 0
  /// Claims of ports, of which there are few; and of connections that were opened here, by the low bits of the port.
  private var ports: [Entry] = []
  private var peers = [[Entry]](repeating: [], count: 64)
  /// Claims that the kernel refused when the address had come.
  private(set) var refusals = 0

  init(_ ring: PacketRing) { self.ring = ring }

  // MARK: Claims

  func claim(_ claim: PortClaim) -> Bool {
    if let remote = claim.remote {
      guard FilterClaims.isReachable(remote) else { return true }
      let place = Int(claim.port) & 63
      guard let filter = insert(claim) else { return false }
      peers[place].append(Entry(claim: claim, filter: filter, users: 1))
      return true
    }
    for index in ports.indices where ports[index].claim == claim {
      ports[index].users += 1
      return true
    }
    guard let filter = insert(claim) else { return false }
    ports.append(Entry(claim: claim, filter: filter, users: 1))
    return true
  }

  func release(_ claim: PortClaim) {
    if claim.remote != nil {
      let place = Int(claim.port) & 63
      guard let index = peers[place].firstIndex(where: { $0.claim == claim }) else { return }
      remove(peers[place][index].filter)
      peers[place].remove(at: index)
      return
    }
    guard let index = ports.firstIndex(where: { $0.claim == claim }) else { return }
    ports[index].users -= 1
    guard ports[index].users == 0 else { return }
    remove(ports[index].filter)
    ports.remove(at: index)
  }

  func addressChanged(to configuration: IPv4Configuration?) {
    remove(arp)
    remove(icmp)
    arp = 0
    icmp = 0
    address = configuration?.address.bits
    if let address {
      arp = insert([PacketAtom(at: 12, width: 2, is: 0x0806), PacketAtom(at: 38, width: 4, is: address)])
      icmp = insert(
        FilterClaims.version4 + [PacketAtom(at: 23, width: 1, is: 1), PacketAtom(at: 30, width: 4, is: address)])
    }
    for index in ports.indices { renew(&ports[index]) }
    for place in peers.indices {
      for index in peers[place].indices { renew(&peers[place][index]) }
    }
  }

  private func renew(_ entry: inout Entry) {
    remove(entry.filter)
    entry.filter = 0
    if let filter = insert(entry.claim) { entry.filter = filter } else { refusals += 1 }
  }

  private static var version4: [PacketAtom] { [PacketAtom(at: 12, width: 2, is: 0x0800)] }

  private static func isReachable(_ remote: Endpoint) -> Bool {
    guard case .v4(let address) = remote.address else { return false }
    return address.bits >> 24 != 127
  }

  /// Has the kernel bring what a claim names; nil if it refuses, 0 if there is no address to claim it for.
  private func insert(_ claim: PortClaim) -> UInt32? {
    // Who has no address yet is spoken to by broadcast: DHCP's port is claimed for every address (RFC 2131, 4.1).
    let isForAll = claim.transport == .udp && claim.port == 68
    guard isForAll || address != nil else { return 0 }
    var atoms = FilterClaims.version4
    atoms.append(PacketAtom(at: 23, width: 1, is: claim.transport == .tcp ? 6 : 17))
    if let remote = claim.remote, case .v4(let peer) = remote.address {
      atoms.append(PacketAtom(at: 26, width: 4, is: peer.bits))
    }
    if !isForAll, let address { atoms.append(PacketAtom(at: 30, width: 4, is: address)) }
    atoms.append(PacketAtom(shiftAt: 14, width: 1, mask: 0x0f, by: 2))
    if let remote = claim.remote { atoms.append(PacketAtom(at: 14, width: 2, is: UInt32(remote.port))) }
    atoms.append(PacketAtom(at: 16, width: 2, is: UInt32(claim.port)))
    let filter = insert(atoms)
    return filter == 0 ? nil : filter
  }

  private func insert(_ atoms: [PacketAtom]) -> UInt32 {
    do throws(SystemCallError) { return try ring.claim(atoms) } catch { return 0 }
  }

  private func remove(_ filter: UInt32) { if filter != 0 { ring.unclaim(filter) } }

  // MARK: Sending

  /// The filter that a frame mirrors.
  ///
  /// - Parameter frame: At least the headers of Ethernet, IPv4 and the ports.
  /// - Returns: 0 if there is none, and the frame cannot be sent.
  func filter(for frame: Bytes) -> UInt32 {
    guard frame.count >= 38 else { return 0 }
    switch frame.load(12, as: UInt16.self) {
    case 0x0608: return arp
    case 0x0008: break
    default: return 0
    }
    let ports = 14 + Int(frame[14] & 15) * 4
    guard frame.count >= ports + 4 else { return 0 }
    switch frame[23] {
    case 1: return icmp
    case 6: return filter(.tcp, frame, ports)
    case 17: return filter(.udp, frame, ports)
    default: return 0
    }
  }

  private func filter(_ transport: PortTransport, _ frame: Bytes, _ at: Int) -> UInt32 {
    let port = frame.load(at, as: UInt16.self).byteSwapped
    for entry in ports where entry.claim.port == port && entry.claim.transport == transport { return entry.filter }
    let remote = IPAddress.v4(IPv4Address(frame.load(30, as: UInt32.self).byteSwapped))
    let claim = PortClaim(transport, port, from: Endpoint(remote, frame.load(at + 2, as: UInt16.self).byteSwapped))
    for entry in peers[Int(port) & 63] where entry.claim == claim { return entry.filter }
    return 0
  }
}
