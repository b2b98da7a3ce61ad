// SPDX-License-Identifier: Apache-2.0
// DeviceAccess.swift: what drivers ask of whoever lets them touch hardware.
//
// Drivers hold no pointers. They name physical addresses, and a type given by the kernel (or by a test) does the
// access, so the same driver runs on the machine and against a made-up device. An implementation must do every
// access exactly once, in the order of the program, and as wide as asked (volatile).

/// Registers of devices mapped into physical memory.
public protocol RegisterAccess {
  /// Whether `count` bytes from `physical` may be accessed as registers.
  func hasRegisters(_ physical: UInt64, count: UInt64) -> Bool
  /// Reads a register of 8 bits.
  func register8(_ physical: UInt64) -> UInt8
  /// Reads a register of 16 bits.
  func register16(_ physical: UInt64) -> UInt16
  /// Reads a register of 32 bits.
  func register32(_ physical: UInt64) -> UInt32
  /// Writes a register of 8 bits.
  func setRegister8(_ physical: UInt64, _ value: UInt8)
  /// Writes a register of 16 bits.
  func setRegister16(_ physical: UInt64, _ value: UInt16)
  /// Writes a register of 32 bits.
  func setRegister32(_ physical: UInt64, _ value: UInt32)
}

/// Ordinary memory that the processor and a device both read and write.
///
/// A driver accesses only the frames that were given to it. Stores become visible in the order of the program, as
/// on x86; a load may overtake an earlier store unless `barrier()` stands between them.
public protocol SharedMemoryAccess {
  /// Reads 16 bits.
  func shared16(_ physical: UInt64) -> UInt16
  /// Reads 32 bits.
  func shared32(_ physical: UInt64) -> UInt32
  /// Writes 16 bits.
  func setShared16(_ physical: UInt64, _ value: UInt16)
  /// Writes 32 bits.
  func setShared32(_ physical: UInt64, _ value: UInt32)
  /// Writes 64 bits.
  func setShared64(_ physical: UInt64, _ value: UInt64)
  /// Makes every earlier access visible before any later one begins.
  func barrier()
}

/// The processor's 32-bit ports.
public protocol WidePortAccess {
  /// Reads a port.
  func port32(_ port: UInt16) -> UInt32
  /// Writes a port.
  func setPort32(_ port: UInt16, _ value: UInt32)
}

/// Everything that finding and driving a device takes.
public typealias DeviceAccess = RegisterAccess & SharedMemoryAccess & WidePortAccess
