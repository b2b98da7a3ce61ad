// SPDX-License-Identifier: Apache-2.0
// Panic.swift: the end of the machine, for bugs of the kernel's own and machines it cannot run on.

import ApusDrivers
import ApusMachine
import CShims

/// Status of the debug-exit device when the kernel itself failed.
let panicStatus: UInt32 = 0x7e

/// Says a sentence on the serial port, as a record of the console protocol, and powers off.
func panic(_ reason: StaticString, _ a: UInt64 = 0, _ b: UInt64 = 0) -> Never {
  let port = SerialPort(ports: ProcessorPorts())
  let length = reason.utf8CodeUnitCount + 2 * 19 + 1
  port.send(4)
  port.send(0)
  port.send(UInt8(truncatingIfNeeded: length))
  port.send(UInt8(truncatingIfNeeded: length >> 8))
  for index in 0..<reason.utf8CodeUnitCount {
    port.send(reason.byte(at: index))
  }
  sendHexadecimal(a, port)
  sendHexadecimal(b, port)
  port.send(10)
  powerOff(status: panicStatus)
}

private func sendHexadecimal(_ value: UInt64, _ port: SerialPort<ProcessorPorts>) {
  port.send(32)
  port.send(48)
  port.send(120)
  for digit in 0..<16 {
    let nibble = UInt8(truncatingIfNeeded: value >> UInt64(60 - digit * 4)) & 15
    port.send(nibble < 10 ? 48 + nibble : 87 + nibble)
  }
}

/// Powers the machine off; the debug-exit device makes the emulator's exit status 2 * status + 1.
func powerOff(status: UInt32) -> Never {
  apus_out32(0xf4, status)
  // Without that device: ask the keyboard controller for a reset, which ends a machine started with -no-reboot.
  apus_out8(0x64, 0xfe)
  apus_halt_forever()
  while true {}
}

/// An exception in ring 0: a bug.
///
/// - Parameter frame: Kernel address of what the entry code pushed.
@c @used func apus_kernel_fault(_ frame: UInt64) {
  let frame = Record<apus_trap_frame>(kernelAddress: frame).value
  panic(
    "kernel fault: vector/rip, error/address", frame.vector << 56 | frame.rip & 0xff_ffff_ffff_ffff,
    frame.vector == 14 ? apus_read_cr2() : frame.error)
}
