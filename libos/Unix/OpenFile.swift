// SPDX-License-Identifier: Apache-2.0
// OpenFile.swift: open file descriptions: what descriptors refer to (open(2), NOTES).

import ApusRuntime

/// Where lseek(2) counts from, with Linux's values.
public enum SeekOrigin: Int32 {
  case start = 0
  case current = 1
  case end = 2
  case data = 3
  case hole = 4
}

/// What mmap(2) makes of an open file.
public enum FileMapping {
  /// It cannot be mapped.
  case none
  /// A mapping is zeroed memory (/dev/zero).
  case zero
  /// A mapping shows the file's own pages (`OpenFile.page(at:)`).
  case pages
}

/// An open file: a position and flags over an inode, shared by all descriptors that were duplicated.
///
/// No operation waits. One that cannot go on throws `EAGAIN`; the caller waits on `waitQueue` (to read) or
/// `writeQueue` (to write) and tries again, or hands the error on if the file is non-blocking.
open class OpenFile {
  /// What has been opened.
  public final let node: Inode
  /// Access mode and status flags.
  public final var flags: OpenFlags
  /// Where the next read or write happens, in files that have positions.
  public final var offset: Int64 = 0
  /// Where it was found, for /proc/self/fd and error messages.
  public final var place: Place?
  /// How many descriptors refer to it.
  public final private(set) var references = 0
  /// The event polls that watch it.
  final var watches: [EventPoll.Watch] = []

  /// Opens an inode.
  public init(_ node: Inode, _ flags: OpenFlags) {
    self.node = node
    // These act at open time and are not remembered (fcntl(2), F_GETFL).
    self.flags = flags.subtracting(
      OpenFlags.create.union(.exclusive).union(.noControllingTerminal).union(.truncate).union(.closeOnExec))
  }

  /// One more descriptor refers to this.
  public final func acquire() { references += 1 }

  /// One descriptor fewer; the last one closes the file.
  public final func release() {
    references -= 1
    if references == 0 {
      if let locks = node.locks {
        locks.releaseWhole(self)
        locks.releaseRecords(of: LockOwner(self))
      }
      while let watch = watches.last { watch.poll.forget(watch) }
      close()
    }
  }

  /// Closes a file that found no descriptor.
  final func closeUnlessUsed() {
    if references == 0 { close() }
  }

  /// Called when the last descriptor is gone.
  open func close() {}

  /// Whether there is a position that can be moved.
  open var isSeekable: Bool { false }

  /// Who waits for something to read, or for any other change.
  open var waitQueue: WaitQueue { node.quietQueue }
  /// Who waits for room to write.
  open var writeQueue: WaitQueue { waitQueue }

  /// Whether open(2) itself has to wait, on `waitQueue`, as for a FIFO without the other side.
  open var isOpenPending: Bool { false }

  /// The instant, in the clock's ticks, when it becomes ready by itself; the greatest number: never.
  open var readyDeadline: UInt64 { .max }

  /// Whether it can be waited for; files and directories are always ready, and epoll(7) refuses them.
  open var isPollable: Bool { true }

  /// The terminal that this is, for ioctl(2).
  open var terminal: Terminal? { nil }

  /// The event poll that this is, or nil.
  open var asEventPoll: EventPoll? { nil }
  /// The timer that this is, or nil.
  open var asTimer: TimerFile? { nil }

  /// The socket that this is, or nil.
  open var asSocket: Socket? { nil }

  /// The master of a pseudo-terminal that this is, or nil.
  open var asPseudoTerminal: PseudoTerminalMaster? { nil }

  /// The end of a pipe that this is, for F_GETPIPE_SZ and splice.
  open var pipe: Pipe? { nil }

  /// Bytes that could be read now (FIONREAD); nil: the file has no such notion.
  open var readableByteCount: Int? { nil }

  /// Reads at the position and moves it.
  open func read(_ into: Bytes) throws(Errno) -> Int { throw .EINVAL }

