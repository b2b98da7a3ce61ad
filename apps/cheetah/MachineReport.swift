// SPDX-License-Identifier: Apache-2.0
// MachineReport.swift: who owns what, read from the kernel's information pages, as JSON for the page /.apus.

import ApusABI
import ApusHTTP
import ApusNet
import ApusNetRing
import ApusRuntime
import CApusABI

/// A report of one moment.
struct MachineReport {
  private(set) var json: [UInt8] = []
  /// Cells of the map of frames.
  private static var cells: Int { 1024 }
  /// As many connections, and as many filters, as are listed.
  private static var listed: Int { 256 }

  init(_ server: Server) {
    json.append("{\"seconds\":")
    json.append(number: Int(Clock.monotonicNanoseconds / 1_000_000_000))
    appendMachine()
    appendFrames()
    appendEnvironments()
    appendSlices()
    appendFilters()
    appendServer(server)
    json.append("}\n")
  }

  private mutating func key(_ name: StaticString) {
    if let last = json.last, last != 123, last != 91 { json.append(44) }
    json.append(34)
    json.append(name)
    json.append("\":")
  }

  private mutating func field(_ name: StaticString, _ value: UInt64) {
    key(name)
    json.append(number: Int(truncatingIfNeeded: value & 0x7fff_ffff_ffff_ffff))
  }

  private mutating func field(_ name: StaticString, text: StaticString) {
    key(name)
    json.append(34)
    json.append(text)
    json.append(34)
  }

  private mutating func open(_ bracket: UInt8) {
    if let last = json.last, last == 125 || last == 93 { json.append(44) }
    json.append(bracket)
  }

  private mutating func appendMachine() {
    let page = MachineTables.page
    field("processors", page.processor_count)
    field("ticksPerSecond", page.ticks_per_second)
    field("idleTicks", page.idle_ticks)
    field("unclaimed", page.packets_unclaimed)
    key("accounts")
    json.append(91)
    for number in 0..<Int(page.account_count) {
      let account = MachineTables.account(number)
      guard account.frames.used + account.environments.used + account.slices.used > 0 else { continue }
      open(123)
      field("account", UInt64(number))
      field("frames", UInt64(account.frames.used))
      field("frameLimit", UInt64(account.frames.limit))
      field("environments", UInt64(account.environments.used))
      field("slices", UInt64(account.slices.used))
      json.append(125)
    }
    json.append(93)
  }

  /// Frames by their kind, and a map: each cell stands for a run of frames, by the owner that most of them have.
  private mutating func appendFrames() {
    let count = Int(MachineTables.page.frame_count)
    var kinds = [Int](repeating: 0, count: 9)
    let run = max(1, (count + Self.cells - 1) / Self.cells)
    var map: [UInt8] = []
    var at = 0
    while at < count {
      // Free, kernel, tables, and the owner of the last ordinary frame, which is almost always everybody's in a cell.
      var free = 0
      var kernel = 0
      var tables = 0
      var absent = 0
      var owner: UInt16 = 0
      let end = min(count, at + run)
      for number in at..<end {
        let frame = MachineTables.frame(number)
        let kind = Int(frame.type)
        if kind < kinds.count { kinds[kind] += 1 }
        switch Int32(frame.type) {
        case APUS_FRAME_FREE, APUS_FRAME_COOLING: free += 1
        case APUS_FRAME_KERNEL: kernel += 1
        case APUS_FRAME_ABSENT: absent += 1
        case APUS_FRAME_ORDINARY: owner = frame.account
        default: tables += 1
        }
      }
      let ordinary = end - at - free - kernel - tables - absent
      let most = max(max(free, kernel), max(max(tables, absent), ordinary))
      let letter: UInt8 =
        most == ordinary ? 48 + UInt8(owner % 10) : most == free ? 46 : most == kernel ? 107 : most == tables ? 116 : 32
      map.append(letter)
      at = end
    }
    key("frames")
    json.append(123)
    field("count", UInt64(count))
    field("run", UInt64(run))
    field("free", MachineTables.page.frames_free)
    field("ordinary", UInt64(kinds[Int(APUS_FRAME_ORDINARY)]))
    field("tables", UInt64(kinds[3] + kinds[4] + kinds[5] + kinds[6]))
    field("kernel", UInt64(kinds[Int(APUS_FRAME_KERNEL)]))
    key("map")
    json.append(34)
    json += map
    json.append(34)
    json.append(125)
  }

  private mutating func appendEnvironments() {
    key("environments")
    json.append(91)
    for slot in 0..<Int(MachineTables.page.environment_count) {
      let environment = MachineTables.environment(slot)
      guard environment.state != UInt32(APUS_ENVIRONMENT_FREE) else { continue }
      open(123)
      field("slot", UInt64(slot + 1))
      field("account", UInt64(environment.account))
      field("text", text: Self.state(environment))
      field("slices", UInt64(environment.slices_owned))
      field("used", environment.slices_used)
      field("ticks", environment.ticks_used)
      field("calls", environment.calls)
      field("exceptions", environment.exception_upcalls)
      json.append(125)
    }
    json.append(93)
  }

  private static func state(_ environment: apus_environment) -> StaticString {
    switch Int32(bitPattern: environment.state) {
    case APUS_ENVIRONMENT_RUNNABLE: environment.running_on != 0 ? "running" : "ready"
    case APUS_ENVIRONMENT_SLEEPING: "sleeping"
    case APUS_ENVIRONMENT_DYING: "dying"
    default: "calling"
    }
  }

