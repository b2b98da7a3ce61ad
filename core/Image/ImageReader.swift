// SPDX-License-Identifier: Apache-2.0
// ImageReader.swift: a boot image read back; nothing in it is believed unchecked.

/// Memory or a file that holds an image.
public protocol ImageSource {
  /// How many bytes there are.
  var byteCount: UInt64 { get }
  /// One byte; `offset` is below `byteCount`.
  func byte(at offset: UInt64) -> UInt8
}

/// A checked view of a boot image.
public struct ImageReader<Source: ImageSource> {
  private let source: Source
  /// The LibOS's entry point.
  public let start: UInt64
  /// How many segments the LibOS has.
  public let segmentCount: Int
  /// How many files, directories and links there are.
  public let entryCount: Int
  private let tableOffset: UInt64
  private let stringsOffset: UInt64
  private let stringsSize: UInt64
  private let commandOffset: UInt64
  private let commandSize: UInt64

  /// Opens an image.
  ///
  /// - Throws: `badMagic`, or `truncated` when a table lies outside of the image.
  public init(_ source: Source) throws(ImageError) {
    self.source = source
    guard source.byteCount >= UInt64(ImageShape.headerSize) else { throw .truncated }
    guard Self.load64(source, 0) == ImageShape.magic else { throw .badMagic }
    let size = Self.load64(source, UInt64(ImageShape.sizeOffset))
    guard size <= source.byteCount else { throw .truncated }
    start = Self.load64(source, UInt64(ImageShape.startOffset))
    let segments = Self.load64(source, UInt64(ImageShape.segmentCountOffset))
    guard segments <= UInt64(ImageShape.segmentLimit) else { throw .tooManySegments }
    segmentCount = Int(segments)
    tableOffset = Self.load64(source, UInt64(ImageShape.entryTableOffset))
    let entries = Self.load64(source, UInt64(ImageShape.entryCountOffset))
    stringsOffset = Self.load64(source, UInt64(ImageShape.stringsOffset))
    stringsSize = Self.load64(source, UInt64(ImageShape.stringsSizeOffset))
    commandOffset = Self.load64(source, UInt64(ImageShape.commandOffset))
    commandSize = Self.load64(source, UInt64(ImageShape.commandSizeOffset))
    guard entries <= size / UInt64(ImageShape.entrySize) else { throw .truncated }
    entryCount = Int(entries)
    guard
      Self.fits(tableOffset, entries * UInt64(ImageShape.entrySize), in: size),
      Self.fits(stringsOffset, stringsSize, in: size),
      Self.fits(commandOffset, commandSize, in: size)
    else { throw .truncated }
  }

  /// A segment of the LibOS and where its bytes lie.
  ///
  /// - Throws: `truncated` when they lie outside of the image, `badSegment` when it is malformed.
  public func segment(_ index: Int) throws(ImageError) -> (segment: ImageSegment, offset: UInt64) {
    precondition(index >= 0 && index < segmentCount)
    let at = UInt64(ImageShape.segmentsOffset + index * ImageShape.segmentSize)
    let offset = Self.load64(source, at + 8)
    let segment = ImageSegment(
      address: Self.load64(source, at), fileSize: Self.load64(source, at + 16),
      memorySize: Self.load64(source, at + 24), flags: Self.load64(source, at + 32))
    guard Self.fits(offset, segment.fileSize, in: source.byteCount) else { throw .truncated }
    guard
      segment.address % ImageShape.pageSize == 0, offset % ImageShape.pageSize == 0,
      segment.fileSize <= segment.memorySize
    else { throw .badSegment }
    return (segment, offset)
  }

  /// A file, directory or link, and where its data lies.
  ///
  /// - Throws: `truncated` when a part lies outside of the image, `badPath` or `badHardLink` when it is malformed.
  public func entry(_ index: Int) throws(ImageError) -> (entry: ImageEntry, dataOffset: UInt64) {
    precondition(index >= 0 && index < entryCount)
    let at = tableOffset + UInt64(index * ImageShape.entrySize)
    let path = try string(Self.load64(source, at), Self.load64(source, at + 8))
    guard path.first == 0x2f else { throw .badPath }
    let dataOffset = Self.load64(source, at + 32)
    let dataSize = Self.load64(source, at + 40)
    let mode = Self.load32(source, at + 48)
    let linksTo = Self.load32(source, at + 60)
    guard Self.fits(dataOffset, dataSize, in: source.byteCount) else { throw .truncated }
    guard dataOffset % ImageShape.pageSize == 0 else { throw .badSegment }

    let content: ImageEntry.Content
    if linksTo > 0 {
      guard linksTo <= index else { throw .badHardLink }
      content = .hardLink(index: Int(linksTo) - 1)
    } else if mode & FileMode.typeMask == FileMode.directory {
      content = .directory
    } else if mode & FileMode.typeMask == FileMode.symbolicLink {
      let target = try string(Self.load64(source, at + 16), Self.load64(source, at + 24))
      content = .symbolicLink(target: target)
    } else {
      content = .file(size: dataSize)
    }
    let entry = ImageEntry(
      path: path, content: content, mode: mode, user: Self.load32(source, at + 52),
      group: Self.load32(source, at + 56),
      modified: Int64(bitPattern: Self.load64(source, at + 64)))
    return (entry, dataOffset)
  }

  /// The start command.
  ///
  /// - Throws: `badCommand` when it is malformed.
  public func command() throws(ImageError) -> StartCommand {
    try StartCommand(decoding: bytes(commandOffset, commandSize))
  }

  private func string(_ offset: UInt64, _ size: UInt64) throws(ImageError) -> [UInt8] {
    guard Self.fits(offset, size, in: stringsSize) else { throw .truncated }
    return bytes(stringsOffset + offset, size)
  }

  private func bytes(_ offset: UInt64, _ size: UInt64) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(Int(size))
    for index in 0..<size { result.append(source.byte(at: offset + index)) }
    return result
  }

  private static func fits(_ offset: UInt64, _ size: UInt64, in limit: UInt64) -> Bool {
    offset <= limit && size <= limit - offset
  }

  private static func load64(_ source: Source, _ offset: UInt64) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<UInt64(8) { value |= UInt64(source.byte(at: offset + index)) << (index * 8) }
    return value
  }

  private static func load32(_ source: Source, _ offset: UInt64) -> UInt32 {
    var value: UInt32 = 0
    for index in 0..<UInt64(4) {
      value |= UInt32(source.byte(at: offset + index)) << UInt32(index * 8)
    }
    return value
  }
}

extension [UInt8]: ImageSource {
  /// How many bytes there are.
  public var byteCount: UInt64 { UInt64(count) }

  /// One byte.
  public func byte(at offset: UInt64) -> UInt8 { self[Int(offset)] }
}