  /// Writes at the position, or at the end with O_APPEND, and moves it.
  open func write(_ from: Bytes) throws(Errno) -> Int { throw .EINVAL }

  /// Reads elsewhere; the position stays.
  open func pread(_ into: Bytes, at position: Int64) throws(Errno) -> Int { throw .ESPIPE }

  /// Writes elsewhere; the position stays.
  open func pwrite(_ from: Bytes, at position: Int64) throws(Errno) -> Int { throw .ESPIPE }

  /// Moves the position.
  ///
  /// - Returns: The new one.
  open func seek(_ distance: Int64, _ origin: SeekOrigin) throws(Errno) -> Int64 {
    guard isSeekable else { throw .ESPIPE }
    let start: Int64
    switch origin {
    case .start: start = 0
    case .current: start = offset
    case .end: start = node.size
    case .data:
      guard distance >= 0, distance < node.size else { throw .ENXIO }
      start = 0
    case .hole:
      guard distance >= 0, distance < node.size else { throw .ENXIO }
      offset = node.size
      return offset
    }
    let (target, overflow) = start.addingReportingOverflow(distance)
    guard !overflow, target >= 0 else { throw .EINVAL }
    offset = target
    return target
  }

  /// What could be done now without waiting.
  open func poll() -> PollEvents { PollEvents.readable.union(.writable) }

  /// What fstat(2) tells.
  open func status() -> FileStatus { node.status() }

  /// The page to map for bytes from `index * 4096` on, retained.
  ///
  /// - Throws: `ENODEV` if such files cannot be mapped, `ENXIO` past the end.
  open func page(at index: Int) throws(Errno) -> Page { throw .ENODEV }

  /// What mmap(2) makes of it.
  open var mapping: FileMapping { .none }

  /// Whether mmap(2) may map it at all.
  public final var isMappable: Bool { mapping != .none }
  /// Whether a mapping is just zeroed memory.
  public final var mapsAsZero: Bool { mapping == .zero }

  /// Whether it was opened for reading.
  public final var isReadable: Bool { flags.isReadable }
  /// Whether it was opened for writing.
  public final var isWritable: Bool { flags.isWritable }

  /// The absolute path where it was found, or what stands for one.
  public final var path: [UInt8] {
    var top = node.asDirectory ?? place?.directory
    while let above = top?.parent { top = above }
    guard let top else { return anonymousName() }
    return FileContext(root: top, working: top).path(of: self)
  }

  /// ftruncate(2).
  open func truncate(to size: Int64) throws(Errno) { throw .EINVAL }

  /// The next directory entry, without moving; directories only.
  open func nextEntry() throws(Errno) -> DirectoryEntry? { throw .ENOTDIR }

  /// What /proc/self/fd shows for a file without a place.
  open func anonymousName() -> [UInt8] {
    switch node.kind {
    case .fifo: Array("pipe:[".utf8) + decimal(node.number) + [UInt8(ascii: "]")]
    case .socket: Array("socket:[".utf8) + decimal(node.number) + [UInt8(ascii: "]")]
    default: Array("anon_inode:[file]".utf8)
    }
  }
}

/// An open file of which only the identity is used (O_PATH).
public final class PathFile: OpenFile {
  public override func read(_ into: Bytes) throws(Errno) -> Int { throw .EBADF }
  public override func write(_ from: Bytes) throws(Errno) -> Int { throw .EBADF }
  public override func pread(_ into: Bytes, at position: Int64) throws(Errno) -> Int { throw .EBADF }
  public override func pwrite(_ from: Bytes, at position: Int64) throws(Errno) -> Int { throw .EBADF }
  public override func seek(_ distance: Int64, _ origin: SeekOrigin) throws(Errno) -> Int64 { throw .EBADF }
  public override func poll() -> PollEvents { .invalid }
}

/// A regular file that a program runs from: as long as anybody holds this, nobody writes the file.
final class ProgramFile: RegularFile {
  private let program: RegularNode

