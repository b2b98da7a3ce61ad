// SPDX-License-Identifier: Apache-2.0
// Pipe.swift: pipes and FIFOs (pipe(7), fifo(7)).

import ApusRuntime

/// The buffer between the ends of a pipe: a ring of pages that are there only while they are needed.
public final class Pipe {
  /// What a write of at most this many bytes is never torn apart by (PIPE_BUF).
  public static var atomicByteCount: Int { 4096 }
  private static var pageCount: Int { 16 }
  /// How many bytes fit.
  public static var capacity: Int { pageCount * 4096 }

  private var pages: [Page?] = [Page?](repeating: nil, count: Pipe.pageCount)
  private var heldPages = 0
  /// Position of the first byte; less than the capacity.
  private var head = 0
  /// Bytes in the ring.
  public private(set) var count = 0
  fileprivate(set) var readers = 0
  fileprivate(set) var writers = 0
  /// How often an end has been opened, so that a FIFO's opener sees a partner that came and went.
  fileprivate(set) var readerOpenings = 0
  fileprivate(set) var writerOpenings = 0
  /// Who waits to read, and who waits to write.
  let readQueue = WaitQueue()
  let writeQueue = WaitQueue()

  init() {}

  deinit { for page in pages { page?.release() } }

  var room: Int { Pipe.capacity - count }

  /// Takes bytes out.
  func read(_ into: Bytes) throws(Errno) -> Int {
    if into.count == 0 { return 0 }
    if count == 0 {
      if writers == 0 { return 0 }
      throw .EAGAIN
    }
    let total = min(count, into.count)
    var done = 0
    while done < total {
      let inPage = head & 4095
      let span = min(4096 - inPage, total - done)
      if let page = pages[head >> 12] { into.copy(page.bytes.part(inPage, span), to: done) }
      done += span
      head = (head + span) & (Pipe.capacity - 1)
    }
    count -= total
    if count == 0 { settle() }
    if !writeQueue.isEmpty && room >= Pipe.atomicByteCount { writeQueue.wakeAll() }
    return total
  }

  /// Starts again at the first page, which stays warm, and gives the others back.
  private func settle() {
    head = 0
    if heldPages <= 1 { return }
    for index in 1..<Pipe.pageCount {
      if let page = pages[index] {
        page.release()
        pages[index] = nil
      }
    }
    heldPages = pages[0] == nil ? 0 : 1
  }

  /// Puts bytes in: all of them if they are at most `atomicByteCount`, otherwise as many as fit.
  func write(_ from: Bytes) throws(Errno) -> Int {
    if readers == 0 { throw .EPIPE }
    if from.count == 0 { return 0 }
    let free = room
    if free == 0 || (from.count <= Pipe.atomicByteCount && from.count > free) { throw .EAGAIN }
    let total = min(free, from.count)
    // Memory first: a short write must not be torn by the lack of it.
    guard prepare(total) else { throw .ENOMEM }
    var done = 0
    var position = (head + count) & (Pipe.capacity - 1)
    while done < total {
      let inPage = position & 4095
      let span = min(4096 - inPage, total - done)
      if let page = pages[position >> 12] { page.bytes.copy(from.part(done, span), to: inPage) }
      done += span
      position = (position + span) & (Pipe.capacity - 1)
    }
    count += total
    if !readQueue.isEmpty { readQueue.wakeAll() }
    return total
  }

  /// Makes sure that the next `total` bytes of the ring have pages.
  private func prepare(_ total: Int) -> Bool {
    let start = head + count
    var index = start >> 12
    while index << 12 < start + total {
      let slot = index & (Pipe.pageCount - 1)
      if pages[slot] == nil {
        guard let page = Page.allocate(zeroed: false) else { return false }
        pages[slot] = page
        heldPages += 1
      }
      index += 1
    }
    return true
  }

  fileprivate func open(reads: Bool, writes: Bool) {
    if reads {
      readers += 1
      readerOpenings += 1
      writeQueue.wakeAll()
    }
    if writes {
      writers += 1
      writerOpenings += 1
      readQueue.wakeAll()
    }
  }

