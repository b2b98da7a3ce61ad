// SPDX-License-Identifier: Apache-2.0
// BlockDevice.swift: what a file system asks of a disk: transfers that start now and end later, and flushes.

import ApusRuntime

/// What a transfer does.
public enum TransferKind: UInt8, Sendable {
  /// Fills the memory from the device.
  case read
  /// Puts the memory onto the device; only a later flush makes it durable.
  case write
  /// Makes every write that had ended when this started durable.
  case flush
}

/// Why a transfer failed.
public enum DeviceError: UInt8, Error, Sendable {
  /// The medium could not be read or written.
  case medium
  /// Sectors beyond the device's end.
  case outOfRange
  /// The device takes no writes.
  case readOnly
  /// The device is gone.
  case gone
}

/// A request to a device and what became of it.
///
/// The memory belongs to the device from `start` to the end of `finish`; each piece is a multiple of the sector.
public final class BlockTransfer {
  /// What it does.
  public let kind: TransferKind
  /// The first sector.
  public let firstSector: UInt64
  /// The memory, in the order of the sectors.
  public let memory: [Bytes]
  /// What the device knows the request by while it is under way.
  public var tag: UInt64 = 0
  /// Whether the device is done with it.
  public var isDone = false
  /// What went wrong, once it is done.
  public var error: DeviceError?

  /// Describes a request.
  ///
  /// - Parameters:
  ///   - kind: What it does.
  ///   - firstSector: The first sector, of 512 bytes.
  ///   - memory: The memory, in the order of the sectors; none for a flush.
  public init(_ kind: TransferKind, firstSector: UInt64 = 0, memory: [Bytes] = []) {
    self.kind = kind
    self.firstSector = firstSector
    self.memory = memory
  }

  /// How many bytes are transferred.
  public var byteCount: Int {
    var total = 0
    for piece in memory { total += piece.count }
    return total
  }
}

/// A disk, or a part of one: sectors of 512 bytes by number.
///
/// Writes between two flushes may reach the medium in any order; a file system's block, which is what one piece of
/// memory holds, reaches it whole or not at all.
public protocol BlockDevice: AnyObject {
  /// How many sectors there are.
  var sectorCount: UInt64 { get }
  /// Whether writes are refused.
  var isReadOnly: Bool { get }
  /// Starts a transfer; several may be under way at a time.
  func start(_ transfer: BlockTransfer)
  /// Waits until a transfer is done; what went wrong is then in it.
  func finish(_ transfer: BlockTransfer)
}

/// The bytes in a sector.
public var sectorByteCount: Int { 512 }
