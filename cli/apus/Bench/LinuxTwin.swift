// SPDX-License-Identifier: Apache-2.0
// LinuxTwin.swift: Debian's cloud kernel with our bench program as its only process, and the module of its RAM disk.

import Glibc

/// A bootable Linux twin.
struct LinuxTwin {
  /// The uncompressed ELF kernel.
  private let kernel: String
  private let archive: String
  /// The package that the kernel came from.
  let package: String

  /// Fetches and builds what is missing in `folder`; the failure says why there is no twin.
  init(folder: String, programs: BenchPrograms) throws(Failure) {
    try BenchFile.makeFolder(folder)
    kernel = folder + "/vmlinux"
    archive = folder + "/initial.cpio"
    package = try Self.fetchKernel(to: kernel, folder: folder)

    var contents = InitialArchive()
    contents.add(program: "init", contents: try BenchFile.read(programs.start))
    contents.add(program: "linux", contents: try BenchFile.read(programs.linux))
    contents.add(program: "tiny", contents: try BenchFile.read(programs.tiny))
    contents.add(program: "applications", contents: try BenchFile.read(programs.applications))
    if BenchFile.exists(kernel + ".brd.ko") {
      contents.add(program: "brd.ko", contents: try BenchFile.read(kernel + ".brd.ko"))
    } else {
      Diagnostics.say("the Linux twin's package has no module brd: pager is not run with Linux's swap")
    }
    try BenchFile.write(contents.finished(), to: archive)
  }

  /// Boots it once and measures the named cases.
  func boot(
    _ machine: BenchMachine, _ counting: BenchMachine.Counting, cases: [String], events: BenchEventCounter?
  ) throws(Failure) -> GuestResult {
    let line = machine.linux(
      kernel: kernel, image: archive, words: ["--", "-p"] + cases, counting: counting,
      events: events)
    return try GuestRun.boot(line, console: .text, seconds: 120)
  }

  /// The package that Debian's name for its newest cloud kernel leads to.
  private static let newest = "linux-image-cloud-amd64"

  /// A network that answers nothing ends the attempt soon.
  private static let patience = [
    "-q", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=15", "-o", "Acquire::https::Timeout=15",
  ]

  /// Leaves the kernel at `kernel` unless it is there; the stamp beside it names the package.
  private static func fetchKernel(to kernel: String, folder: String) throws(Failure) -> String {
    // What an earlier version fetched had no module, and a stamp of another name.
    let stamp = kernel + ".contents"
    if BenchFile.exists(kernel), BenchFile.exists(stamp) {
      return shown(try BenchFile.read(stamp))
    }
    Diagnostics.say("fetching the Linux twin's kernel (\(newest))")
    let log = folder + "/fetch.log"
    BenchFile.remove(log)
    let work = folder + "/fetch"
    defer { try? Tool.run("rm", ["-rf", work], in: ".", log: log) }
    try BenchFile.makeFolder(work)
    let package: String
    do throws(Failure) {
      package = try download(in: work, log: log)
    } catch {
      // The lists of packages may be missing or old.
      try? Tool.run("apt-get", patience + ["update"], in: ".", log: log)
      do throws(Failure) {
        package = try download(in: work, log: log)
      } catch { throw BenchFailure.twin("its kernel cannot be fetched: \(error.sentence)") }
    }
    let image = work + "/root/boot/vmlinuz-" + package.dropFirst("linux-image-".count)
    let unpacked = try KernelPayload.unpack(try BenchFile.read(image), scratch: work)
    try BenchFile.write(unpacked, to: kernel)
    // The RAM disk that the pager's twin swaps to, where the kernel has it as a module.
    let release = package.dropFirst("linux-image-".count)
    let module = work + "/root/lib/modules/\(release)/kernel/drivers/block/brd.ko"
    if BenchFile.exists(module) { try BenchFile.write(try BenchFile.read(module), to: kernel + ".brd.ko") }
    try BenchFile.write(Array(package.utf8), to: stamp)
    return package
  }

  /// Downloads the package and unpacks it below `folder`/root.
  private static func download(in folder: String, log: String) throws(Failure) -> String {
    let facts = try Tool.output("apt-cache", ["depends", newest], limit: 1 << 20)
    let dependency = shown(facts).split(separator: "\n")
      .map { $0.split(separator: " ") }
      .first { $0.count == 2 && $0[0] == "Depends:" && $0[1].hasPrefix("linux-image-") }
    guard let dependency else {
      throw Failure(sentence: "apt knows no \(newest)", status: BenchFailure.status)
    }
    let package = String(dependency[1])
    try Tool.run("apt-get", patience + ["download", package], in: folder, log: log)
    var files: [String] = []
    do throws(HostError) {
      files = try HostFile.names(in: Path(folder.utf8)).map { shown($0) }
    } catch { throw BenchFailure.file(folder, error.number) }
    guard let archive = files.first(where: { $0.hasPrefix(package + "_") }) else {
      throw Failure(sentence: "apt-get left no \(package)", status: BenchFailure.status)
    }
    try Tool.run("dpkg-deb", ["-x", archive, "root"], in: folder, log: log)
    return package
  }
}
