// SPDX-License-Identifier: Apache-2.0
// PartsTests.swift: the command's pure parts: records, memory sizes, words, the call scan, the QEMU line.

import ApusABI
import Testing

@testable import apus

@Suite struct RecordTests {
  @Test(arguments: [1, 2, 3, 5, 7, 1000])
  func `records come out whole however the bytes arrive`(piece: Int) {
    var stream: [UInt8] = []
    var expected: [[UInt8]] = []
    for length in [0, 1, 4, 255, 256, 4096] {
      let payload = (0..<length).map { UInt8(truncatingIfNeeded: $0) }
      expected.append(payload)
      stream += [1, 9, UInt8(length & 255), UInt8(length >> 8)] + payload
    }
    var decoder = RecordDecoder()
    var found: [[UInt8]] = []
    var start = 0
    while start < stream.count {
      decoder.append(stream[start..<min(start + piece, stream.count)])
      while let record = decoder.next() {
        #expect(record.stream == .output)
        #expect(record.account == 9)
        found.append(Array(record.payload))
      }
      start += piece
    }
    #expect(found == expected)
    #expect(decoder.stray.isEmpty)
  }

  @Test(arguments: [[0x53, 0x65, 0x61, 0x42] as [UInt8], [1, 0, 1, 0x10]])
  func `what is no record is kept aside`(bytes: [UInt8]) {
    var decoder = RecordDecoder()
    decoder.append([6, 0, 1, 0, 0x41] + bytes)
    #expect(decoder.next()?.payload == [0x41])
    #expect(decoder.next() == nil)
    #expect(decoder.stray == bytes)
  }

  @Test func `a queue gives its bytes in order, in any pieces`() {
    var queue = ByteQueue()
    queue.append(.bytes, [1, 2, 3])
    queue.append(.end, [])
    var taken: [UInt8] = []
    while !queue.isEmpty {
      queue.consume { bytes in
        taken += bytes.prefix(2)
        return min(2, bytes.count)
      }
    }
    #expect(taken == [1, 0, 3, 0, 1, 2, 3, 2, 0, 0, 0])
  }

  @Test func `lines are put together and only the last are remembered`() {
    var lines = LineAssembler(remembered: 2)
    #expect(lines.add(Array("one\ntw".utf8)) == ["one"])
    #expect(lines.add(Array("o\r\nthree".utf8)) == ["two"])
    #expect(lines.flush() == ["three"])
    #expect(lines.recent == ["two", "three"])
  }
}

@Suite struct MemoryTests {
  @Test(
    arguments: [
      ("256", 256 << 20), ("256M", 256 << 20), ("1g", 1 << 30), ("64MiB", 64 << 20), ("65536K", 64 << 20),
      ("2GB", 2 << 30),
    ] as [(String, UInt64)])
  func `sizes are understood`(text: String, bytes: UInt64) {
    #expect(Memory(text)?.bytes == bytes)
  }

  @Test(arguments: ["", "M", "0", "-1", "1.5G", "12X", "99999999999G", "1 G"])
  func `other words are not`(text: String) {
    #expect(Memory(text) == nil)
  }
}

@Suite struct CallScanTests {
  private func scan(_ code: [UInt8]) -> CallScan { CallScan(code: code + [0x0f, 0x05, 0xc3]) }

  @Test(
    arguments: [
      ([0xb8, 0x27, 0, 0, 0], 39),
      ([0x48, 0xc7, 0xc0, 0x3c, 0, 0, 0], 60),
      ([0x31, 0xc0], 0),
      ([0x6a, 0x3b, 0x58], 59),
      // mov $1,%eax; mov %rdi,%rsi; lea 8(%rsp),%rdx
      ([0xb8, 1, 0, 0, 0, 0x48, 0x89, 0xfe, 0x48, 0x8d, 0x54, 0x24, 0x08], 1),
      // mov $9,%eax; mov $0x22,%r10d: the nearer load is of another register
      ([0xb8, 9, 0, 0, 0, 0x41, 0xba, 0x22, 0, 0, 0], 9),
      ([0xb8, 9, 0, 0, 0, 0x41, 0xb8, 0xff, 0xff, 0xff, 0xff], 9),
      // mov $1,%eax; mov $2,%eax: the last one counts
      ([0xb8, 1, 0, 0, 0, 0xb8, 2, 0, 0, 0], 2),
    ] as [([UInt8], UInt32)])
  func `a number is followed to its call`(code: [UInt8], number: UInt32) {
    let found = scan(code)
    #expect(found.sites == [number: 1])
    #expect(found.undetermined == 0)
  }

  @Test(
    arguments: [
      [],
      // mov %rdi,%rax
      [0xb8, 1, 0, 0, 0, 0x48, 0x89, 0xf8],
      // call: what it returns is not known
      [0xb8, 1, 0, 0, 0, 0xe8, 0, 0, 0, 0],
      // ret between: the load belongs to another function
      [0xb8, 1, 0, 0, 0, 0xc3],
      // a load of 64 bits with a great value
      [0xb8, 0, 0, 0, 0x40],
    ] as [[UInt8]])
  func `a number that comes from elsewhere is not guessed`(code: [UInt8]) {
    let found = scan(code)
    #expect(found.sites.isEmpty)
    #expect(found.undetermined == 1)
  }

