// SPDX-License-Identifier: Apache-2.0
// Site.swift: the files of the boot image, laid out as responses.

import ApusHTTP
import ApusImage
import ApusNet
import ApusRuntime

/// One representation of something that has a path: its bytes, and the heads that go before them.
final class Document {
  let path: [UInt8]
  let body: PageSource
  let validators: Validators
  /// The fields behind Date that all answers about it have but those for Connection.
  let fields: [UInt8]
  /// The rest of the head of a whole answer, for connections that stay and for those that end.
  let stayingHead: PageSource
  let closingHead: PageSource
  /// The same thing compressed.
  var compressed: Document?
  var requests = 0
  var bytes = 0

  init?(
    _ path: [UInt8], _ body: PageSource, type: StaticString, modified: Int64, isCompressed: Bool, hasVariants: Bool,
    _ shelf: inout PageShelf
  ) {
    self.path = path
    self.body = body
    var tag: [UInt8] = [34]
    tag.append(hexadecimal: UInt64(bitPattern: modified))
    tag.append(45)
    tag.append(hexadecimal: UInt64(body.count))
    tag.append(45)
    tag.append(hexadecimal: UInt64(body.whole))
    if isCompressed { tag.append("-z") }
    tag.append(34)
    validators = Validators(tag: tag, modified: modified, length: body.count)
    var fields: [UInt8] = []
    fields.append("Last-Modified: ")
    HTTPDate(seconds: modified).append(to: &fields)
    fields.append("\r\nETag: ")
    fields += tag
    fields.append("\r\nAccept-Ranges: bytes\r\nContent-Type: ")
    fields.append(type)
    fields.append("\r\n")
    if isCompressed { fields.append("Content-Encoding: gzip\r\n") }
    if hasVariants { fields.append("Vary: Accept-Encoding\r\n") }
    self.fields = fields
    func head(_ connection: StaticString) -> [UInt8] {
      var head: [UInt8] = []
      head.append("Server: Cheetah\r\nContent-Length: ")
      head.append(number: body.count)
      head.append("\r\nConnection: ")
      head.append(connection)
      head.append("\r\n")
      head += fields
      head.append("\r\n")
      return head
    }
    guard let staying = shelf.put(head("keep-alive")), let closing = shelf.put(head("close")) else { return nil }
    stayingHead = staying
    closingHead = closing
  }
}

/// What a path leads to.
enum SiteEntry {
  case document(Document)
  /// A directory named without its slash.
  case directory
}

/// Everything that is served, found by path.
struct Site {
  private var documents: [Document] = []
  /// Paths of directories, without a slash at the end.
  private var directories: [[UInt8]] = []
  /// Places of documents, or -1; as many as a power of two, at most half of them taken.
  private var table: [Int32] = []
  private var directoryTable: [Int32] = []
  private(set) var byteCount = 0

  var count: Int { documents.count }
  func document(_ index: Int) -> Document { documents[index] }

  /// Finds what a plain path leads to.
  func find(_ bytes: Span<UInt8>, _ path: HeadRange) -> SiteEntry? {
    var slot = Int(Self.hash(bytes, path)) & (table.count - 1)
    while table[slot] >= 0 {
      let document = documents[Int(table[slot])]
      if Self.isSame(bytes, path, document.path) { return .document(document) }
      slot = (slot + 1) & (table.count - 1)
    }
    slot = Int(Self.hash(bytes, path)) & (directoryTable.count - 1)
    while directoryTable[slot] >= 0 {
      if Self.isSame(bytes, path, directories[Int(directoryTable[slot])]) { return .directory }
      slot = (slot + 1) & (directoryTable.count - 1)
    }
    return nil
  }

  // FNV-1a; the paths are ours, so that nobody can choose them to collide.
  private static func hash(_ bytes: Span<UInt8>, _ path: HeadRange) -> UInt32 {
    var hash: UInt32 = 2_166_136_261
    for index in path.start..<path.end { hash = (hash ^ UInt32(bytes[index])) &* 16_777_619 }
    return hash ^ hash >> 15
  }

  private static func isSame(_ bytes: Span<UInt8>, _ path: HeadRange, _ other: [UInt8]) -> Bool {
    guard path.count == other.count else { return false }
    for index in 0..<other.count where bytes[path.start + index] != other[index] { return false }
    return true
  }

  private static func table(_ paths: Int, _ path: (Int) -> [UInt8]) -> [Int32] {
    var size = 16
    while size < paths * 2 { size *= 2 }
    var table = [Int32](repeating: -1, count: size)
    for index in 0..<paths {
      let bytes = path(index)
      var slot = Int(hash(bytes.span, HeadRange(start: 0, end: bytes.count))) & (size - 1)
      while table[slot] >= 0 { slot = (slot + 1) & (size - 1) }
      table[slot] = Int32(index)
    }
    return table
  }

  // MARK: Laying out