  /// The timelines, as runs of slices of one owner.
  private mutating func appendSlices() {
    let page = MachineTables.page
    key("timelines")
    json.append(91)
    for processor in 0..<Int(page.processor_count) {
      open(91)
      var number = 0
      while number < Int(page.slice_count) {
        let owner = MachineTables.slice(number, processor: processor).environment
        var used: UInt64 = 0
        let start = number
        while number < Int(page.slice_count) {
          let slice = MachineTables.slice(number, processor: processor)
          guard slice.environment == owner else { break }
          used &+= slice.used
          number += 1
        }
        open(123)
        field("slices", UInt64(number - start))
        field("environment", owner == UInt32(APUS_SLICE_FREE) ? 0 : UInt64(owner) + 1)
        field("used", used)
        json.append(125)
      }
      json.append(93)
    }
    json.append(93)
  }

  private mutating func appendFilters() {
    let page = MachineTables.page
    key("rings")
    json.append(91)
    for index in 0..<Int(page.packet_ring_count) {
      let ring = MachineTables.packetRing(index)
      guard ring.state != UInt8(APUS_PACKET_RING_FREE) else { continue }
      open(123)
      field("ring", UInt64(index))
      field("account", UInt64(ring.account))
      field("entries", UInt64(ring.entries))
      field("produced", ring.produced)
      field("overruns", UInt64(ring.overruns))
      json.append(125)
    }
    json.append(93)
    key("filters")
    json.append(91)
    var listed = 0
    for number in 0..<Int(page.filter_count) where listed < Self.listed {
      let filter = MachineTables.filter(number)
      guard filter.state != 0 else { continue }
      listed += 1
      open(123)
      field("filter", UInt64(number))
      field("account", UInt64(filter.account))
      field("ring", UInt64(filter.ring))
      field("hits", filter.hits)
      json.append(125)
    }
    json.append(93)
  }

  private mutating func appendServer(_ server: Server) {
    let counts = server.interface.stack.counts
    key("server")
    json.append(123)
    field("requests", UInt64(server.requests))
    field("accepted", UInt64(server.accepted))
    field("bytes", UInt64(server.answeredBytes))
    field("timeouts", UInt64(server.timeouts))
    field("framesReceived", UInt64(counts.framesReceived))
    field("framesSent", UInt64(counts.framesSent))
    field("malformed", UInt64(counts.malformed))
    field("badChecksums", UInt64(counts.badChecksums))
    field("unwanted", UInt64(counts.unwanted))
    field("overflows", UInt64(counts.overflows))
    field("cookiesSent", UInt64(counts.cookiesSent))
    field("unsent", UInt64(server.interface.unsent))
    field("buffered", UInt64(server.interface.stack.bufferedBytes))
    field("heap", UInt64(HeapStatistics.mappedBytes))
    json.append(125)
    key("statuses")
    json.append(91)
    open(123)
    field("status", 200)
    field("count", UInt64(server.ok))
    json.append(125)
    for entry in server.statuses {
      open(123)
      field("status", UInt64(entry.status.rawValue))
      field("count", UInt64(entry.count))
      json.append(125)
    }
    json.append(93)
    appendConnections(server)
    appendDocuments(server)
  }

  private mutating func appendConnections(_ server: Server) {
    key("connectionCount")
    json.append(number: server.clientCount)
    key("connections")
    json.append(91)
    var listed = 0
    for client in server.clients where listed < Self.listed {
      guard let client else { continue }
      do throws(TCPError) {
        let ends = try server.interface.stack.ends(client.handle)
        let status = try server.interface.stack.status(client.handle)
        guard case .v4(let address) = ends.remote.address else { continue }
        listed += 1
        open(123)
        key("peer")
        json.append(34)
        json += Array(address.text.utf8)
        json.append(58)
        json.append(number: Int(ends.remote.port))
        json.append(34)
        field("requests", UInt64(client.requests))
        field("queued", UInt64(status.unacknowledged))
        field("roundTrip", UInt64(max(0, status.roundTrip?.nanoseconds ?? 0)))
        field("text", text: client.isClosing ? "closing" : "open")
        json.append(125)
      } catch {}
    }
    json.append(93)
  }

  private mutating func appendDocuments(_ server: Server) {
    key("documents")
    json.append(91)
    var order = Array(0..<server.site.count)
    order.sort { server.site.document($0).requests > server.site.document($1).requests }
    for index in order.prefix(24) {
      let document = server.site.document(index)
      let requests = document.requests + (document.compressed?.requests ?? 0)
      guard requests > 0 else { continue }
      open(123)
      key("path")
      appendText(document.path)
      field("requests", UInt64(requests))
      field("bytes", UInt64(document.bytes + (document.compressed?.bytes ?? 0)))
      json.append(125)
    }
    json.append(93)
  }

  /// A text in quotes; what is not printable ASCII is escaped.
  private mutating func appendText(_ text: [UInt8]) {
    json.append(34)
    for byte in text {
      if byte < 32 || byte == 34 || byte == 92 || byte == 60 {
        json.append("\\u00")
        if byte < 16 { json.append(48) }
        json.append(hexadecimal: UInt64(byte))
      } else {
        json.append(byte)
      }
    }
    json.append(34)
  }
}
