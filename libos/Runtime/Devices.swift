// SPDX-License-Identifier: Apache-2.0
// Devices.swift: the console, the clock, random bytes and power, as a LibOS sees them.

import ApusABI
import CRuntime

/// The console.
public enum Console {
  /// How many input bytes the last read knew of.
  @safe nonisolated(unsafe) static var seenInputCount: UInt64 = 0

  /// What the output word said at the last write.
  @safe nonisolated(unsafe) static var seenOutputCount: UInt64 = 0

  /// Sends bytes on a stream.
  ///
  /// - Returns: How many were accepted; 0 if there is no room now.
  public static func write(_ stream: ConsoleStream, _ bytes: Bytes) -> Int {
    let count = min(bytes.count, consolePayloadLimit)
    guard count > 0 else { return 0 }
    seenOutputCount = Information.consoleOutputCount
    do throws(SystemCallError) {
      return Int(
        try kernelCall(
          .consoleWrite, CapabilitySlot.console, UInt64(stream.rawValue), bytes.address, UInt64(count)))
    } catch { return count }
  }

  /// Takes bytes that have arrived.
  ///
  /// - Returns: How many; 0 if none have.
  public static func read(_ into: Bytes) -> Int {
    seenInputCount = Information.consoleInputCount
    do throws(SystemCallError) {
      return Int(
        try kernelCall(.consoleRead, CapabilitySlot.console, into.address, UInt64(min(into.count, 4096))))
    } catch { return 0 }
  }

  /// Leaves what has arrived with the device: `Execution.suspendForConsole` waits for more than that.
  public static func leaveInput() { seenInputCount = Information.consoleInputCount }

  /// Returns when the device has taken everything: power-off waits for that by itself.
  public static func flush() {}

  /// Powers the machine off; a family that another one started ends alone.
  public static func powerOff(status: Int) -> Never {
    if FamilyPage.isThere { FamilyPage.endFamily(status: UInt64(status & 0xff)) }
    while true {
      _ = apus_call(SystemCall.powerOff.rawValue, CapabilitySlot.machine, UInt64(status & 0x7f), 0, 0, 0)
    }
  }
}

/// The clock: the time stamp counter, scaled by what the information page says.
public enum Clock {
  /// Nanoseconds per tick, times 2^32; and the inverse.
  @safe nonisolated(unsafe) private static var nanosecondScale: UInt64 = 1 << 32
  @safe nonisolated(unsafe) private static var tickScale: UInt64 = 1 << 32
  @safe nonisolated(unsafe) private static var epoch: UInt64 = 0

  static func start() {
    let page = Information.page
    nanosecondScale = (1_000_000_000 << 32 as UInt64) / max(1, page.ticks_per_second)
    tickScale = UInt64(truncatingIfNeeded: (UInt64(page.ticks_per_second) << 30) / 1_000_000_000) << 2
  }

  /// Sets what the wall clock said when the machine was switched on.
  public static func setEpoch(nanoseconds: UInt64) { epoch = nanoseconds }

  private static func scale(_ value: UInt64, _ factor: UInt64) -> UInt64 {
    let product = value.multipliedFullWidth(by: factor)
    if product.high >> 32 != 0 { return UInt64.max }
    return product.high << 32 | product.low >> 32
  }

  /// The counter.
  public static var ticks: UInt64 { runtime_rdtsc() }
  /// Nanoseconds since power-on.
  public static var monotonicNanoseconds: UInt64 { nanoseconds(fromTicks: ticks) }
  /// Nanoseconds since 1970.
  public static var realtimeNanoseconds: UInt64 { epoch &+ monotonicNanoseconds }
  /// A number of ticks in nanoseconds.
  public static func nanoseconds(fromTicks ticks: UInt64) -> UInt64 { scale(ticks, nanosecondScale) }
  /// A number of nanoseconds in ticks.
  public static func ticks(fromNanoseconds nanoseconds: UInt64) -> UInt64 { scale(nanoseconds, tickScale) }
  /// The counter's value that many nanoseconds from now; the greatest value if it is out of reach.
  public static func ticks(afterNanoseconds nanoseconds: UInt64) -> UInt64 {
    let (sum, overflow) = ticks.addingReportingOverflow(scale(nanoseconds, tickScale))
    return overflow ? UInt64.max : sum
  }
}

/// A line for the person who asked for the LibOS's own messages.
public func log(_ text: StaticString) {
  var line = Text()
  line.append(text)
  line.append("\n")
  line.send(.log)
}

/// A sentence for the person, always shown.
public func notice(_ text: [UInt8]) {
  var copy = text
  copy.append(10)
  _ = Bytes.withArray(&copy) { Console.write(.notice, $0) }
}
