// SPDX-License-Identifier: Apache-2.0
// StackEvents.swift: what has come to listeners and sockets without connections, for whoever wakes their users.

/// Something that a user of a socket may wait for has perhaps come.
public enum StackEvent: Equatable, Sendable {
  /// A listener has a connection to give.
  case accepted(ListenerHandle)
  /// A datagram came, or an error about one.
  case datagram(UDPHandle)
  /// A packet of a protocol that is looked at raw came.
  case packet(RawHandle)
}

extension NetworkStack {
  /// What has come since the last time, beside what `nextNews` tells of connections; nothing unless `recordsEvents` is set.
  public func takeEvents() -> [StackEvent] {
    let taken = events
    events.removeAll(keepingCapacity: true)
    return taken
  }

  /// Notes that something has come.
  func notice(_ event: StackEvent) {
    guard recordsEvents, events.last != event else { return }
    events.append(event)
  }
}
