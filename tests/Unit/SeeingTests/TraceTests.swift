// SPDX-License-Identifier: Apache-2.0
// TraceTests.swift: the wire format, events that are lost, and a machine's trace against its ledger.

import CApusABI
import Foundation
import Testing

@testable import apus

@Suite struct WireFormatTests {
  @Test func `what is written is read again`() throws {
    var writer = MessageWriter()
    writer.number(1, 0)
    writer.number(2, 300)
    writer.number(3, UInt64.max)
    writer.fixed(4, 0x0102_0304_0506_0708)
    writer.text(536_870_911, "ä")
    writer.message(6) { $0.number(1, 7) }
    #expect(Array(writer.bytes.prefix(5)) == [0x08, 0x00, 0x10, 0xac, 0x02], "protobuf.dev's own example is 300")
    let fields = try #require(MessageField.fields(writer.bytes))
    #expect(fields.map(\.field) == [1, 2, 3, 4, 536_870_911, 6])
    #expect(
      fields.map(\.value) == [
        .number(0), .number(300), .number(UInt64.max), .fixed64(0x0102_0304_0506_0708), .bytes(Array("ä".utf8)),
        .bytes([8, 7]),
      ])
  }

  @Test func `what is cut off is refused`() {
    var writer = MessageWriter()
    writer.text(1, "hello")
    writer.fixed(2, 9)
    for count in 1..<writer.bytes.count where count != 7 {
      #expect(MessageField.fields(Array(writer.bytes.prefix(count))) == nil)
    }
    #expect(MessageField.fields([0x0b]) == nil)
  }
}

@Suite struct EventReaderTests {
  private func event(_ number: UInt64, kind: Int32 = APUS_EVENT_RUN, slot: UInt16 = 1, detail: UInt64 = 10)
    -> apus_event
  {
    apus_event(
      ticks: 1000 + number * 10, detail: detail, environment: slot, other: UInt16.max, kind: UInt8(kind), processor: 0,
      reserved: 0, number: number)
  }

  private func file(written: UInt64) throws -> MemoryFile {
    let file = try MemoryFile()
    file.change {
      $0.event_table_offset = 2 << 20
      $0.event_count = 8
      $0.events_written = written
    }
    return file
  }

  private func reader(_ file: MemoryFile) throws -> EventReader? {
    guard let pages = try file.pages() else { throw Failure(sentence: "no pages", status: 1) }
    return EventReader(pages)
  }

  private func put(_ event: apus_event, _ file: MemoryFile) {
    file.put(event, at: file.address + 2 << 20 + event.number % 8 * 32)
  }

  @Test func `a machine that keeps no events has no reader`() throws {
    #expect(try reader(MemoryFile()) == nil)
  }

  @Test func `events come in order, each once`() throws {
    let file = try file(written: 3)
    for number in 0..<UInt64(3) { put(event(number), file) }
    var reader = try #require(try self.reader(file))
    #expect(reader.take().map(\.number) == [0, 1, 2])
    #expect(reader.take().isEmpty)
    put(event(3), file)
    file.change { $0.events_written = 4 }
    #expect(reader.take().map(\.number) == [3])
    #expect(reader.lost == 0)
  }

  @Test func `what was overwritten is counted`() throws {
    let file = try file(written: 20)
    for number in 12..<UInt64(20) { put(event(number), file) }
    var reader = try #require(try self.reader(file))
    #expect(reader.take().map(\.number) == Array(12..<20))
    #expect(reader.lost == 12)
    // One is just being written over.
    for number in 20..<UInt64(23) { put(event(number), file) }
    put(event(28), file)
    file.change { $0.events_written = 23 }
    #expect(reader.take().map(\.number) == [21, 22])
    #expect(reader.lost == 13)
  }
}

