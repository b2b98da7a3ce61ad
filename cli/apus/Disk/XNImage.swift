// SPDX-License-Identifier: Apache-2.0
// XNImage.swift: a disk of XN's, as recovery finds it: the kernel's own code over a file.

import ApusBPF
import ApusBPFTools
import ApusXN

/// The memory that recovery works on: records and one block at a time.
final class XNImage: XNMemory {
  let blockCount: UInt32
  private let image: DiskImage
  private var records: [BlockRecord]
  private var scratch = [UInt8](repeating: 0, count: 4096)
  private var stack = [UInt64](repeating: 0, count: ProgramLimits.stackByteCount / 8)
  private var programs: [UInt16: [[UInt64]]] = [:]
  private(set) var problems: [String] = []

  private init(_ image: DiskImage) {
    self.image = image
    blockCount = UInt32(clamping: image.byteCount / 4096)
    records = Array(repeating: BlockRecord(), count: Int(blockCount))
  }

  subscript(block: UInt32) -> BlockRecord {
    get { records[Int(block)] }
    set { records[Int(block)] = newValue }
  }
  subscript(stack index: Int) -> UInt64 {
    get { stack[index] }
    set { stack[index] = newValue }
  }
  func isPresent(_ block: UInt32) -> Bool { false }
  func copyToScratch(_ block: UInt32) { preconditionFailure("recovery has no blocks in memory") }
  func copyFromScratch(_ block: UInt32) { preconditionFailure("recovery has no blocks in memory") }
  func loadScratch(_ width: AccessWidth, _ offset: Int) -> UInt64 {
    (0..<width.byteCount).reversed().reduce(0) { $0 << 8 | UInt64(scratch[offset + $1]) }
  }
  func storeScratch(_ byte: UInt8, _ offset: Int) { scratch[offset] = byte }
  func readToScratch(_ block: UInt32) -> Bool {
    guard let bytes = image.bytes(Int(block) * 4096, 4096) else { return false }
    scratch = bytes
    return true
  }
  func hasTemplate(_ type: UInt16) -> Bool { programs[type] != nil }
  func withProgram<R>(_ type: UInt16, _ program: TemplateProgram, _ body: (Span<UInt64>) -> R) -> R {
    let slots = programs[type]?[Int(program.rawValue)] ?? []
    return body(slots.span)
  }

  /// Reads the templates and asks the verifier about each program: a disk can say anything.
  private func loadTemplates() {
    for type in 1...UInt16(Catalogue.templateLimit) {
      guard UInt32(type) < blockCount, readToScratch(UInt32(type)), let counts = Catalogue.template(type, self) else {
        continue
      }
      var offset = Catalogue.slotOffset
      var found: [[UInt64]] = []
      for index in 0..<3 {
        found.append((0..<counts[index]).map { loadScratch(.doubleWord, offset + 8 * $0) })
        offset += 8 * counts[index]
      }
      let kinds: [TemplateProgram] = [.owns, .acl, .size]
      let refused = zip(kinds, found).first { Verification($1, for: .template($0)).verdict == nil }
      if let refused {
        problems.append("block \(type): the verifier refuses the program \(refused.0) of template \(type)")
      } else {
        programs[type] = found
      }
    }
  }

  /// Everything about an image; nil if it is not XN's.
  static func contents(_ image: DiskImage) -> DiskContents? {
    guard let first = image.bytes(0, 4096),
      (0..<8).allSatisfy({ first[$0] == UInt8(Catalogue.magic >> (8 * UInt64($0)) & 0xff) })
    else { return nil }
    let memory = XNImage(image)
    memory.loadTemplates()
    var xn = XN(memory: memory)
    var problems: [RecoveryProblem] = []
    xn.recover { problems.append($0) }
    var contents = DiskContents(title: "XN, \(memory.blockCount) blocks of 4096 bytes", blockByteCount: 4096)
    contents.problems = memory.problems + problems.map(\.sentence)
    contents.details = memory.programs.keys.sorted().map { type in
      let counts = (memory.programs[type] ?? []).map { "\($0.count)" }.joined(separator: ", ")
      return "template \(type): programs of \(counts) instructions (owns, acl, size)"
    }
    contents.fill(memory, xn.roots)
    return contents
  }
}

extension DiskContents {
  fileprivate mutating func fill(_ memory: XNImage, _ roots: RootTable) {
    var tree: [UInt32: Int] = [:]
    for place in 0..<Catalogue.rootLimit where roots.blocks[place] != 0 {
      tree[roots.blocks[place]] = trees.count
      trees.append("root \(place) \(Self.text(roots.names[place]))")
    }
    uses = Array(repeating: .free, count: Int(memory.blockCount))
    for block in 0..<memory.blockCount {
      let record = memory[block]
      switch record.state {
      case .reserved: uses[Int(block)] = .structure
      case .free, .part, .waiting: continue
      case .owned:
        var above = block
        while memory[above].parent != 0 { above = memory[above].parent }
        let number = tree[above] ?? 0
        let last = block + record.count - 1
        for index in block...last { uses[Int(index)] = record.type == 0 ? .data(number) : .metadata(number) }
        let range = record.count == 1 ? "\(block)" : "\(block)-\(last)"
        let what = record.type == 0 ? "data" : "metadata of template \(record.type), owns \(record.ownedCount)"
        let owner = record.parent == 0 ? trees[number] : "of block \(record.parent), \(trees[number])"
        extents.append("\(range): \(what), \(owner)")
      }
    }
  }

  /// A name of eight bytes; what cannot be printed is a number.
  private static func text(_ name: UInt64) -> String {
    var bytes = (0..<8).map { UInt8(truncatingIfNeeded: name >> (8 * UInt64($0))) }
    while bytes.last == 0 { bytes.removeLast() }
    let isPrintable = !bytes.isEmpty && bytes.allSatisfy { $0 > 0x20 && $0 < 0x7f }
    return isPrintable ? String(decoding: bytes, as: UTF8.self) : "0x" + name.hexadecimal
  }
}

extension RecoveryProblem {
  /// One sentence that names the block.
  var sentence: String {
    let range = extent.count == 1 ? "block \(extent.first)" : "blocks \(extent.first) and on, \(extent.count) of them"
    return switch kind {
    case .noCatalogue: "block 0: the catalogue's size or checksum is wrong; nothing is known of any other block"
    case .noTemplate: "block \(block): its template is not on this disk, or the verifier refuses it"
    case .unreadable: "block \(block): cannot be read; what it owns is not known"
    case .notOfItsType: "block \(block): its template says that it is not of its type; what it owns is not known"
    case .outOfRange: "block \(block): tells of \(range), type \(extent.type), which cannot be"
    case .ownedTwice: "block \(block): tells of \(range), which another block owns; it keeps them"
    case .tooHigh: "block \(block): tells of \(range) below 64 levels"
    }
  }
}
