// SPDX-License-Identifier: Apache-2.0
// PseudoTerminalTests.swift: terminals whose other side is a program (pty(7)).

import ApusRuntime
import Testing

@testable import ApusUnix

@Suite struct PseudoTerminalTests {
  private let tree = Tree()
  private let devices: Devices

  init() throws {
    try tree.files.furnish()
    let console = HostConsole(tree.files.fileSystem, terminalStreams: 0, size: WindowSize(rows: 24, columns: 80))
    devices = Devices(
      console: console, pseudoTerminals: PseudoTerminals(try tree.walker.directory(ascii("/dev/pts"))))
  }

  private func open(_ path: String) throws -> OpenFile {
    let file = try tree.node(path).open(.readWrite, Opener(devices: devices))
    file.acquire()
    return file
  }

  private func master() throws -> PseudoTerminalMaster {
    try #require(try open("/dev/ptmx").asPseudoTerminal)
  }

  @Test func whatIsTypedIsReadAndEchoed() throws {
    let master = try master()
    #expect(try tree.names("/dev/pts").contains("0"))
    #expect(throws: Errno.EIO) { try open("/dev/pts/0") }
    master.isLocked = false
    let slave = try open("/dev/pts/0")
    let waiter = CountingWaiter()
    slave.waitQueue.add(waiter)
    #expect(try master.put(ascii("ab\r")) == 3)
    #expect(waiter.count == 1)
    #expect(try slave.take(9) == ascii("ab\n"))
    #expect(try master.take(9) == ascii("ab\r\n"))
    #expect(throws: Errno.EAGAIN) { try master.take(9) }
    #expect(try slave.put(ascii("x\n")) == 2)
    #expect(try master.take(9) == ascii("x\r\n"))
  }

  @Test func aFullMasterHoldsTheWriterUp() throws {
    let master = try master()
    master.isLocked = false
    let slave = try open("/dev/pts/0")
    let block = [UInt8](repeating: 0x61, count: 4096)
    var written = 0
    while let count = try? slave.put(block) { written += count }
    #expect(written >= 16_384)
    let waiter = CountingWaiter()
    slave.writeQueue.add(waiter)
    var got = 0
    while let part = try? master.take(4096) { got += part.count }
    #expect(got == written)
    #expect(waiter.count > 0)
  }

  @Test func eitherSideLearnsOfTheOthersEnd() throws {
    let one = try master()
    one.isLocked = false
    let slave = try open("/dev/pts/0")
    #expect(!one.poll().intersects(.hangup))
    _ = try slave.put(ascii("last"))
    slave.release()
    #expect(one.poll().intersects(.hangup))
    #expect(try one.take(9) == ascii("last"))
    #expect(throws: Errno.EIO) { try one.take(9) }
    let again = try open("/dev/pts/0")
    let second = try master()
    #expect(second.number == 1)
    one.release()
    #expect(try again.take(9) == [])
    #expect(throws: Errno.EIO) { try again.put([1]) }
    #expect(try tree.names("/dev/pts").contains("0") == false)
    #expect(throws: Errno.ENOENT) { try open("/dev/pts/0") }
    #expect(try master().number == 0)
  }
}
