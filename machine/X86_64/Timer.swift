// SPDX-License-Identifier: Apache-2.0
// Timer.swift: the local APIC's one-shot timer, the time stamp counter, and their calibration.

import CShims

/// The local APIC as far as one CPU needs it.
///
/// SDM vol. 3, chapter 11.
public struct InterruptController {
  private let base: UInt64
  /// Timer counts per 2^32 ticks of the time stamp counter.
  private var countsPerTick: UInt64 = 0
  /// Ticks of the time stamp counter in a second.
  public private(set) var ticksPerSecond: UInt64 = 0

  /// Masks the legacy controllers, switches the local APIC on and measures its timer and the time stamp counter.
  public init() {
    base = apus_rdmsr(0x1b) & 0xffff_f000
    apus_out8(0x21, 0xff)
    apus_out8(0xa1, 0xff)
    write(0xf0, 0x100 | UInt32(APUS_VECTOR_SPURIOUS))
    write(0x3e0, 0b1011)  // divide by 1
    write(0x320, 1 << 16)
    calibrate()
    write(0x320, UInt32(APUS_VECTOR_TIMER))
  }

  /// Switches the local APIC of another CPU on; its clocks are those of the first.
  public func startHere() {
    write(0xf0, 0x100 | UInt32(APUS_VECTOR_SPURIOUS))
    write(0x3e0, 0b1011)
    write(0x320, UInt32(APUS_VECTOR_TIMER))
  }

  /// Sends an interrupt to another CPU, without waiting for what it does.
  ///
  /// - Parameters:
  ///   - command: Vector and delivery mode, as in the low half of the interrupt command register.
  ///   - identifier: Which CPU.
  public func send(command: UInt32, to identifier: UInt8) {
    // The controller takes the one before within some microseconds, whoever the target is (SDM vol. 3, 10.6.1).
    var attempts = 0
    while read(0x300) & 1 << 12 != 0, attempts < 1000 { attempts += 1 }
    write(0x310, UInt32(identifier) << 24)
    write(0x300, command)
  }

  private func write(_ register: UInt64, _ value: UInt32) { PhysicalMemory.setDevice32(base + register, value) }
  private func read(_ register: UInt64) -> UInt32 { PhysicalMemory.device32(base + register) }

  /// Both clocks are read at two edges of the interval timer's channel 0, at least two milliseconds apart.
  ///
  /// That timer counts at 1,193,182 Hz and is read back by latching, which needs no gate and so works on every machine
  /// type.
  private mutating func calibrate() {
    apus_out8(0x43, 0x34)  // channel 0, low then high byte, mode 2
    apus_out8(0x40, 0)
    apus_out8(0x40, 0)
    let span: UInt64 = 2387
    write(0x380, 0xffff_ffff)
    let first = intervalCount()
    let startTicks = apus_rdtsc()
    let startCounts = read(0x390)
    var last = first
    while UInt64((first &- last) & 0xffff) < span { last = intervalCount() }
    let ticks = apus_rdtsc() &- startTicks
    let counts = UInt64(startCounts &- read(0x390))
    let periods = UInt64((first &- last) & 0xffff)
    write(0x380, 0)
    ticksPerSecond = max(1_000_000, ticks &* 1_193_182 / max(periods, 1))
    countsPerTick = max(1, (counts << 32) / max(ticks, 1))
  }

  private func intervalCount() -> UInt32 {
    apus_out8(0x43, 0)
    let low = UInt32(apus_in8(0x40))
    return low | UInt32(apus_in8(0x40)) << 8
  }

  /// Asks for one timer interrupt.
  ///
  /// - Parameter ticks: After how many ticks of the time stamp counter.
  @inline(__always) public func interrupt(afterTicks ticks: UInt64) {
    let counts = (min(ticks, 1 << 30) &* (countsPerTick >> 12)) >> 20
    write(0x380, UInt32(truncatingIfNeeded: max(counts, 1)))
  }

  /// Tells the controller that an interrupt has been taken.
  @inline(__always) public func acknowledge() { write(0xb0, 0) }

  /// Identifier of the local APIC of the CPU that asks, before there is a controller.
  public static var ownIdentifier: UInt8 { UInt8(truncatingIfNeeded: apus_cpuid(1, 0).ebx >> 24) }

  /// Identifier of this CPU's local APIC.
  public var identifier: UInt8 { UInt8(read(0x20) >> 24) }
}
