// SPDX-License-Identifier: Apache-2.0
// Home.swift: where the repository is, what has been built in it, and where QEMU is.

import Glibc

/// The folder that the command belongs to.
struct Home {
  let path: Path

  /// The `apus` script says where it is; without it the folder is that above this program's own.
  init() throws(Failure) {
    if let value = getenv("APUS_HOME"), value.pointee != 0 {
      path = Path(String(cString: value).utf8)
      return
    }
    var folder = PathWalk.components((try? HostFile.linkTarget(Path("/proc/self/exe".utf8))) ?? [])
    while !folder.isEmpty {
      folder.removeLast()
      let candidate = PathWalk.join(folder)
      if (try? HostFile.facts(candidate + Path("/abi/CApusABI".utf8))) != nil {
        path = candidate
        return
      }
    }
    throw Failure(
      sentence: "this program is not in its repository; start it by the script apus there",
      status: Status.machine)
  }

  /// A file that the build makes.
  func built(_ name: String) throws(Failure) -> Path {
    let file = path + Path("/build/\(name)".utf8)
    guard (try? HostFile.facts(file)) != nil else {
      throw Failure(
        sentence: "\(shown(file)) has not been built; build it with: make -C \(shown(path)) build",
        status: Status.machine)
    }
    return file
  }

  func kernel() throws(Failure) -> Path { try built("kernel.elf") }
  func libos() throws(Failure) -> Path { try built("libos.elf") }

  static let emulatorName = "qemu-system-x86_64"

  /// QEMU, or what APUS_QEMU names in its place.
  func emulator() throws(Failure) -> String {
    if let value = getenv("APUS_QEMU"), value.pointee != 0 {
      let path = String(cString: value)
      guard HostFile.isExecutable(Path(path.utf8)) else {
        throw Failure(sentence: "APUS_QEMU names no program: \(path)", status: Status.machine)
      }
      return path
    }
    guard let found = HostFile.findProgram(Path(Self.emulatorName.utf8)) else {
      throw Failure(
        sentence: "QEMU is missing: there is no \(Self.emulatorName) in the folders of PATH; on Debian and Ubuntu "
          + "install it with: apt-get install qemu-system-x86",
        status: Status.machine)
    }
    return shown(found)
  }
}
