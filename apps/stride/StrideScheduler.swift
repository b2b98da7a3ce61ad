// SPDX-License-Identifier: Apache-2.0
// StrideScheduler.swift: proportional shares by stride scheduling (Waldspurger and Weihl 1995), as a library.
//
// Each client has tickets, and a pass that grows with the time it has used, the slower the more tickets it has. The
// client with the least pass runs next. So at any moment no client is further from its share than one quantum. Time is
// charged as used, not as given: who gives up a quantum early pays for what it had.

/// Shares time among at most eight environments.
struct StrideScheduler {
  /// An environment with tickets.
  struct Client {
    let environment: Environment
    let tickets: UInt64
    /// Time used, in ticks for one ticket of `scale`.
    fileprivate(set) var pass: UInt64
    /// Ticks that the environment had been charged when it was last looked at.
    fileprivate var ticks: UInt64
  }

  private static var scale: UInt64 { 1 << 12 }
  private var clients: InlineArray<8, Client?> = .init(repeating: nil)
  /// How many clients there are.
  private(set) var count = 0

  /// A client by its number, in the order in which they came.
  subscript(index: Int) -> Client? { clients[index] }

  /// Takes a client in: it begins where the one that is furthest behind stands.
  mutating func add(_ environment: Environment, tickets: UInt64) {
    guard count < clients.count, tickets > 0 else { return }
    let pass = next.flatMap { clients[$0]?.pass } ?? 0
    clients[count] = Client(environment: environment, tickets: tickets, pass: pass, ticks: environment.ticks)
    count += 1
  }

  /// Whose turn it is; nil without clients.
  var next: Int? {
    var chosen: Int?
    var least = UInt64.max
    for index in 0..<count {
      guard let client = clients[index], client.pass < least else { continue }
      chosen = index
      least = client.pass
    }
    return chosen
  }

  /// Lets the client whose turn it is have the rest of this slice, and charges it for what it used.
  ///
  /// - Returns: Its number, at the begin of the caller's next slice; nil without clients.
  mutating func run() -> Int? {
    guard let index = next, var client = clients[index] else { return nil }
    Native.yield(to: client.environment.handle)
    let ticks = client.environment.ticks
    client.pass += (ticks - client.ticks) * Self.scale / client.tickets
    client.ticks = ticks
    clients[index] = client
    return index
  }
}