  fileprivate func close(reads: Bool, writes: Bool) {
    if reads {
      readers -= 1
      if readers == 0 { writeQueue.wakeAll() }
    }
    if writes {
      writers -= 1
      if writers == 0 { readQueue.wakeAll() }
    }
    if readers == 0 && writers == 0 {
      // A FIFO forgets what nobody read.
      count = 0
      settle()
    }
  }
}

/// The inode of a pipe, with a name (FIFO) or without.
public final class PipeNode: Inode {
  private var current: Pipe?
  /// Whether it was made by pipe(2): opening it again through /proc never waits for the other side.
  private let isAnonymous: Bool

  /// A FIFO without users.
  public init(
    _ fileSystem: FileSystem, permissions: UInt32, owner: Credentials, isAnonymous: Bool = false
  ) {
    self.isAnonymous = isAnonymous
    super.init(fileSystem, FileMode(.fifo, permissions), owner: owner)
    if isAnonymous { linkCount = 1 }
  }

  var pipe: Pipe {
    if let current { return current }
    let made = Pipe()
    current = made
    return made
  }

  public override func truncate(to size: Int64) throws(Errno) { throw .EINVAL }

  public override func open(_ flags: OpenFlags, _ opener: Opener) throws(Errno) -> OpenFile {
    // fifo(7): a non-blocking writer without a reader is refused.
    if !isAnonymous && flags.accessMode == 1 && flags.contains(.nonBlocking) && pipe.readers == 0 { throw .ENXIO }
    return PipeFile(self, flags, waits: !isAnonymous)
  }

  /// pipe2(2): both ends of a new pipe.
  public static func makePair(
    _ fileSystem: FileSystem, _ flags: OpenFlags, owner: Credentials
  ) -> (reader: OpenFile, writer: OpenFile) {
    let node = PipeNode(fileSystem, permissions: 0o600, owner: owner, isAnonymous: true)
    let status = flags.intersection(.settable)
    let reader = PipeFile(node, status.union(.readOnly), waits: false)
    return (reader, PipeFile(node, status.union(.writeOnly), waits: false))
  }
}

/// One end of a pipe, or a FIFO opened for both.
public final class PipeFile: OpenFile {
  private let buffer: Pipe
  private let reads: Bool
  private let writes: Bool
  /// While open(2) waits: how often the other side had been opened before.
  private var awaited: Int?

  init(_ node: PipeNode, _ flags: OpenFlags, waits: Bool) {
    buffer = node.pipe
    reads = flags.isReadable
    writes = flags.isWritable
    super.init(node, flags)
    if waits && reads != writes && !flags.contains(.nonBlocking) {
      if reads && buffer.writers == 0 { awaited = buffer.writerOpenings }
      if writes && buffer.readers == 0 { awaited = buffer.readerOpenings }
    }
    buffer.open(reads: reads, writes: writes)
  }

  public override func close() { buffer.close(reads: reads, writes: writes) }

  public override var isOpenPending: Bool {
    guard let awaited else { return false }
    return awaited == (reads ? buffer.writerOpenings : buffer.readerOpenings)
  }

  public override var pipe: Pipe? { buffer }
  public override var waitQueue: WaitQueue { reads ? buffer.readQueue : buffer.writeQueue }
  public override var writeQueue: WaitQueue { writes ? buffer.writeQueue : buffer.readQueue }
  public override var readableByteCount: Int? { buffer.count }
  public override func read(_ into: Bytes) throws(Errno) -> Int { try buffer.read(into) }
  public override func write(_ from: Bytes) throws(Errno) -> Int { try buffer.write(from) }

  public override func poll() -> PollEvents {
    var events = PollEvents.none
    if reads {
      if buffer.count > 0 { events = events.union(.readable) }
      // A FIFO that never had a writer is not hung up.
      if buffer.writers == 0 && buffer.writerOpenings > 0 { events = events.union(.hangup) }
    }
    if writes {
      if buffer.room >= Pipe.atomicByteCount { events = events.union(.writable) }
      if buffer.readers == 0 { events = events.union(.error) }
    }
    return events
  }
}
