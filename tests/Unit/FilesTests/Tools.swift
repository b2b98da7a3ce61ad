// SPDX-License-Identifier: Apache-2.0
// Tools.swift: the host's e2fsprogs: images made by mke2fs, judged by e2fsck, read by debugfs.

import Foundation
import Testing

enum Tools {
  private static let folders =
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init) + ["/usr/sbin", "/sbin"]

  private static func find(_ name: String) -> String? {
    folders.map { $0 + "/" + name }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  /// Whether the host has what the tests need; without it they are not run.
  static let arePresent = ["mke2fs", "e2fsck", "debugfs"].allSatisfy { find($0) != nil }

  static func run(_ name: String, _ arguments: [String], input: String = "") throws -> (status: Int32, text: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: find(name) ?? name)
    process.arguments = arguments
    process.environment = ["PATH": folders.joined(separator: ":"), "LC_ALL": "C", "MKE2FS_CONFIG": "/dev/null"]
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let text = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: text, as: UTF8.self))
  }
}

/// A folder that goes away with the test, in memory where the host has such a place.
final class Workspace {
  let path: String

  init() throws {
    let parent = FileManager.default.isWritableFile(atPath: "/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
    path = parent + "/apus-files-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ bytes: [UInt8], to name: String) throws -> String {
    let file = path + "/" + name
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    return file
  }

  func read(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path + "/" + name))) }

  /// A new image; the options go to mke2fs.
  func makeImage(_ options: String = "-b 1024", megabytes: Int = 4, tree: String? = nil) throws -> [UInt8] {
    let file = path + "/image"
    try? FileManager.default.removeItem(atPath: file)
    // What mke2fs.conf says by default, so that the host's own does not matter.
    let defaults = "sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr"
    var arguments = ["-q", "-F", "-t", "ext2", "-O", "none," + defaults]
    arguments += options.split(separator: " ").map(String.init)
    if let tree { arguments += ["-d", tree] }
    let result = try Tools.run("mke2fs", arguments + [file, "\(megabytes)M"])
    guard result.status == 0 else { throw ToolError(text: result.text) }
    return try read("image")
  }

  /// What e2fsck complains about, or nil.
  func complaint(_ image: [UInt8]) throws -> String? {
    let file = try write(image, to: "checked")
    let result = try Tools.run("e2fsck", ["-f", "-n", file])
    return result.status == 0 ? nil : result.text
  }

  /// Expects e2fsck to find nothing.
  func expectClean(_ disk: MemoryDisk, _ location: SourceLocation = #_sourceLocation) throws {
    if let complaint = try complaint(disk.bytes) { Issue.record("\(complaint)", sourceLocation: location) }
  }

  /// What the documented repair makes of an image.
  ///
  /// - Parameters:
  ///   - image: The image.
  ///   - asking: With -y instead of -p.
  /// - Returns: nil, and what e2fsck said, if it could not repair the image.
  /// - Throws: If the tool cannot be run.
  func repaired(_ image: [UInt8], asking: Bool = false) throws -> (image: [UInt8]?, text: String) {
    let file = try write(image, to: "repaired")
    let result = try Tools.run("e2fsck", ["-f", asking ? "-y" : "-p", file])
    return (result.status & ~3 == 0 ? try read("repaired") : nil, result.text)
  }
}

struct ToolError: Error { let text: String }
