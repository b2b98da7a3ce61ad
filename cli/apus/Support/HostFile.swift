// SPDX-License-Identifier: Apache-2.0
// HostFile.swift: the host's files, by paths that are bytes and need not be text.

import Glibc

/// A path of the host or the guest: any bytes but zero.
typealias Path = [UInt8]

/// What stat(2) says of a file.
struct FileFacts {
  var mode: UInt32
  var user: UInt32
  var group: UInt32
  var size: UInt64
  var modified: Int64
  var device: UInt64
  var inode: UInt64
  var linkCount: UInt64

  var type: UInt32 { mode & 0o170000 }
  var isDirectory: Bool { type == 0o040000 }
  var isRegular: Bool { type == 0o100000 }
  var isSymbolicLink: Bool { type == 0o120000 }
}

/// An error number of the host.
struct HostError: Error {
  let number: Int32
  var words: String { describe(errno: number) }
}

enum HostFile {
  static let slash: UInt8 = 0x2f

  /// Calls `body` with the path as a C string.
  static func withPath<R>(_ path: Path, _ body: (UnsafePointer<CChar>) -> R) -> R {
    let terminated = path.map { CChar(bitPattern: $0) } + [0]
    return terminated.withUnsafeBufferPointer { buffer in
      // An array with at least the terminator has a base address.
      body(buffer.baseAddress ?? UnsafePointer(bitPattern: 1).unsafelyUnwrapped)
    }
  }

  /// What the file is; symbolic links are not followed.
  static func facts(_ path: Path) throws(HostError) -> FileFacts {
    var status = stat()
    guard withPath(path, { lstat($0, &status) }) == 0 else { throw HostError(number: errno) }
    return FileFacts(status)
  }

  static func linkTarget(_ path: Path) throws(HostError) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let capacity = buffer.count
    let count = buffer.withUnsafeMutableBytes { bytes in
      withPath(path) { name in
        guard let start = bytes.baseAddress else { return -1 }
        return readlink(name, start.assumingMemoryBound(to: CChar.self), capacity)
      }
    }
    guard count >= 0 else { throw HostError(number: errno) }
    return [UInt8](buffer[..<count])
  }

  /// The names in a directory, sorted by their bytes, without "." and "..".
  static func names(in path: Path) throws(HostError) -> [[UInt8]] {
    guard let stream = withPath(path, { opendir($0) }) else { throw HostError(number: errno) }
    defer { closedir(stream) }
    var names: [[UInt8]] = []
    while true {
      errno = 0
      guard let record = readdir(stream) else {
        guard errno == 0 else { throw HostError(number: errno) }
        break
      }
      let name = withUnsafeBytes(of: &record.pointee.d_name) { bytes in
        [UInt8](bytes.prefix { $0 != 0 })
      }
      if name != [0x2e], name != [0x2e, 0x2e] { names.append(name) }
    }
    return names.sorted { $0.lexicographicallyPrecedes($1) }
  }

  /// Opens a file to be read.
  static func open(_ path: Path) throws(HostError) -> Int32 {
    let descriptor = withPath(path) { Glibc.open($0, O_RDONLY | O_CLOEXEC | O_NOCTTY) }
    guard descriptor >= 0 else { throw HostError(number: errno) }
    return descriptor
  }

  /// The whole of a file.
  static func contents(_ path: Path) throws(HostError) -> [UInt8] {
    let descriptor = try open(path)
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw HostError(number: errno) }
    guard let bytes = Descriptor.read(descriptor, at: 0, limit: Int(status.st_size)) else {
      throw HostError(number: errno)
    }
    return bytes
  }

  /// Whether a program of that path can be started here.
  static func isExecutable(_ path: Path) -> Bool {
    guard withPath(path, { access($0, X_OK) }) == 0 else { return false }
    var status = stat()
    return withPath(path) { stat($0, &status) } == 0 && FileFacts(status).isRegular
  }

  /// The command's own current directory.
  static func currentDirectory() -> Path {
    guard let text = getcwd(nil, 0) else { return [slash] }
    defer { free(text) }
    return [UInt8](UnsafeBufferPointer(start: text, count: strlen(text)).map { UInt8(bitPattern: $0) })
  }

  /// The first program of that name in the folders of PATH.
  static func findProgram(_ name: [UInt8]) -> Path? {
    for folder in environmentPath().split(separator: ":", omittingEmptySubsequences: false) {
      let start = folder.isEmpty ? currentDirectory() : Path(folder.utf8)
      let candidate = start + [slash] + name
      if isExecutable(candidate) { return candidate }
    }
    return nil
  }

  private static func environmentPath() -> String {
    guard let value = getenv("PATH") else { return "/usr/local/bin:/usr/bin:/bin" }
    return String(cString: value)
  }
}

extension FileFacts {
  init(_ status: stat) {
    self.init(
      mode: status.st_mode, user: status.st_uid, group: status.st_gid,
      size: UInt64(max(status.st_size, 0)), modified: Int64(status.st_mtim.tv_sec),
      device: UInt64(status.st_dev), inode: UInt64(status.st_ino),
      linkCount: UInt64(status.st_nlink))
  }
}
