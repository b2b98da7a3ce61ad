// SPDX-License-Identifier: Apache-2.0
// MachineRegistration.swift: a machine's own entry in the run directory.

import CHost
import Glibc

/// This process's own entry in the run directory; goes with it.
final class MachineRegistration {
  private(set) var machine: RunningMachine
  /// Whether the folder of that name is this one's.
  private var isEntered = false
  private let descriptor: Int32
  /// Where requests arrive; -1: nowhere.
  let listener: Int32

  /// Enters a machine; nil if there is no run directory that only this person can write to.
  ///
  /// - Parameters:
  ///   - machine: What it is; its name is what it should be called.
  ///   - isNamed: Whether it must be called so, and not by that name and a number.
  /// - Throws: If the name must be this one and is taken.
  init?(_ machine: RunningMachine, isNamed: Bool) throws(Failure) {
    guard MachineRegistry.prepareDirectory() else { return nil }
    let own = ".\(getpid())"
    MachineRegistry.remove(own)
    _ = HostFile.withPath(MachineRegistry.folder(of: own)) { mkdir($0, 0o700) }
    descriptor = HostFile.withPath(MachineRegistry.file(MachineRegistry.descriptionName, of: own)) {
      open($0, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    }
    listener = HostFile.withPath(MachineRegistry.folder(of: own)) { chost_listen($0, MachineRegistry.controlName) }
    self.machine = machine
    guard descriptor >= 0, chost_lock(descriptor) == 0 else {
      MachineRegistry.remove(own)
      return nil
    }
    // A folder that has entries is not replaced by a rename (rename(2)): whoever comes second takes another name.
    var number = 1
    while true {
      if number > 1 { self.machine.name = "\(machine.name)-\(number)" }
      _ = MachineRegistry.running()
      describe()
      let moved = HostFile.withPath(MachineRegistry.folder(of: own)) { from in
        HostFile.withPath(MachineRegistry.folder(of: self.machine.name)) { rename(from, $0) }
      }
      if moved == 0 {
        isEntered = true
        return
      }
      let isTaken = errno == ENOTEMPTY || errno == EEXIST
      guard isTaken, !isNamed, number < 1000 else {
        MachineRegistry.remove(own)
        guard isTaken, isNamed else { return nil }
        throw Failure(
          sentence: "a machine called \(machine.name) is running already; choose another name with --name",
          status: Status.usage)
      }
      number += 1
    }
  }

  deinit {
    remove()
    if listener >= 0 { close(listener) }
    if descriptor >= 0 { close(descriptor) }
  }

  /// Says what the machine is, again.
  func update(_ change: (inout RunningMachine) -> Void) {
    change(&machine)
    describe()
  }

  private func describe() {
    let bytes = Array(machine.text.utf8)
    guard bytes.withUnsafeBytes({ Descriptor.write(descriptor, $0, at: 0) }) else { return }
    ftruncate(descriptor, off_t(bytes.count))
  }

  /// Takes the entry back.
  func remove() {
    if isEntered { MachineRegistry.remove(machine.name) }
    isEntered = false
  }

  /// A name for a machine out of a program's path: what stands in no name becomes a dash.
  static func name(for program: [UInt8]) -> String {
    let last = program.split(separator: HostFile.slash).last.map(Array.init) ?? []
    let text = String(shown(last).prefix(32).map { isAllowed($0) ? $0 : "-" })
    return text.isEmpty || text.hasPrefix(".") ? "machine" : text
  }

  /// Whether a text can be a machine's or a program's name.
  static func isName(_ text: String) -> Bool {
    !text.isEmpty && text.count <= 32 && !text.hasPrefix(".") && !text.hasPrefix("-") && text.allSatisfy(isAllowed)
  }

  private static func isAllowed(_ character: Character) -> Bool {
    character.isASCII && (character.isLetter || character.isNumber || "._-".contains(character))
  }
}
