// SPDX-License-Identifier: Apache-2.0
// MemoryDisk.swift: a disk in memory that records what is written, fails when told to, and can lose its power.

import ApusFiles
import ApusRuntime

/// What a disk was asked to do.
enum DiskEvent {
  /// One block's worth of a write; it reaches the medium whole or not at all.
  case write(sector: UInt64, bytes: [UInt8])
  case flush
}

final class MemoryDisk: BlockDevice {
  var bytes: [UInt8]
  var events: [DiskEvent] = []
  var isRecording = false
  var isReadOnly = false
  /// Requests beyond the end: none may ever be made.
  var strayCount = 0
  /// Sectors that cannot be read.
  var unreadable: Range<UInt64> = 0..<0
  /// Writes until one fails; nil: none does.
  var writesLeft: Int?
  /// Transfers that were started and not finished: memory that the device still has.
  var underWay = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var sectorCount: UInt64 { UInt64(bytes.count / 512) }

  func start(_ transfer: BlockTransfer) {
    underWay += 1
    transfer.tag = 1
    transfer.isDone = true
    transfer.error = perform(transfer)
  }

  func finish(_ transfer: BlockTransfer) {
    if transfer.tag == 1 { underWay -= 1 }
    transfer.tag = 0
  }

  private func perform(_ transfer: BlockTransfer) -> DeviceError? {
    if transfer.kind == .flush {
      if isRecording { events.append(.flush) }
      return nil
    }
    let count = UInt64(transfer.byteCount / 512)
    guard transfer.byteCount % 512 == 0, transfer.firstSector <= sectorCount,
      count <= sectorCount - transfer.firstSector
    else {
      strayCount += 1
      return .outOfRange
    }
    let range = transfer.firstSector..<transfer.firstSector + count
    var sector = transfer.firstSector
    if transfer.kind == .read {
      if !unreadable.isEmpty, unreadable.overlaps(range) { return .medium }
      for piece in transfer.memory {
        piece.copy(Array(bytes[Int(sector) * 512..<Int(sector) * 512 + piece.count]))
        sector += UInt64(piece.count / 512)
      }
      return nil
    }
    if isReadOnly { return .readOnly }
    if let left = writesLeft {
      if left == 0 { return .medium }
      writesLeft = left - 1
    }
    for piece in transfer.memory {
      let contents = piece.array
      bytes.replaceSubrange(Int(sector) * 512..<Int(sector) * 512 + contents.count, with: contents)
      if isRecording { events.append(.write(sector: sector, bytes: contents)) }
      sector += UInt64(contents.count / 512)
    }
    return nil
  }
}

/// What the medium may hold after a cut: everything before the last flush, and any of the writes since.
struct PowerCut {
  let base: [UInt8]
  let events: [DiskEvent]

  /// The image if the power goes after some events.
  ///
  /// - Parameters:
  ///   - count: How many events happened.
  ///   - survives: Whether a write since the last flush reached the medium; the last one's number is `count` - 1.
  /// - Returns: The medium.
  func image(after count: Int, survives: (Int) -> Bool) -> [UInt8] {
    var image = base
    var flushed = 0
    for index in 0..<count { if case .flush = events[index] { flushed = index } }
    for index in 0..<count where index < flushed || survives(index) {
      if case .write(let sector, let bytes) = events[index] {
        image.replaceSubrange(Int(sector) * 512..<Int(sector) * 512 + bytes.count, with: bytes)
      }
    }
    return image
  }
}
