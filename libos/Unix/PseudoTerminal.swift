// SPDX-License-Identifier: Apache-2.0
// PseudoTerminal.swift: terminals whose other side is a program (pty(7), ptmx(4)).

import ApusRuntime

/// The pseudo-terminals of a family.
public final class PseudoTerminals {
  /// /dev/pts.
  private let directory: DirectoryNode
  private var masters: [PseudoTerminalMaster?] = []
  private var delegate: (any TerminalDelegate)?
  /// How many there may be (/proc/sys/kernel/pty/max is greater; each has a page).
  private static var limit: Int { 256 }

  /// None yet.
  ///
  /// - Parameter directory: Where their names appear, /dev/pts.
  public init(_ directory: DirectoryNode) { self.directory = directory }

  /// Says who sends the signals that they ask for.
  public func setDelegate(_ delegate: any TerminalDelegate) { self.delegate = delegate }

  /// Opens the other side of a new one.
  ///
  /// - Throws: `ENOSPC` if there are too many.
  func make(_ node: Inode, _ flags: OpenFlags) throws(Errno) -> OpenFile {
    var number = 0
    while number < masters.count && masters[number] != nil { number += 1 }
    guard number < Self.limit else { throw .ENOSPC }
    if number == masters.count { masters.append(nil) }
    let device = DeviceNumber(major: 136, minor: UInt32(number))
    let slave = DeviceNode(
      directory.fileSystem, FileMode(.characterDevice, 0o620), device: device, owner: Credentials())
    try directory.add(slave, decimal(UInt64(number)))
    let master = PseudoTerminalMaster(node, flags, self, number)
    if let delegate { master.device.setDelegate(delegate) }
    masters[number] = master
    return master
  }

  func remove(_ master: PseudoTerminalMaster) {
    masters[master.number] = nil
    try? directory.remove(decimal(UInt64(master.number)))
  }

  /// Opens a terminal by its number.
  ///
  /// - Throws: `EIO` if there is none, or its master has not unlocked it.
  func open(_ number: Int, _ node: Inode, _ flags: OpenFlags) throws(Errno) -> OpenFile {
    guard number < masters.count, let master = masters[number], !master.isLocked else { throw .EIO }
    return PseudoTerminalFile(node, master, flags)
  }

  /// The terminal of a session, if it is one of these.
  public func terminal(ofSession session: Int32) -> Terminal? {
    for master in masters {
      if let device = master?.device, device.session == session { return device }
    }
    return nil
  }
}

/// An open /dev/ptmx: what is written here is typed there, and what is printed there is read here.
public final class PseudoTerminalMaster: OpenFile, TerminalSink {
  private let owner: PseudoTerminals
  /// Which one it is: /dev/pts/N.
  public let number: Int
  /// Whether it may not be opened yet (unlockpt(3)).
  public var isLocked = true
  /// The terminal.
  public private(set) lazy var device = Terminal(self, size: WindowSize(rows: 0, columns: 0))
  private var output: [UInt8] = []
  private var slaves = 0
  private var wasOpened = false
  private let readers = WaitQueue()
  private let writers = WaitQueue()
  /// Bytes of output that wait to be read at most.
  private static var limit: Int { 16_384 }

  init(_ node: Inode, _ flags: OpenFlags, _ owner: PseudoTerminals, _ number: Int) {
    self.owner = owner
    self.number = number
    super.init(node, flags)
  }

  public override var asPseudoTerminal: PseudoTerminalMaster? { self }
  public override var waitQueue: WaitQueue { readers }
  public override var writeQueue: WaitQueue { writers }
  public override var readableByteCount: Int? { output.count }

  /// Takes what the terminal prints.
  public func accept(_ bytes: Bytes, error: Bool) -> Int {
    let count = min(bytes.count, Self.limit - output.count)
    if count <= 0 { return 0 }
    output += bytes.part(0, count).array
    readers.wakeAll()
    return count
  }

  public override func read(_ into: Bytes) throws(Errno) -> Int {
    if into.count == 0 { return 0 }
    if output.isEmpty {
      if isHungUp { throw .EIO }
      throw .EAGAIN
    }
    let count = min(into.count, output.count)
    into.copy([UInt8](output[..<count]))
    output.removeFirst(count)
    device.outputProceeds()
    return count
  }

  public override func write(_ from: Bytes) throws(Errno) -> Int {
    device.receive(from)
    return from.count
  }

  public override func poll() -> PollEvents {
    var events = PollEvents.writable
    if !output.isEmpty { events = events.union(.readable) }
    if isHungUp { events = events.union(.hangup) }
    return events
  }

  /// Every program that had the terminal open has closed it.
  private var isHungUp: Bool { wasOpened && slaves == 0 }

  func slaveOpened() {
    slaves += 1
    wasOpened = true
  }

  func slaveClosed() {
    slaves -= 1
    if slaves == 0 {
      readers.wakeAll()
      writers.wakeAll()
    }
  }

  public override func close() {
    owner.remove(self)
    device.hangUp()
    device.sendHangup()
    // It names this as its sink.
    device.cutOff()
  }

  public override func anonymousName() -> [UInt8] { Array("/dev/ptmx".utf8) }
}

/// An open terminal of a master.
final class PseudoTerminalFile: TerminalFile {
  private let master: PseudoTerminalMaster

  init(_ node: Inode, _ master: PseudoTerminalMaster, _ flags: OpenFlags) {
    self.master = master
    super.init(node, master.device, flags)
    master.slaveOpened()
  }

  override func close() { master.slaveClosed() }

  override func write(_ from: Bytes) throws(Errno) -> Int {
    if master.device.isHungUp { throw .EIO }
    return try super.write(from)
  }

  override func anonymousName() -> [UInt8] { Array("/dev/pts/".utf8) + decimal(UInt64(master.number)) }
}
