// SPDX-License-Identifier: Apache-2.0
// MachineNetwork.swift: the machine's network card and what it is plugged into.

import Glibc

/// What the network card is plugged into.
enum MachineNetwork: Equatable {
  /// There is no card.
  case none
  /// QEMU's own network, which reaches the host's by what QEMU may do itself; the machine is 10.0.2.15 there.
  case user
  /// A TAP device of the host.
  case tap(String)

  /// Reads "none", "user" or "tap:NAME".
  init?(_ text: String) {
    switch text {
    case "none": self = .none
    case "user": self = .user
    default:
      guard text.hasPrefix("tap:") else { return nil }
      let name = text.dropFirst(4)
      let isName = name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x2f && $0 != 0x2c }
      // 16 bytes with the zero at the end: IFNAMSIZ.
      guard isName, (1...15).contains(name.utf8.count), name != ".", name != ".." else { return nil }
      self = .tap(String(name))
    }
  }

  /// Whether the host has what the card is to be plugged into.
  func check() throws(Failure) {
    guard case .tap(let name) = self, if_nametoindex(name) == 0 else { return }
    throw Failure(
      sentence: "there is no network device \(name); make it with: "
        + "ip tuntap add \(name) mode tap && ip link set \(name) up",
      status: Status.machine)
  }

  /// The QEMU options that put the card on a machine.
  ///
  /// - Parameters:
  ///   - machine: The kind of machine.
  ///   - ports: Ports of the host's loopback address that lead to ports of the machine.
  /// - Returns: The options; none without a card.
  func options(on machine: MachineType, ports: [PublishedPort]) -> [String] {
    let plug: String
    switch self {
    case .none: return []
    case .user:
      plug =
        "user,id=network"
        + ports.map { port in
          ["tcp", "udp"].map { ",hostfwd=\($0):127.0.0.1:\(port.host)-:\(port.guest)" }.joined()
        }.joined()
    case .tap(let name): plug = "tap,id=network,ifname=\(name),script=no,downscript=no"
    }
    return switch machine {
    case .microvm:
      [
        "-netdev", plug, "-global", "virtio-mmio.force-legacy=false", "-device", "virtio-net-device,netdev=network",
      ]
    case .q35: ["-netdev", plug, "-device", "virtio-net-pci,netdev=network,disable-legacy=on,romfile="]
    }
  }
}

/// A port of the host, on its loopback address, that leads to a port of the machine: for UDP and TCP.
struct PublishedPort: Equatable {
  let host: UInt16
  let guest: UInt16

  /// Reads "HOST:GUEST", or one number for both.
  init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    let numbers = parts.compactMap { part in
      part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(part) : nil
    }
    guard numbers.count == parts.count, (1...2).contains(numbers.count), !numbers.contains(0) else { return nil }
    host = numbers[0]
    guest = numbers[numbers.count - 1]
  }
}
