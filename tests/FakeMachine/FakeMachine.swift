// SPDX-License-Identifier: Apache-2.0
// FakeMachine.swift: stands in for QEMU in tests: reads a boot image and speaks the console's records.
//
// The start command's first argument says what the "program" does.

import ApusABI
import ApusImage
import Glibc

@main
enum FakeMachine {
  static func main() {
    let arguments = CommandLine.arguments
    guard let option = arguments.firstIndex(of: "-initrd"), option + 1 < arguments.count,
      let bytes = readFile(arguments[option + 1])
    else { stop("no image") }
    do {
      let image = try ImageReader(bytes)
      let command = try image.command()
      let words = command.arguments.map { String(decoding: $0, as: UTF8.self) }
      try act(words.count > 1 ? words[1] : "", Array(words.dropFirst(2)), image, command)
    } catch {
      stop("bad image: \(error)")
    }
  }

  static func act(
    _ verb: String, _ rest: [String], _ image: ImageReader<[UInt8]>, _ command: StartCommand
  ) throws(ImageError) {
    switch verb {
    case "echo":
      send(.output, Array((rest.joined(separator: " ") + "\n").utf8))
      exit(with: 0)
    case "cat":
      while let (kind, payload) = receive() {
        if kind == .bytes { send(.output, payload) }
        if kind == .end { break }
      }
      exit(with: 0)
    case "exit": exit(with: rest.first.flatMap { UInt32($0) } ?? 0)
    case "both":
      send(.output, Array("out\n".utf8))
      send(.error, Array("err\n".utf8))
      send(.trace, Array("trace line".utf8))
      send(.notice, Array("a notice".utf8))
      send(.log, Array("a log line\n".utf8))
      exit(with: 0)
    case "alternate":
      for turn in 0..<200 { send(turn % 2 == 0 ? .output : .error, Array("\(turn)\n".utf8)) }
      exit(with: 0)
    case "flood":
      let block = [UInt8](repeating: 0x78, count: consolePayloadLimit)
      var left = rest.first.flatMap { Int($0) } ?? 0
      while left > 0 {
        send(.output, Array(block.prefix(min(left, block.count))))
        left -= block.count
      }
      exit(with: 0)
    case "die":
      send(.log, Array("first words\nlast words\n".utf8))
      Glibc.exit(3)
    case "complain": stop("qemu: no such device")
    case "hang": while true { pause() }
    case "garbage":
      write(Array("early words of a kernel\n".utf8))
      Glibc.exit(0)
    case "linger":
      sendExit(5)
      while true { pause() }
    case "image":
      for index in 0..<image.entryCount {
        let (entry, offset) = try image.entry(index)
        var line = String(entry.mode, radix: 8) + " " + String(decoding: entry.path, as: UTF8.self)
        switch entry.content {
        case .directory: break
        case .file(let size): line += " \(size) \(offset % 4096)"
        case .symbolicLink(let target): line += " -> " + String(decoding: target, as: UTF8.self)
        case .hardLink(let other): line += " = \(other)"
        }
        send(.output, Array((line + "\n").utf8))
      }
      exit(with: 0)
    case "command":
      var lines = command.settings.map { $0.key + [0x3d] + $0.value }
      lines.append(Array("program ".utf8) + command.program)
      lines += command.arguments.map { Array("argument ".utf8) + $0 }
      lines += command.environment.map { Array("environment ".utf8) + $0 }
      for line in lines { send(.output, line + [0x0a]) }
      exit(with: 0)
    case "line":
      for argument in CommandLine.arguments { send(.output, Array((argument + "\n").utf8)) }
      exit(with: 0)
    case "records":
      send(.output, Array("ready\n".utf8))
      while let (kind, payload) = receive(), kind != .end {
        send(.output, Array("\(kind) \(payload)\r\n".utf8))
        if kind == .bytes, payload.contains(0x71) { break }
      }
      exit(with: 0)
    default: stop("unknown verb \(verb)")
    }
  }

  // MARK: records

  static func send(_ stream: ConsoleStream, _ payload: [UInt8]) {
    write(
      [stream.rawValue, 0, UInt8(payload.count & 255), UInt8(payload.count >> 8)] + payload)
  }

  static func sendExit(_ status: UInt32) {
    send(.exit, (0..<4).map { UInt8(truncatingIfNeeded: status >> ($0 * 8)) })
  }

  static func exit(with status: UInt32) -> Never {
    sendExit(status)
    Glibc.exit(1)
  }

  static func receive() -> (ConsoleInput, [UInt8])? {
    guard let header = readExactly(4), let kind = ConsoleInput(rawValue: header[0]) else { return nil }
    guard let payload = readExactly(Int(header[2]) | Int(header[3]) << 8) else { return nil }
    return (kind, payload)
  }

  // MARK: bytes

  static func stop(_ words: String) -> Never {
    _ = (words + "\n").withCString { Glibc.write(2, $0, strlen($0)) }
    Glibc.exit(1)
  }

  static func write(_ bytes: [UInt8]) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(1, $0.baseAddress.map { $0 + done }, bytes.count - done) }
      guard count > 0 else { Glibc.exit(1) }
      done += count
    }
  }

  static func readExactly(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var done = 0
    while done < count {
      let got = bytes.withUnsafeMutableBytes { read(0, $0.baseAddress.map { $0 + done }, count - done) }
      guard got > 0 else { return nil }
      done += got
    }
    return bytes
  }

  static func readFile(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      guard count > 0 else { return count == 0 ? bytes : nil }
      bytes += buffer[..<count]
    }
  }
}
