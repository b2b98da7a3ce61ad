// SPDX-License-Identifier: Apache-2.0
// Devices.swift: device nodes and what they open to (null(4), random(4), tty(4)).

import ApusRuntime

/// What the device nodes of a family stand for.
public final class Devices {
  /// The host's streams and terminal.
  public let console: HostConsole
  /// Terminals whose other side is a program; nil: there is no /dev/pts.
  public let pseudoTerminals: PseudoTerminals?

  /// The devices of a family.
  public init(console: HostConsole, pseudoTerminals: PseudoTerminals? = nil) {
    self.console = console
    self.pseudoTerminals = pseudoTerminals
  }

  /// The controlling terminal of a session.
  public func terminal(ofSession session: Int32) -> Terminal? {
    if let terminal = console.terminal, terminal.session == session { return terminal }
    return pseudoTerminals?.terminal(ofSession: session)
  }
}

/// The devices that exist, by Linux's numbers (Documentation/admin-guide/devices.txt).
public enum DeviceKind {
  case null
  case zero
  case full
  case random
  case controllingTerminal
  case console
  case pseudoTerminalMaster
  case pseudoTerminal

  /// The character device of a number, if it exists.
  init?(_ number: DeviceNumber) {
    switch (number.major, number.minor) {
    case (1, 3): self = .null
    case (1, 5): self = .zero
    case (1, 7): self = .full
    case (1, 8), (1, 9): self = .random
    case (5, 0): self = .controllingTerminal
    case (5, 1), (4, 0), (4, 1): self = .console
    case (5, 2): self = .pseudoTerminalMaster
    case (136, _): self = .pseudoTerminal
    default: return nil
    }
  }
}

/// A device's node in a directory.
public final class DeviceNode: Inode {
  private let device: DeviceNumber

  /// A node for a device, whether that exists or not.
  public init(_ fileSystem: FileSystem, _ mode: FileMode, device: DeviceNumber, owner: Credentials) {
    self.device = device
    super.init(fileSystem, mode, owner: owner)
  }

  public override var representedDevice: DeviceNumber { device }
  public override func truncate(to size: Int64) throws(Errno) { throw .EINVAL }

  public override func open(_ flags: OpenFlags, _ opener: Opener) throws(Errno) -> OpenFile {
    guard kind == .characterDevice, let device = DeviceKind(device), let devices = opener.devices else { throw .ENXIO }
    switch device {
    case .null, .zero, .full, .random: return MemoryDeviceFile(self, device, flags)
    case .controllingTerminal:
      guard let terminal = opener.terminal else { throw .ENXIO }
      return TerminalFile(self, terminal, flags)
    case .console:
      if let terminal = devices.console.terminal { return TerminalFile(self, terminal, flags) }
      return devices.console.outputFile(error: false)
    case .pseudoTerminalMaster:
      guard let terminals = devices.pseudoTerminals else { throw .ENXIO }
      return try terminals.make(self, flags)
    case .pseudoTerminal:
      guard let terminals = devices.pseudoTerminals else { throw .ENXIO }
      return try terminals.open(Int(representedDevice.minor), self, flags)
    }
  }
}

/// An open /dev/null, zero, full, random or urandom.
final class MemoryDeviceFile: OpenFile {
  private let device: DeviceKind

  init(_ node: Inode, _ device: DeviceKind, _ flags: OpenFlags) {
    self.device = device
    super.init(node, flags)
  }

  override var isSeekable: Bool { true }
  override var isPollable: Bool { device == .random }
  override var mapping: FileMapping { device == .zero ? .zero : .none }

  override func read(_ into: Bytes) throws(Errno) -> Int {
    switch device {
    case .null: return 0
    case .random: Random.fill(into)
    default: into.fill(0)
    }
    return into.count
  }

  override func write(_ from: Bytes) throws(Errno) -> Int {
    switch device {
    case .full:
      if from.count > 0 { throw .ENOSPC }
    case .random: Random.seed(from.part(0, min(from.count, 256)).array)
    default: break
    }
    return from.count
  }

  override func pread(_ into: Bytes, at position: Int64) throws(Errno) -> Int { try read(into) }
  override func pwrite(_ from: Bytes, at position: Int64) throws(Errno) -> Int { try write(from) }
  override func seek(_ distance: Int64, _ origin: SeekOrigin) throws(Errno) -> Int64 { 0 }
}