@Suite struct PerfettoTraceTests {
  @Test func `booked time is a slice on two tracks, and a wakeup an arrow to the next of them`() throws {
    var trace = PerfettoTrace(title: "m", ticksPerSecond: 1_000_000_000, names: [:]) { _ in 5 }
    func event(_ kind: Int32, _ ticks: UInt64, _ slot: UInt16, _ other: UInt16, _ detail: UInt64) {
      trace.add(
        apus_event(
          ticks: ticks, detail: detail, environment: slot, other: other, kind: UInt8(kind), processor: 1, reserved: 0,
          number: 0))
    }
    event(APUS_EVENT_SLICE, 100, 1, 0xffff, 1 << 16 | 2)
    event(APUS_EVENT_WAKE, 150, 2, 1, 0)
    event(APUS_EVENT_RUN, 200, 1, 1, 100)
    event(APUS_EVENT_RUN, 300, 2, 2, 90)
    #expect(trace.bookedTicks == [1: 100, 2: 90])
    #expect(trace.slicesBegun == [1: 1])
    let packets = try #require(MessageField.fields(trace.bytes))
    var begins: [UInt64] = []
    var flows: [UInt64] = []
    var ends: [UInt64] = []
    for packet in packets {
      guard case .bytes(let body) = packet.value else { continue }
      let fields = try #require(MessageField.fields(body))
      let time = fields.first { $0.field == 8 }.map(\.value)
      guard case .bytes(let inner)? = fields.first(where: { $0.field == 11 })?.value else { continue }
      let event = try #require(MessageField.fields(inner))
      if event.contains(MessageField(field: 9, value: .number(1))), case .number(let value)? = time {
        begins.append(value)
      }
      for field in event {
        if field.field == 47, case .fixed64(let flow) = field.value { flows.append(flow) }
        if field.field == 48, case .fixed64(let flow) = field.value { ends.append(flow) }
      }
    }
    #expect(begins == [100, 100, 210, 210])
    #expect(flows == [1] && ends == [1])
  }
}

@Suite struct FailedCallTests {
  @Test func `a call that came to no reply is told when the caller goes on, and only such a one`() {
    var trace = PerfettoTrace(title: "m", ticksPerSecond: 1_000_000_000, names: [:]) { _ in 5 }
    func event(_ kind: Int32, _ ticks: UInt64, _ slot: UInt16, _ other: UInt16, _ detail: UInt64 = 0) {
      trace.add(
        apus_event(
          ticks: ticks, detail: detail, environment: slot, other: other, kind: UInt8(kind), processor: 0, reserved: 0,
          number: 0))
    }
    func says(_ words: String) -> Bool { trace.bytes.firstRange(of: Array(words.utf8)) != nil }
    event(APUS_EVENT_CALL, 100, 1, 2)
    event(APUS_EVENT_RUN, 200, 1, 2, 100)  // the callee, in the caller's time
    event(APUS_EVENT_RETURN, 300, 2, 1)
    event(APUS_EVENT_RUN, 400, 1, 1, 200)
    #expect(!says("failed"))
    event(APUS_EVENT_CALL, 500, 1, 3)
    event(APUS_EVENT_DEATH, 600, 3, 0xffff)
    event(APUS_EVENT_RUN, 700, 1, 1, 50)
    #expect(says("call of 3 failed"))
    event(APUS_EVENT_RUN, 800, 1, 1, 50)
    #expect(trace.bytes.ranges(of: Array("failed".utf8)).count == 1)
  }
}

