// SPDX-License-Identifier: Apache-2.0
// MemoryFile.swift: a file that looks like a machine's memory: information pages and what the tests put into them.

import CApusABI
import Foundation

@testable import apus

/// Memory of a machine that never ran.
final class MemoryFile: @unchecked Sendable {
  let path: String
  private let descriptor: Int32
  /// Where page 0 of the information region lies.
  let address: UInt64 = 0x12_3000
  let frameCount: Int
  private var page = apus_information()

  init(frames: Int = 2048, cpus: Int = 1, high: Bool = false) throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("apus-memory-\(UUID().uuidString)").path
    descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
    guard descriptor >= 0 else { throw Failure(sentence: "no file", status: 1) }
    frameCount = frames
    let size = frames * 4096
    guard ftruncate(descriptor, off_t(size)) == 0 else { throw Failure(sentence: "no room", status: 1) }
    page.magic = UInt64(APUS_INFORMATION_MAGIC)
    page.frame_count = UInt64(frames)
    page.environment_count = 8
    page.slice_count = 16
    page.processor_count = UInt64(cpus)
    page.account_count = 256
    page.revocation_count = 8
    page.extended_state_size = 576
    page.ticks_per_second = 1_000_000_000
    page.slice_ticks = 5_000_000
    var end: UInt64 = 4096
    func place(_ bytes: Int) -> UInt64 {
      defer { end += UInt64((bytes + 4095) / 4096 * 4096) }
      return end
    }
    page.frame_table_offset = place(frames * MemoryLayout<apus_frame>.stride)
    page.environment_table_offset = place(8 * MemoryLayout<apus_environment>.stride)
    page.timeline_offset = place(cpus * 16 * MemoryLayout<apus_slice>.stride)
    page.contract_table_offset = place(cpus * Int(APUS_CONTRACT_COUNT) * MemoryLayout<apus_contract>.stride)
    page.account_table_offset = place(256 * MemoryLayout<apus_account>.stride)
    page.revocation_table_offset = place(8 * MemoryLayout<apus_revocation>.stride)
    put(page, at: address)
    for cpu in 0..<cpus {
      for index in 0..<16 { setSlice(cpu * 16 + index, environment: UInt32(APUS_SLICE_FREE)) }
    }
    for index in 0..<frames { setFrame(index, Int32(index < 400 ? APUS_FRAME_KERNEL : APUS_FRAME_FREE)) }
  }

  deinit {
    close(descriptor)
    unlink(path)
  }

  func put<Value: BitwiseCopyable>(_ value: Value, at place: UInt64) {
    withUnsafeBytes(of: value) { _ = pwrite(descriptor, $0.baseAddress, $0.count, off_t(place)) }
  }

  func change(_ body: (inout apus_information) -> Void) {
    body(&page)
    put(page, at: address)
  }

  func setFrame(_ index: Int, _ type: Int32, account: UInt16 = 0) {
    var record = apus_frame()
    record.type = UInt8(type)
    record.account = account
    put(record, at: address + page.frame_table_offset + UInt64(index * MemoryLayout<apus_frame>.stride))
  }

  func setSlice(_ index: Int, environment: UInt32) {
    var record = apus_slice()
    record.environment = environment
    put(record, at: address + page.timeline_offset + UInt64(index * MemoryLayout<apus_slice>.stride))
  }

  func setEnvironment(_ slot: Int, _ body: (inout apus_environment) -> Void) {
    var record = apus_environment()
    record.state = UInt32(APUS_ENVIRONMENT_RUNNABLE)
    body(&record)
    put(record, at: address + page.environment_table_offset + UInt64(slot * MemoryLayout<apus_environment>.stride))
  }

  func setAccount(_ number: Int, _ body: (inout apus_account) -> Void) {
    var record = apus_account()
    body(&record)
    put(record, at: address + page.account_table_offset + UInt64(number * MemoryLayout<apus_account>.stride))
  }

  func pages() throws -> InformationPages? { InformationPages(try MachineMemory(path: Path(path.utf8))) }

  func state() throws -> MachineState {
    guard let state = try pages()?.read() else { throw Failure(sentence: "nothing found", status: 1) }
    return state
  }
}
