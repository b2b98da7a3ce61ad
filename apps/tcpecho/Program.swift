// SPDX-License-Identifier: Apache-2.0
// Program.swift: answers TCP with what it was sent: the network stack of libos/Net on the machine's card, and no UNIX.
//
// usage: tcpecho [--ip 10.0.2.15/24[,10.0.2.2]] [--port 7] [--connections 3]
//
// Without --ip it asks for an address by DHCP. It ends after so many connections, if told, and says what it has done.

import ApusABI
import ApusNet
import ApusNetRing
import ApusRuntime

/// What the program was asked for.
private struct Options {
  var address: IPv4Configuration?
  var port: UInt16 = 7
  var connections = 0
  /// A word that means nothing.
  var unknown: [UInt8]?

  init(_ words: [[UInt8]]) {
    var index = 0
    while index + 1 < words.count {
      let value = words[index + 1]
      let word = words[index]
      if word == Array("--ip".utf8), let value = IPv4Configuration(parsing: value) {
        address = value
      } else if word == Array("--port".utf8), let number = Decimal.number(value, below: 65_536), number > 0 {
        port = UInt16(number)
      } else if word == Array("--connections".utf8), let number = Decimal.number(value, below: 1 << 30) {
        connections = number
      } else {
        unknown = word
      }
      index += 2
    }
    if index < words.count { unknown = words[index] }
  }
}

/// One connection, and what could not be sent back yet.
private struct Guest {
  let connection: TCPHandle
  var owed: [UInt8] = []
  var isAtEnd = false
}

private final class Echoer {
  let interface: NetworkInterface
  let listener: ListenerHandle
  var guests: [Guest] = []
  var served = 0
  var bytes = 0

  init(_ interface: NetworkInterface, port: UInt16) throws(TCPError) {
    self.interface = interface
    listener = try interface.stack.listen(port: port)
  }

  /// Answers whoever has said something.
  func attend() {
    let stack = interface.stack
    while let connection = stack.accept(listener) { guests.append(Guest(connection: connection)) }
    var index = 0
    while index < guests.count {
      if answer(&guests[index]) {
        index += 1
        continue
      }
      stack.release(guests[index].connection, NetworkInterface.now)
      guests.remove(at: index)
      served += 1
    }
  }

  /// Whether the guest stays.
  private func answer(_ guest: inout Guest) -> Bool {
    let stack = interface.stack
    do throws(TCPError) {
      while guest.owed.count < 65_536, !guest.isAtEnd {
        guard let count = try stack.read(guest.connection, 16_384, into: &guest.owed) else {
          guest.isAtEnd = true
          break
        }
        if count == 0 { break }
        bytes += count
      }
      if !guest.owed.isEmpty {
        let taken = try stack.write(guest.connection, guest.owed.span)
        guest.owed.removeFirst(taken)
      }
    } catch { return false }
    return !guest.isAtEnd || !guest.owed.isEmpty
  }
}

private func write(_ stream: ConsoleStream, _ text: String) {
  var line = Array(text.utf8) + [10]
  while Bytes.withArray(&line, { Console.write(stream, $0) }) == 0 {}
}

private func exit(_ status: UInt8) -> Never {
  var record: [UInt8] = [status, 0, 0, 0]
  while Bytes.withArray(&record, { Console.write(.exit, $0) }) == 0 {}
  Console.powerOff(status: Int(status))
}

// MARK: The Runtime's side of a LibOS: the addresses that the entries pass are not used here

@c @used func linux_start(_ image: UInt64, _ size: UInt64) -> Never {
  let options = Options(StartArguments.words())
  if let unknown = options.unknown {
    write(.error, "tcpecho: what is '" + String(decoding: unknown, as: UTF8.self) + "'?")
    exit(2)
  }
  guard let interface = NetworkInterface(address: options.address) else {
    write(.error, "tcpecho: the machine has no network card: apus run --net user or --net tap:NAME")
    exit(1)
  }
  do throws(TCPError) {
    let echoer = try Echoer(interface, port: options.port)
    var isKnown = false
    while options.connections == 0 || echoer.served < options.connections || interface.stack.connectionCount > 0 {
      let wasBusy = interface.turn()
      echoer.attend()
      if !isKnown, let address = interface.address {
        isKnown = true
        write(.output, "tcpecho listens at \(address.address.text) port \(options.port)")
      }
      // What was written just now goes out at once.
      interface.send(NetworkInterface.now)
      if !wasBusy { interface.wait() }
    }
    write(.output, "\(echoer.served) connections, \(echoer.bytes) bytes answered, \(interface.unsent) refused")
    exit(0)
  } catch {
    write(.error, "tcpecho: somebody else has the port")
    exit(1)
  }
}

@c @used func linux_system_call(_ registers: UInt64) {}
@c @used func linux_fault(_ registers: UInt64, _ vector: UInt64, _ error: UInt64, _ address: UInt64) {}
@c @used func linux_attention(_ registers: UInt64) {}
