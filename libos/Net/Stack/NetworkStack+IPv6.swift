// SPDX-License-Identifier: Apache-2.0
// NetworkStack+IPv6.swift: IPv6 packets.

/// What a stack knows of IPv6.
struct IPv6State {
  var assignments: [IPv6Assignment] = []
  var deadline: Instant? { nil }
}

extension NetworkStack {
  func pollVersion6(_ now: Instant) {}
  func receiveVersion6(_ packet: Span<UInt8>, _ now: Instant) {}
  func route(to address: IPv6Address) -> NextHop? { nil }
  func sourceVersion6(for address: IPv6Address) -> IPv6Address? { nil }
  func solicit(_ address: IPv6Address, from: IPv6Address?, hardware: MACAddress?, _ now: Instant) {}
  func sendICMPv6(
    _ m: ICMPv6Message, from source: IPAddress, to destination: IPAddress, _ data: Span<UInt8>, _ now: Instant
  ) -> Bool { false }
}
enum ICMPv6Message { case echoRequest(identifier: UInt16, sequence: UInt16) }