  @Test(
    arguments: [
      ([0x90], 1), ([0x0f, 0x05], 2), ([0x48, 0x89, 0xe5], 3), ([0x48, 0x8b, 0x04, 0x25, 1, 2, 3, 4], 8),
      ([0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8], 10), ([0x66, 0xb8, 1, 2], 4), ([0xc5, 0xf8, 0x77], 3),
      ([0xf6, 0xc1, 0x01], 3), ([0xf7, 0xd9], 2), ([0x0f, 0x84, 0, 0, 0, 0], 6),
      ([0x66, 0x0f, 0x3a, 0x0f, 0xc1, 0x08], 6), ([0x48, 0x8d, 0x05, 0, 0, 0, 0], 7), ([0xe8, 0, 0, 0, 0], 5),
      ([0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0], 9), ([0x44, 0x8b, 0x5c, 0x24, 0x10], 5),
      ([0xf3, 0x0f, 0x1e, 0xfa], 4),
    ] as [([UInt8], Int)])
  func `instructions have the length that the manual says`(code: [UInt8], length: Int) {
    #expect(Instruction((code + [0xcc])[...], at: 0)?.length == length)
    #expect(Instruction(code.dropLast(), at: 0)?.length != length)
  }
}

@Suite struct WordsTests {
  @Test func `quotes keep words together`() {
    #expect(Words.split("a 'b c' \"d 'e\"  '' f") == ["a", "b c", "d 'e", "", "f"])
  }

  @Test func `escapes become bytes`() {
    #expect(Words.unescaped(#"a\n\x03\\\e\r"#) == [0x61, 0x0a, 0x03, 0x5c, 0x1b, 0x0d])
  }

  @Test func `Swift Testing's lines are counted`() {
    let text = """
      ◇ Test run started.
      ✔ Test "a" passed after 0.001 seconds.
      ✔ Test case passing 1 argument x → 1 to f(x:) passed after 0.001 seconds.
      ✘ Test b() failed after 0.1 seconds with 1 issue.
      ➜ Test c() skipped: "no tool"
      ✔ Suite S passed after 0.2 seconds.
      ✘ Test run with 3 tests in 1 suite failed after 0.2 seconds with 1 issue.
      """
    let crashed = "◇ Test a() started.\n◇ Test b() started.\n✔ Test a() passed after 1 seconds."
    #expect(HostTests.unfinished(crashed.split(separator: "\n")) == ["b()"])
    let count = HostTests.count(text)
    #expect([count.passed, count.failed, count.skipped] == [1, 1, 1])
  }
}

@Suite struct MachineLineTests {
  private let line = MachineLine(emulator: "/q", kernel: "/a b/kernel", image: "/i")

  @Test(arguments: MachineType.allCases, ConsoleDevice.allCases)
  func `a machine has exactly one console`(machine: MachineType, console: ConsoleDevice) {
    var line = line
    line.machine = machine
    line.console = console
    let words = line.arguments
    #expect(words.filter { $0.contains("chardev:console") || $0.contains("chardev=console") }.count == 1)
    #expect(words.contains("isa-debug-exit,iobase=0xf4,iosize=4"))
  }

  @Test func `a processor can be had without a feature`() {
    var line = line
    #expect(line.shellText.contains(" -cpu max "))
    line.withheldFeatures = ["pku", "la57"]
    #expect(line.shellText.contains(" -cpu max,-pku,-la57 "))
  }

  @Test(arguments: MachineType.allCases)
  func `a card is plugged into what was asked for`(machine: MachineType) {
    var line = line
    line.machine = machine
    #expect(!line.arguments.contains("-netdev"))
    line.network = .user
    line.publishedPorts = [PublishedPort("8080:80")!, PublishedPort("7")!]
    let plug = "user,id=network,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:127.0.0.1:8080-:80"
    #expect(line.arguments.contains(plug + ",hostfwd=tcp:127.0.0.1:7-:7,hostfwd=udp:127.0.0.1:7-:7"))
    line.network = .tap("tap0")
    #expect(line.arguments.contains("tap,id=network,ifname=tap0,script=no,downscript=no"))
    #expect(line.arguments.filter { $0.hasPrefix("virtio-net-") && $0.contains("netdev=network") }.count == 1)
  }

  @Test(arguments: [
    "", "tap", "tap:", "user:", "tap:a b", "tap:a/b", "tap:a,b", "tap:..", "tap:0123456789abcdef", "bridge", "TAP:x",
  ])
  func `networks that there are not`(text: String) { #expect(MachineNetwork(text) == nil) }

  @Test(arguments: ["", ":", "1:", ":1", "0:1", "1:0", "65536:1", "1:2:3", "a:1", "-1:1", "+1:1", "1 :2"])
  func `ports that there are not`(text: String) { #expect(PublishedPort(text) == nil) }

  @Test func `odd words are quoted for the shell`() {
    #expect(line.shellText.contains("-kernel '/a b/kernel'"))
  }
}

@Suite struct DifferenceTests {
  @Test func `equal outputs have none and others name the line`() {
    #expect(TestRunner.difference(Array("a\nb".utf8), Array("a\nb".utf8)) == nil)
    #expect(TestRunner.difference(Array("a\nb".utf8), Array("a\nc".utf8))?.hasPrefix("line 2") == true)
    #expect(TestRunner.difference(Array("a\n".utf8), Array("a".utf8)) != nil)
    #expect(TestRunner.contains([1, 2, 3], [2, 3]))
    #expect(!TestRunner.contains([1, 2, 3], [3, 2]))
  }
}