@Suite(.serialized, .enabled(if: Built.isComplete, "build/ is not complete")) struct TraceMachineTests {
  @Test func `a trace's sums are the ledger's`() throws {
    let script =
      "i=0; while [ $i -lt 400 ]; do echo $i | /bin/busybox cat; i=$((i+1)); done | /bin/busybox tail -n 1; read x"
    let machine = try LiveMachine([
      "--name", "traced", "--icount", "--append", "trace=262144 slice-milliseconds=1", "/bin/busybox", "sh", "-c",
      script,
    ])
    defer { machine.end() }
    let pages = try machine.pages()
    let monitor = try EmulatorMonitor(entry: machine.entry(), folder: machine.folder.path + "/apus")
    var reader = try #require(EventReader(pages))
    var ticks: [UInt16: UInt64] = [:]
    var slices: [UInt16: UInt64] = [:]
    var compared = 0
    for _ in 0..<20 {
      try monitor.request("cont")
      usleep(30_000)
      try monitor.request("stop")
      guard try monitor.command("info registers").contains("CPL=3") else { continue }
      for event in reader.take() {
        switch Int32(event.kind) {
        case APUS_EVENT_RUN: ticks[event.environment, default: 0] += event.detail
        case APUS_EVENT_SLICE: slices[event.environment, default: 0] += 1
        case APUS_EVENT_DEATH:
          ticks[event.environment] = 0
          slices[event.environment] = 0
        default: break
        }
      }
      let state = try #require(pages.read())
      for (slot, record) in state.environments.enumerated() where !record.isFree {
        compared += 1
        #expect(record.ticks_used == ticks[UInt16(slot), default: 0])
        #expect(record.slices_used == slices[UInt16(slot), default: 0])
      }
    }
    #expect(reader.lost == 0)
    #expect(compared > 10)
  }

  /// A trace of a machine that stands still, and what its ledger says.
  private func trace() throws -> (bytes: [UInt8], state: MachineState) {
    let machine = try LiveMachine([
      "--name", "traced", "--append", "trace=262144", "/bin/busybox", "sh", "-c",
      "i=0; while [ $i -lt 50 ]; do echo $i | /bin/busybox cat; i=$((i+1)); done; echo done; while :; do :; done",
    ])
    defer { machine.end() }
    let pages = try machine.pages()
    try machine.expect("done\n")
    let monitor = try EmulatorMonitor(entry: machine.entry(), folder: machine.folder.path + "/apus")
    repeat {
      try monitor.request("cont")
      usleep(1000)
      try monitor.request("stop")
    } while try !monitor.command("info registers").contains("CPL=3")
    let file = machine.folder.appendingPathComponent("trace")
    let result = try machine.apus("trace", file.path, "traced", "--seconds", "0.5")
    #expect(
      result.status == 0 && result.error.contains(" events in ") && !result.error.contains("lost"), "\(result.error)")
    return (Array(try Data(contentsOf: file)), try #require(pages.read()))
  }

  @Test func `the sums of the file are the ledger's`() throws {
    let (bytes, state) = try trace()
    var ticks: [UInt64: UInt64] = [:]
    var slices: [UInt64: UInt64] = [:]
    func body(_ field: MessageField?) throws -> [MessageField] {
      guard case .bytes(let bytes)? = field?.value else { return [] }
      return try #require(MessageField.fields(bytes))
    }
    func text(_ field: MessageField?) -> String {
      guard case .bytes(let bytes)? = field?.value else { return "" }
      return String(decoding: bytes, as: UTF8.self)
    }
    for packet in try #require(MessageField.fields(bytes)) {
      let event = try body(try body(packet).first { $0.field == 11 })
      let name = text(event.first { $0.field == 23 })
      var details: [String: UInt64] = [:]
      for field in event where field.field == 4 {
        let detail = try body(field)
        guard case .number(let value)? = detail.first(where: { $0.field == 3 })?.value else { continue }
        details[text(detail.first { $0.field == 10 })] = value
      }
      if name.hasPrefix("on CPU ") { ticks[details["environment"] ?? 0, default: 0] += details["ticks"] ?? 0 }
      if name.hasPrefix("slice ") { slices[details["environment"] ?? 0, default: 0] += 1 }
      guard name == "ends", case .number(let track)? = event.first(where: { $0.field == 11 })?.value else { continue }
      ticks[track & 0xffff] = 0
      slices[track & 0xffff] = 0
    }
    var compared = 0
    for (slot, record) in state.environments.enumerated() where !record.isFree {
      #expect(record.ticks_used == ticks[UInt64(slot), default: 0])
      #expect(record.slices_used == slices[UInt64(slot), default: 0])
      compared += 1
    }
    #expect(compared >= 2)
  }

  @Test(.enabled(if: TraceMachineTests.hasSchema, "python3 has no module perfetto"))
  func `Perfetto's own schema takes the file`() throws {
    let (bytes, _) = try trace()
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("apus-trace-\(UUID().uuidString)")
    try Data(bytes).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    let program = """
      import sys
      from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema
      trace = schema.Trace()
      trace.ParseFromString(open(sys.argv[1], "rb").read())
      depth, tracks, flows, ended = {}, {}, set(), set()
      for packet in trace.packet:
        if packet.HasField("track_descriptor"):
          tracks[packet.track_descriptor.uuid] = packet.track_descriptor.name
        if packet.HasField("track_event"):
          event = packet.track_event
          assert event.track_uuid in tracks
          depth[event.track_uuid] = depth.get(event.track_uuid, 0) + {1: 1, 2: -1}.get(event.type, 0)
          flows |= set(event.flow_ids)
          ended |= set(event.terminating_flow_ids)
      assert all(value == 0 for value in depth.values()), depth
      assert len(depth) > 1 and ended <= flows and ended
      print(len(trace.packet), len(tracks))
      """
    let check = HostTool.run(["python3", "-c", program, file.path])
    #expect(check?.status == 0, "\(check?.text ?? "")")
  }

  /// Perfetto's published schema: the descriptor in PyPI's package `perfetto`.
  private static let hasSchema =
    HostTool.run(["python3", "-c", "import perfetto.protos.perfetto.trace.perfetto_trace_pb2"])?.status == 0

  @Test func `a machine without events says how to get them`() throws {
    let machine = try LiveMachine(["--name", "plain", "/bin/busybox", "sleep", "100"])
    defer { machine.end() }
    _ = try machine.pages()
    let result = try machine.apus("trace", "/dev/null", "plain")
    #expect(result.status == 64 && result.error.contains("--append trace="))
  }
}
