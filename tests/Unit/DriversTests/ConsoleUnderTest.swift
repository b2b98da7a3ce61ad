// SPDX-License-Identifier: Apache-2.0
// ConsoleUnderTest.swift: a console driver on a made-up machine.

import ApusDrivers

/// How the device is reached.
enum Reach: CaseIterable { case mmio, pci }

/// A machine with a console device.
func board(_ reach: Reach) -> FakeBoard {
  let board = FakeBoard(frameCount: VirtioConsole<FakeBoard>.frameCount)
  switch reach {
  case .mmio: board.mmioBase = 0xfeb0_0e00
  case .pci: board.plugIntoPCI()
  }
  return board
}

/// The driver that a machine's console gets.
func find(_ board: FakeBoard, commandLine: String = "") -> ConsoleUnderTest? {
  let line = Array(commandLine.utf8)
  return VirtioConsole.find(
    access: board, memory: FakeMemory.start, interrupt: InterruptTarget(vector: 0x21, processor: 5),
    commandLine: { $0 < line.count ? line[$0] : 0 }
  ).map(ConsoleUnderTest.init)
}

/// The driver, shared: an expectation cannot change a variable.
final class ConsoleUnderTest {
  private var driver: VirtioConsole<FakeBoard>

  init(_ driver: VirtioConsole<FakeBoard>) { self.driver = driver }

  var isBroken: Bool { driver.isBroken }
  func beginOutput() -> UInt64? { driver.beginOutput() }
  func send(header: UInt32, count: Int) -> Bool { driver.send(header: header, count: count) }
  func awaitOutput() -> Bool { driver.awaitOutput() }
  func drainOutput(polls: Int) -> Bool { driver.drainOutput(polls: polls) }
  func arrivedInput() -> PhysicalBytes? { driver.arrivedInput() }
  func consumeInput(_ count: Int) { driver.consumeInput(count) }
  func acknowledgeInterrupt() -> ConsoleEvents { driver.acknowledgeInterrupt() }
}
