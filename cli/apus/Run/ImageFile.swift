// SPDX-License-Identifier: Apache-2.0
// ImageFile.swift: packs LibOS, file tree and start command into the file that QEMU hands to the kernel.

import ApusImage
import CApusABI
import CHost
import Glibc

/// A packed boot image.
///
/// Without a name of its own it vanishes with this process, however that ends.
final class ImageFile {
  private let descriptor: Int32
  /// Where QEMU finds it.
  let path: String
  let size: UInt64

  deinit { close(descriptor) }

  /// Packs an image; `keptAt` says where to leave it for later, nil: without a name.
  init(libos: Path, tree: FileTree, command: StartCommand, keptAt: Path?) throws(Failure) {
    let system = try LibOSFile(libos)
    let layout: ImageLayout
    do {
      layout = try ImageLayout(
        segments: system.segments.map(\.segment), start: system.entry, entries: tree.entries,
        command: command)
    } catch {
      throw Failure(sentence: "the boot image cannot be packed: \(error)", status: Status.machine)
    }
    let (descriptor, path) = try Self.create(keptAt)
    self.descriptor = descriptor
    self.path = path
    size = layout.size

    try Self.check(ftruncate(descriptor, off_t(layout.size)) == 0)
    try Self.put(layout.head, at: 0, in: descriptor)
    for (index, part) in system.segments.enumerated() {
      try Self.put(part.bytes, at: layout.segmentOffsets[index], in: descriptor)
    }
    for (index, source) in tree.sources.enumerated() {
      switch source {
      case .none: break
      case .bytes(let bytes): try Self.put(bytes, at: layout.dataOffsets[index], in: descriptor)
      case .host(let path):
        guard case .file(let size) = tree.entries[index].content, size > 0 else { continue }
        try Self.copy(path, size: size, to: layout.dataOffsets[index], in: descriptor)
      }
    }
  }

  private static func create(_ keptAt: Path?) throws(Failure) -> (Int32, String) {
    if let keptAt {
      let descriptor = HostFile.withPath(keptAt) { open($0, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600) }
      guard descriptor >= 0 else {
        throw Failure(
          sentence: "\(shown(keptAt)) cannot be written: \(describe(errno: errno))", status: Status.machine)
      }
      return (descriptor, shown(keptAt))
    }
    var folder = "/tmp"
    if let value = getenv("TMPDIR"), value.pointee != 0 { folder = String(cString: value) }
    let descriptor = chost_nameless_file(folder)
    guard descriptor >= 0 else {
      throw Failure(
        sentence: "no temporary file can be made in \(folder): \(describe(errno: -descriptor))",
        status: Status.machine)
    }
    return (descriptor, "/proc/\(getpid())/fd/\(descriptor)")
  }

  private static func check(_ worked: Bool) throws(Failure) {
    guard worked else {
      throw Failure(
        sentence: "the boot image cannot be written: \(describe(errno: errno))", status: Status.machine)
    }
  }

  private static func put(_ bytes: [UInt8], at offset: UInt64, in descriptor: Int32) throws(Failure) {
    try check(bytes.withUnsafeBytes { Descriptor.write(descriptor, $0, at: offset) })
  }

  private static func copy(
    _ path: Path, size: UInt64, to offset: UInt64, in descriptor: Int32
  ) throws(Failure) {
    let source: Int32
    do { source = try HostFile.open(path) } catch {
      throw Failure(sentence: "\(shown(path)) cannot be read: \(error.words)", status: Status.machine)
    }
    defer { close(source) }
    let chunk: UInt64 = 1 << 20
    var done: UInt64 = 0
    while done < size {
      let bytes = Descriptor.read(source, at: done, limit: Int(min(chunk, size - done)))
      guard let bytes, !bytes.isEmpty else {
        throw Failure(sentence: "\(shown(path)) changed while it was packed", status: Status.machine)
      }
      try put(bytes, at: offset + done, in: descriptor)
      done += UInt64(bytes.count)
    }
  }
}

/// The LibOS as segments of whole pages.
struct LibOSFile {
  let entry: UInt64
  let segments: [(segment: ImageSegment, bytes: [UInt8])]

  /// Whether a file is a LibOS by where it wants to be loaded: where no Linux program does.
  static func isOne(_ path: Path) -> Bool {
    guard let descriptor = try? HostFile.open(path) else { return false }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0,
      let file = try? ElfFile(descriptor: descriptor, size: UInt64(max(0, status.st_size)))
    else { return false }
    return file.loaded.allSatisfy { $0.address >= UInt64(APUS_LIBOS_BASE) }
  }

  init(_ path: Path) throws(Failure) {
    func broken(_ reason: String) -> Failure {
      Failure(
        sentence: "the LibOS \(shown(path)) \(reason); build it again with: make clean build",
        status: Status.machine)
    }
    let descriptor: Int32
    do { descriptor = try HostFile.open(path) } catch { throw broken("cannot be read: \(error.words)") }
    defer { close(descriptor) }
    let file: ElfFile
    do throws(NotRunnable) {
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { throw NotRunnable(reason: "cannot be read") }
      file = try ElfFile(descriptor: descriptor, size: UInt64(status.st_size))
    } catch { throw broken(error.reason) }

    var segments: [(segment: ImageSegment, bytes: [UInt8])] = []
    var end: UInt64 = 0
    for part in file.loaded.sorted(by: { $0.address < $1.address }) where part.memorySize > 0 {
      // A segment that starts inside a page is given the whole page, zeros before it.
      let lead = part.address % ImageShape.pageSize
      let address = part.address - lead
      guard address >= end else { throw broken("has two segments in one page") }
      guard let data = Descriptor.read(descriptor, at: part.offset, limit: Int(part.fileSize)),
        data.count == Int(part.fileSize)
      else { throw broken("is truncated") }
      let bytes = [UInt8](repeating: 0, count: Int(lead)) + data
      segments.append(
        (
          ImageSegment(
            address: address, fileSize: UInt64(bytes.count), memorySize: lead + part.memorySize,
            flags: (part.isExecutable ? ImageSegment.executable : 0)
              | (part.isWritable ? ImageSegment.writable : 0)),
          bytes
        ))
      end = (part.address + part.memorySize + 4095) / 4096 * 4096
    }
    entry = file.entry
    self.segments = segments
  }
}
