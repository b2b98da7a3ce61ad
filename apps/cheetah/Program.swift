// SPDX-License-Identifier: Apache-2.0
// Program.swift: a web server without a UNIX: the files of the boot image, answered from where they lie.
//
// usage: cheetah [--ip 10.0.2.15/24[,10.0.2.2]] [--port 80] [--url http://127.0.0.1:8080/]
//
// `apus serve DIR` starts it. Without --ip it asks for an address by DHCP; --url is how the host's browsers reach it.

import ApusABI
import ApusNet
import ApusNetRing
import ApusRuntime

/// What the program was asked for.
private struct Options {
  var address: IPv4Configuration?
  var port: UInt16 = 80
  var url: [UInt8]?
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
      } else if word == Array("--url".utf8) {
        url = value
      } else {
        unknown = word
      }
      index += 2
    }
    if index < words.count { unknown = words[index] }
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

private func fail(_ sentence: String) -> Never {
  write(.error, "cheetah: " + sentence)
  exit(1)
}

// MARK: The Runtime's side of a LibOS: the addresses that the entries pass are not used here

@c @used func linux_start(_ image: UInt64, _ size: UInt64) -> Never {
  if let seed = StartArguments.setting("seed") { Random.seed(seed) }
  if let epoch = StartArguments.setting("epoch"), let value = Decimal.number(epoch, below: .max) {
    Clock.setEpoch(nanoseconds: UInt64(value))
  }
  let options = Options(StartArguments.words())
  if let unknown = options.unknown {
    write(.error, "cheetah: what is '" + String(decoding: unknown, as: UTF8.self) + "'?")
    exit(2)
  }
  guard
    let interface = NetworkInterface(
      address: options.address, entries: 256,
      configure: {
        $0.memoryLimit = 32 << 20
        $0.tcp.timeWait = .seconds(10)
      })
  else { fail("the machine has no network card: apus run --net user or --net tap:NAME") }
  let started = Int64(Clock.realtimeNanoseconds / 1_000_000_000)
  guard
    let site = Site(
      own: [("/.apus", "text/html; charset=utf-8", livePage.bytes)], started: started)
  else { fail("there is too little memory for the files") }
  let server = Server(interface, site)
  do throws(TCPError) { try server.listen(port: options.port) } catch { fail("somebody else has the port") }
  var isReady = false
  while true {
    let wasBusy = server.turn()
    if !isReady, let address = interface.address {
      isReady = true
      let url = options.url.map { String(decoding: $0, as: UTF8.self) }
      write(.output, "cheetah serves \(site.count) paths, \(site.byteCount) bytes")
      write(.output, url ?? "http://\(address.address.text):\(options.port)/")
    }
    if !wasBusy { interface.wait(until: server.clientCount > 0 ? server.now + .seconds(1) : nil) }
  }
}

@c @used func linux_system_call(_ registers: UInt64) {}
@c @used func linux_fault(_ registers: UInt64, _ vector: UInt64, _ error: UInt64, _ address: UInt64) {}
@c @used func linux_attention(_ registers: UInt64) {}
