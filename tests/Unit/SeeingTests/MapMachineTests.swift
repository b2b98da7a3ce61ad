// SPDX-License-Identifier: Apache-2.0
// MapMachineTests.swift: the map of a machine under attack against the ledgers and page tables, at random instants.

import CApusABI
import Foundation
import Testing

@testable import apus

@Suite(.serialized, .enabled(if: Built.isComplete, "build/ is not complete")) struct MapMachineTests {
  /// Families that make random calls, are killed and come again.
  static let load = [
    "--bare", "--libos", Built.file("hostile.elf"), "--memory", "64M", "--icount", "--append",
    "slice-milliseconds=1 critical-milliseconds=10", "hostile", "fuzz-seeds", "first=1", "seeds=100000",
  ]

  @Test(arguments: ["microvm", "q35"])
  func `the map agrees with the ledgers at random instants`(type: String) throws {
    let machine = try LiveMachine(["--machine", type] + Self.load)
    defer { machine.end() }
    let pages = try machine.pages()
    let monitor = try EmulatorMonitor(entry: machine.entry(), folder: machine.folder.path + "/apus")
    var generator = SystemRandomNumberGenerator()
    var looked = 0
    var accounts: Set<UInt16> = []
    // A slow host may see the first families only for a while.
    for _ in 0..<5000 where looked < (type == "q35" ? 10 : 100) || accounts.count <= 2 {
      try monitor.request("cont")
      // However long that takes: the instant is to be any.
      usleep(UInt32.random(in: 0...8000, using: &generator))
      try monitor.request("stop")
      // In the middle of a call the ledgers are being changed.
      guard try monitor.command("info registers").contains("CPL=3") else { continue }
      looked += 1
      let map = MachineMap(try #require(pages.read()))
      #expect(map.unsteady == 0)
      try compare(map, LedgerCount(pages))
      accounts.formUnion(map.holdings.map(\.account))
    }
    #expect(looked >= 10)
    #expect(accounts.count > 2, "the first family, its neighbour and others")
  }

  private func compare(_ map: MachineMap, _ count: LedgerCount) throws {
    struct Frames: Decodable { let first, count: Int; let kind: String; let account: UInt16? }
    struct Account: Decodable { let account: UInt16; let ordinary, tables, cooling, slices, environments: Int }
    struct Document: Decodable { let free, kernel: Int; let accounts: [Account]; let frames: [Frames] }
    let document = try JSONDecoder().decode(Document.self, from: Data(map.json().utf8))

    // Each frame of the map is what the page tables and the frame's own record make of it.
    let references = try count.references()
    var covered = 0
    for run in document.frames {
      #expect(run.first == covered)
      covered += run.count
      for index in run.first..<run.first + run.count {
        let record = try count.frame(index)
        switch run.kind {
        case "ordinary", "table":
          guard record.account == run.account ?? 0, Int(record.mappings) == references[index, default: 0] else {
            Issue.record("frame \(index): \(record), the tables name it \(references[index, default: 0]) times")
            return
          }
        case "free":
          guard references[index] == nil, record.account == 0 else {
            Issue.record("free frame \(index): \(record)")
            return
          }
        default: break
        }
      }
    }
    #expect(covered == Int(count.page.frame_count))
    #expect(document.free == Int(count.page.frames_free))

    // Each account's sums are what its budget says it uses, and no account is missing.
    // Account 0 has no budget: what was taken by force is there until nothing maps it any more.
    for number in 1..<Int(count.page.account_count) {
      let record = try count.account(number)
      let entry = document.accounts.first { $0.account == UInt16(number) }
      #expect(Int(record.frames.used) == (entry.map { $0.ordinary + $0.tables + $0.cooling } ?? 0))
      #expect(Int(record.slices.used) == (entry?.slices ?? 0))
      #expect(Int(record.environments.used) == (entry?.environments ?? 0))
    }
  }
}