  init(_ node: RegularNode) {
    program = node
    node.programCount += 1
    super.init(node, .readOnly)
  }

  deinit { program.programCount -= 1 }
}

/// An open regular file.
public class RegularFile: OpenFile {
  private final let regular: RegularNode

  init(_ node: RegularNode, _ flags: OpenFlags) {
    regular = node
    if flags.isWritable { node.writerCount += 1 }
    super.init(node, flags)
  }

  public override func close() {
    if flags.isWritable { regular.writerCount -= 1 }
  }

  public override var isSeekable: Bool { true }
  public override var isPollable: Bool { false }
  public override var mapping: FileMapping { .pages }
  public override var readableByteCount: Int? { Int(max(0, regular.size - offset)) }

  public override func read(_ into: Bytes) throws(Errno) -> Int {
    let count = regular.read(into, at: offset)
    offset += Int64(count)
    return count
  }

  public override func write(_ from: Bytes) throws(Errno) -> Int {
    let start = flags.contains(.append) ? regular.size : offset
    let count = try regular.write(from, at: start)
    offset = start + Int64(count)
    return count
  }

  public override func pread(_ into: Bytes, at position: Int64) throws(Errno) -> Int {
    regular.read(into, at: position)
  }

  public override func pwrite(_ from: Bytes, at position: Int64) throws(Errno) -> Int {
    // Linux appends even here when O_APPEND is set (pwrite(2), BUGS).
    try regular.write(from, at: flags.contains(.append) ? regular.size : position)
  }

  public override func seek(_ distance: Int64, _ origin: SeekOrigin) throws(Errno) -> Int64 {
    switch origin {
    case .data: offset = try regular.next(data: true, from: distance)
    case .hole: offset = try regular.next(data: false, from: distance)
    default: return try super.seek(distance, origin)
    }
    return offset
  }

  public override func page(at index: Int) throws(Errno) -> Page { try regular.page(at: index) }
  public override func truncate(to size: Int64) throws(Errno) { try regular.truncate(to: size) }
}

/// An open directory.
public final class DirectoryFile: OpenFile {
  private let directory: DirectoryNode

  init(_ node: DirectoryNode, _ flags: OpenFlags) {
    directory = node
    super.init(node, flags)
  }

  public override var isSeekable: Bool { true }
  public override var isPollable: Bool { false }
  public override func read(_ into: Bytes) throws(Errno) -> Int { throw .EISDIR }
  public override func pread(_ into: Bytes, at position: Int64) throws(Errno) -> Int { throw .EISDIR }
  public override func write(_ from: Bytes) throws(Errno) -> Int { throw .EBADF }

  public override func seek(_ distance: Int64, _ origin: SeekOrigin) throws(Errno) -> Int64 {
    // Positions are serial numbers: only the start and values from getdents are meaningful.
    switch origin {
    case .start: break
    case .current where distance == 0: return offset
    default: throw .EINVAL
    }
    guard distance >= 0 else { throw .EINVAL }
    offset = distance
    return distance
  }

  public override func nextEntry() throws(Errno) -> DirectoryEntry? {
    if directory.isRemoved { throw .ENOENT }
    let dot = UInt8(ascii: ".")
    if offset < 1 { return DirectoryEntry(name: [dot], inode: directory.number, kind: .directory, position: 1) }
    if offset < 2 {
      let above = directory.parent ?? directory
      return DirectoryEntry(name: [dot, dot], inode: above.number, kind: .directory, position: 2)
    }
    return directory.entry(after: offset)
  }
}

/// A number in decimal digits.
public func decimal(_ value: UInt64) -> [UInt8] {
  if value == 0 { return [UInt8(ascii: "0")] }
  var digits: [UInt8] = []
  var rest = value
  while rest > 0 {
    digits.append(UInt8(ascii: "0") + UInt8(rest % 10))
    rest /= 10
  }
  digits.reverse()
  return digits
}
