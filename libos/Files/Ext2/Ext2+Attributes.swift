// SPDX-License-Identifier: Apache-2.0
// Ext2+Attributes.swift: what stat(2) tells and chmod(2), chown(2), utimensat(2) change.

import ApusRuntime

extension Ext2 {
  /// What stat(2) tells.
  public func attributes(of node: UInt64) throws(FileError) -> NodeAttributes {
    forgetIdleInodes()
    let inode = try inode(node)
    var attributes = NodeAttributes()
    attributes.kind = inode.kind ?? .regular
    attributes.permissions = inode.mode & 0o7777
    attributes.user = inode.user
    attributes.group = inode.group
    attributes.linkCount = UInt32(inode.linkCount)
    attributes.size = inode.size
    attributes.sectors = UInt64(inode.sectors)
    attributes.accessTime = inode.accessTime
    attributes.modificationTime = inode.modificationTime
    attributes.changeTime = inode.changeTime
    attributes.birthTime = inode.birthTime
    if inode.kind == .characterDevice || inode.kind == .blockDevice { attributes.device = device(of: inode) }
    return attributes
  }

  /// Changes owner, permissions or times.
  public func setAttributes(of node: UInt64, _ change: AttributeChange, now: Int64) throws(FileError) {
    try beginChange()
    let inode = try inode(node)
    if let permissions = change.permissions { inode.mode = inode.mode & 0o170000 | permissions & 0o7777 }
    if let user = change.user { inode.user = user }
    if let group = change.group { inode.group = group }
    if let time = change.accessTime { inode.accessTime = time }
    if let time = change.modificationTime { inode.modificationTime = time }
    inode.changeTime = now
    inode.isChanged = true
  }

  /// Small numbers are in the first pointer, as they always were; large ones in the second.
  private func device(of inode: Ext2Inode) -> UInt64 {
    let short = inode.pointers[0]
    if short != 0 { return Self.packed(major: UInt64(short >> 8 & 0xff), minor: UInt64(short & 0xff)) }
    let long = UInt64(inode.pointers[1])
    return Self.packed(major: long >> 8 & 0xfff, minor: long & 0xff | long >> 12 & 0xfff00)
  }

  /// As makedev(3) packs them for programs.
  private static func packed(major: UInt64, minor: UInt64) -> UInt64 {
    minor & 0xff | (major & 0xfff) << 8 | (minor & ~0xff) << 12 | (major & ~0xfff) << 32
  }

  func setDevice(_ device: UInt64, of inode: Ext2Inode) {
    let major = UInt32(truncatingIfNeeded: device >> 8 & 0xfff)
    let minor = UInt32(truncatingIfNeeded: device & 0xff | device >> 12 & 0xfff00)
    if major < 256 && minor < 256 {
      inode.pointers[0] = major << 8 | minor
    } else {
      inode.pointers[1] = minor & 0xff | major << 8 | (minor & ~0xff) << 12
    }
  }
}
