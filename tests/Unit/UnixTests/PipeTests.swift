// SPDX-License-Identifier: Apache-2.0
// PipeTests.swift: pipes and FIFOs keep the promises of pipe(7) and fifo(7).

import ApusRuntime
import Testing

@testable import ApusUnix

@Suite struct PipeTests {
  private let tree = Tree()

  private func pair() -> (reader: OpenFile, writer: OpenFile) {
    let pair = PipeNode.makePair(tree.files.fileSystem, .readOnly, owner: Credentials())
    pair.reader.acquire()
    pair.writer.acquire()
    return pair
  }

  @Test func bytesFlowInOrder() throws {
    let (reader, writer) = pair()
    #expect(throws: Errno.EAGAIN) { try reader.take(1) }
    #expect(try writer.put(ascii("hello ")) == 6)
    #expect(try writer.put(ascii("world")) == 5)
    #expect(try reader.take(3) == ascii("hel"))
    #expect(try reader.take(100) == ascii("lo world"))
    #expect(reader.status().mode.kind == .fifo)
    #expect(throws: Errno.ESPIPE) { try reader.seek(0, .start) }
  }

  @Test func theEndComesWhenAllWritersAreGone() throws {
    let (reader, writer) = pair()
    writer.acquire()
    _ = try writer.put(ascii("x"))
    writer.release()
    #expect(try reader.take(5) == ascii("x"))
    #expect(throws: Errno.EAGAIN) { try reader.take(5) }
    writer.release()
    #expect(try reader.take(5) == [])
    #expect(reader.poll() == .hangup)
  }

  @Test func writingWithoutAReaderFails() throws {
    let (reader, writer) = pair()
    reader.release()
    #expect(throws: Errno.EPIPE) { try writer.put([1]) }
    #expect(writer.poll().intersects(.error))
  }

  @Test func smallWritesAreAtomicAndLargeOnesPartial() throws {
    let (reader, writer) = pair()
    #expect(try writer.put([UInt8](repeating: 1, count: 100_000)) == 65_536)
    #expect(throws: Errno.EAGAIN) { try writer.put([1]) }
    #expect(!writer.poll().intersects(.writable))
    #expect(try reader.take(4000).count == 4000)
    #expect(throws: Errno.EAGAIN) { try writer.put([UInt8](repeating: 2, count: 4096)) }
    #expect(try writer.put([UInt8](repeating: 2, count: 4000)) == 4000)
    #expect(throws: Errno.EAGAIN) { try writer.put([3]) }
    _ = try reader.take(4096)
    #expect(writer.poll().intersects(.writable))
    #expect(try writer.put([UInt8](repeating: 4, count: 5000)) == 4096)
  }

  @Test func waitersAreToldWhenItIsWorthTryingAgain() throws {
    let (reader, writer) = pair()
    let waiter = CountingWaiter()
    reader.waitQueue.add(waiter)
    _ = try writer.put([1])
    #expect(waiter.count == 1)
    reader.waitQueue.remove(waiter)
    _ = try writer.put([UInt8](repeating: 1, count: 65_535))
    writer.writeQueue.add(waiter)
    _ = try reader.take(100)
    #expect(waiter.count == 1, "less than a page of room is not worth a wake-up")
    _ = try reader.take(4096)
    #expect(waiter.count == 2)
    reader.release()
    #expect(waiter.count == 3)
  }

  @Test(arguments: 1...4)
  func randomTransfersKeepEveryByte(seed: Int) throws {
    var random = Sequence64(seed: UInt64(seed))
    let (reader, writer) = pair()
    var sent: UInt64 = 0
    var received: UInt64 = 0
    for _ in 0..<3000 {
      if random.next(below: 2) == 0 {
        let count = random.next(below: 3) == 0 ? random.next(below: 70_000) + 1 : random.next(below: 300) + 1
        let data = (0..<count).map { UInt8(truncatingIfNeeded: (sent + UInt64($0)) &* 31) }
        do throws(Errno) { sent += UInt64(try writer.put(data)) } catch { #expect(error == .EAGAIN) }
      } else {
        do throws(Errno) {
          for byte in try reader.take(random.next(below: 20_000) + 1) {
            if byte != UInt8(truncatingIfNeeded: received &* 31) { Issue.record("byte \(received)") }
            received += 1
          }
        } catch { #expect(error == .EAGAIN) }
      }
      #expect(UInt64(reader.readableByteCount ?? -1) == sent - received)
    }
  }

  @Test func aFIFOWaitsForItsOtherSide() throws {
    try tree.place("/p").makeNode(FileMode(.fifo, 0o600), device: DeviceNumber(rawValue: 0), tree.who)
    let node = try tree.node("/p")
    #expect(throws: Errno.ENXIO) { try node.open(OpenFlags.writeOnly.union(.nonBlocking), Opener()) }
    let reader = try node.open(.readOnly, Opener())
    reader.acquire()
    #expect(reader.isOpenPending)
    let writer = try node.open(.writeOnly, Opener())
    writer.acquire()
    #expect(!writer.isOpenPending)
    #expect(!reader.isOpenPending)
    // A partner that came and went has been there.
    writer.release()
    #expect(!reader.isOpenPending)
    #expect(try reader.take(1) == [])
    reader.release()
    let patient = try node.open(OpenFlags.readOnly.union(.nonBlocking), Opener())
    patient.acquire()
    #expect(!patient.isOpenPending)
    #expect(try patient.take(1) == [])
    let both = try node.open(.readWrite, Opener())
    #expect(!both.isOpenPending)
  }
}