  /// Lays out the files of the boot image, and some pages of our own; nil if there is no memory, or a damaged image.
  ///
  /// - Parameters:
  ///   - own: Paths, types and bytes of pages that are not files.
  ///   - started: When, in seconds since 1970: what our own pages were modified.
  init?(own: [(path: StaticString, type: StaticString, bytes: [UInt8])], started: Int64) {
    let image = ImageBytes(bytes: Runtime.module)
    var shelf = PageShelf()
    do throws(ImageError) {
      let reader = try ImageReader(image)
      var files: [SiteFile] = []
      for index in 0..<reader.entryCount {
        let (entry, offset) = try reader.entry(index)
        switch entry.content {
        case .directory: directories.append(entry.path.count == 1 ? [] : entry.path)
        case .file(let size):
          files.append(SiteFile(path: entry.path, offset: Int(offset), count: Int(size), modified: entry.modified))
        case .hardLink(let other):
          let (target, targetOffset) = try reader.entry(other)
          guard case .file(let size) = target.content else { continue }
          files.append(
            SiteFile(path: entry.path, offset: Int(targetOffset), count: Int(size), modified: target.modified))
        case .symbolicLink: break
        }
      }
      for index in 0..<reader.entryCount {
        let (entry, _) = try reader.entry(index)
        guard case .symbolicLink(let target) = entry.content,
          let file = SiteFile.target(of: target, at: entry.path, in: files)
        else { continue }
        files.append(SiteFile(path: entry.path, offset: file.offset, count: file.count, modified: file.modified))
      }
      guard addFiles(files, &shelf) else { return nil }
      guard addListings(files, started, &shelf) else { return nil }
    } catch { return nil }
    for page in own {
      guard let source = PageSource.copy(page.bytes),
        let document = Document(
          page.path.bytes, source, type: page.type, modified: started, isCompressed: false, hasVariants: false, &shelf)
      else { return nil }
      documents.append(document)
    }
    let documents = documents
    let directories = directories
    table = Self.table(documents.count) { documents[$0].path }
    directoryTable = Self.table(directories.count) { directories[$0] }
  }

  private mutating func addFiles(_ files: [SiteFile], _ shelf: inout PageShelf) -> Bool {
    let order = SiteFile.sorted(files)
    for index in 0..<order.count {
      let file = files[order[index]]
      byteCount += file.count
      let pages = (0..<(file.count + 4095) / 4096).map { Page.inImage(offset: UInt64(file.offset + $0 * 4096)) }
      let source = PageSource(pages, count: file.count)
      let compressed = SiteFile.find(file.path + [46, 103, 122], in: files, order)
      guard
        let document = Document(
          file.path, source, type: ContentType.of(file.path), modified: file.modified, isCompressed: false,
          hasVariants: compressed != nil, &shelf)
      else { return false }
      if let compressed {
        let pages = (0..<(compressed.count + 4095) / 4096).map {
          Page.inImage(offset: UInt64(compressed.offset + $0 * 4096))
        }
        document.compressed = Document(
          file.path, PageSource(pages, count: compressed.count), type: ContentType.of(file.path),
          modified: compressed.modified, isCompressed: true, hasVariants: true, &shelf)
      }
      documents.append(document)
      // A directory's path is answered with its index.
      if file.path.count >= 11, Array(file.path.suffix(11)) == Array("/index.html".utf8) {
        let path = Array(file.path.dropLast(10))
        guard
          let index = Document(
            path, source, type: ContentType.of(file.path), modified: file.modified, isCompressed: false,
            hasVariants: compressed != nil, &shelf)
        else { return false }
        index.compressed = document.compressed
        documents.append(index)
      }
    }
    return true
  }

  /// A list of what is there, for directories without an index.
  private mutating func addListings(_ files: [SiteFile], _ started: Int64, _ shelf: inout PageShelf) -> Bool {
    let known = documents.map { $0.path }
    for directory in directories {
      let path = directory + [47]
      if known.contains(path) { continue }
      guard let source = PageSource.copy(Listing.page(of: path, directories, files)),
        let document = Document(
          path, source, type: "text/html; charset=utf-8", modified: started, isCompressed: false, hasVariants: false,
          &shelf)
      else { return false }
      documents.append(document)
    }
    return true
  }
}

/// A file of the image.
struct SiteFile {
  let path: [UInt8]
  let offset: Int
  let count: Int
  let modified: Int64

  /// The order of paths.
  static func sorted(_ files: [SiteFile]) -> [Int] {
    Array(files.indices).sorted { files[$0].path.lexicographicallyPrecedes(files[$1].path) }
  }

  static func find(_ path: [UInt8], in files: [SiteFile], _ order: [Int]) -> SiteFile? {
    var low = 0
    var high = order.count
    while low < high {
      let middle = (low + high) / 2
      if files[order[middle]].path.lexicographicallyPrecedes(path) { low = middle + 1 } else { high = middle }
    }
    guard low < order.count, files[order[low]].path == path else { return nil }
    return files[order[low]]
  }

  /// The file that a symbolic link leads to, if it lies in the tree.
  static func target(of link: [UInt8], at path: [UInt8], in files: [SiteFile]) -> SiteFile? {
    var whole = link
    if link.first != 47, let slash = path.lastIndex(of: 47) { whole = Array(path[...slash]) + link }
    guard let tidied = TargetPath.tidied(whole) else { return nil }
    return files.first { $0.path == tidied }
  }
}

/// The boot image's bytes, to be read.
private struct ImageBytes: ImageSource {
  let bytes: Bytes
  var byteCount: UInt64 { UInt64(bytes.count) }
  func byte(at offset: UInt64) -> UInt8 { bytes[Int(offset)] }
}
