// SPDX-License-Identifier: Apache-2.0
// StackSide.swift: our end: connections of a NetworkStack.

import ApusNet

/// All connections of the stack's side.
struct StackSide {
  let stack: NetworkStack
  let plan: ExchangePlan
  private var listener: ListenerHandle
  private var exchanges: [(handle: TCPHandle, exchange: Exchange)] = []
  private var begun = 0
  private var accepted = 0

  init(_ stack: NetworkStack, _ plan: ExchangePlan) throws(TCPError) {
    self.stack = stack
    self.plan = plan
    listener = try stack.listen(port: 7000, backlog: 1024, halfOpenLimit: 1024)
  }

  var isDone: Bool { begun == plan.fromStack && accepted == plan.fromLinux && exchanges.isEmpty }
  var missing: Int { plan.fromStack - begun + plan.fromLinux - accepted }
  var openCount: Int { exchanges.count }

  /// Writes, reads and closes what can be.
  mutating func act(_ linux: Endpoint, _ now: Instant) throws(Mismatch) {
    // A few at a time, as a program would.
    var left = 64
    while begun < plan.fromStack, left > 0 {
      guard let handle = try? stack.connect(to: linux, now) else {
        throw Mismatch(sentence: "the stack cannot connect")
      }
      exchanges.append((handle, Exchange(plan, isStack: true, index: plan.fromLinux + begun)))
      begun += 1
      left -= 1
    }
    while let handle = stack.accept(listener) {
      accepted += 1
      exchanges.append((handle, Exchange(plan, isStack: true, index: nil)))
    }
    for index in exchanges.indices { try serve(index, now) }
    for entry in exchanges where entry.exchange.isDone { stack.release(entry.handle, now) }
    exchanges.removeAll { $0.exchange.isDone }
  }

  private mutating func serve(_ index: Int, _ now: Instant) throws(Mismatch) {
    var bytes: [UInt8] = []
    let count: Int?
    do throws(TCPError) { count = try move(index, into: &bytes, now) } catch {
      throw Mismatch(sentence: "connection \(exchanges[index].exchange.index ?? -1) ended: \(error)")
    }
    if count == nil { try exchanges[index].exchange.ended() } else { try exchanges[index].exchange.got(bytes) }
  }

  /// Writes what is taken, and reads; nil at the end of what Linux sends.
  private mutating func move(_ index: Int, into bytes: inout [UInt8], _ now: Instant) throws(TCPError) -> Int? {
    let handle = exchanges[index].handle
    var room = try stack.status(handle).writable
    while room > 0 {
      let piece = exchanges[index].exchange.next(min(65_536, room))
      let count = piece.isEmpty ? 0 : try stack.write(handle, piece.span)
      if count == 0 { break }
      exchanges[index].exchange.took(count)
      room -= count
    }
    if exchanges[index].exchange.hasSentAll, !exchanges[index].exchange.isFinished {
      stack.finish(handle, now)
      exchanges[index].exchange.isFinished = true
    }
    return exchanges[index].exchange.isAtEnd ? 0 : try stack.read(handle, 1 << 18, into: &bytes)
  }
}
