// SPDX-License-Identifier: Apache-2.0
// LinuxSide.swift: the other end: sockets of the host's kernel, in a process of its own.

import CTap
import Glibc

/// All connections of Linux's side, in one loop.
struct LinuxSide {
  let plan: ExchangePlan
  let stackAddress: UInt32
  private var exchanges: [(descriptor: Int32, exchange: Exchange)] = []

  init(_ plan: ExchangePlan, stackAddress: UInt32) {
    self.plan = plan
    self.stackAddress = stackAddress
  }

  /// Runs until every connection has ended.
  mutating func run(listener: Int32) throws(Mismatch) {
    for index in 0..<plan.fromLinux {
      let descriptor = ctap_connect(stackAddress, 7000)
      if descriptor < 0 { throw Mismatch(sentence: "Linux cannot connect: error \(-descriptor)") }
      exchanges.append((descriptor, Exchange(plan, isStack: false, index: index)))
    }
    var accepted = 0
    while accepted < plan.fromStack || !exchanges.isEmpty {
      var polled = exchanges.map { entry in
        let wantsToSend = !entry.exchange.next(1).isEmpty || entry.exchange.hasSentAll && !entry.exchange.isFinished
        let events = (entry.exchange.isAtEnd ? 0 : POLLIN) | (wantsToSend ? POLLOUT : 0)
        return pollfd(fd: entry.descriptor, events: Int16(events), revents: 0)
      }
      polled.append(pollfd(fd: listener, events: Int16(POLLIN), revents: 0))
      poll(&polled, nfds_t(polled.count), 1000)
      for index in exchanges.indices where polled[index].revents != 0 { try serve(index) }
      while polled[polled.count - 1].revents != 0 {
        let descriptor = ctap_accept(listener)
        if descriptor < 0 { break }
        accepted += 1
        exchanges.append((descriptor, Exchange(plan, isStack: false, index: nil)))
      }
      for entry in exchanges where entry.exchange.isDone { close(entry.descriptor) }
      exchanges.removeAll { $0.exchange.isDone }
    }
  }

  private mutating func serve(_ index: Int) throws(Mismatch) {
    let descriptor = exchanges[index].descriptor
    while true {
      let bytes = exchanges[index].exchange.next(65_536)
      if bytes.isEmpty { break }
      let count = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
      if count < 0 {
        if errno == EAGAIN || errno == EINTR || errno == ENOTCONN { break }
        throw Mismatch(sentence: "Linux cannot send: error \(errno)")
      }
      exchanges[index].exchange.took(count)
    }
    if exchanges[index].exchange.hasSentAll, !exchanges[index].exchange.isFinished {
      shutdown(descriptor, Int32(SHUT_WR))
      exchanges[index].exchange.isFinished = true
    }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while !exchanges[index].exchange.isAtEnd {
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count < 0 {
        if errno == EAGAIN || errno == EINTR || errno == ENOTCONN { return }
        throw Mismatch(sentence: "Linux cannot receive: error \(errno)")
      }
      if count == 0 { return try exchanges[index].exchange.ended() }
      try exchanges[index].exchange.got(Array(buffer[..<count]))
    }
  }
}
