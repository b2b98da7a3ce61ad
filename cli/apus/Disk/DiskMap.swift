// SPDX-License-Identifier: Apache-2.0
// DiskMap.swift: which block belongs to whom, as letters of a terminal or as an SVG picture.

/// A map of a disk.
struct DiskMap {
  let contents: DiskContents

  /// How many blocks make a cell, so that there are no more cells than that.
  private func blocksPerCell(_ limit: Int) -> Int {
    var size = 1
    while (contents.uses.count + size - 1) / size > limit { size *= 2 }
    return size
  }

  /// The use that most blocks of each cell have; what is used wins over what is free.
  private func cells(_ size: Int) -> [BlockUse] {
    stride(from: 0, to: contents.uses.count, by: size).map { start in
      var counts: [BlockUse: Int] = [:]
      for use in contents.uses[start..<min(start + size, contents.uses.count)] where use != .free {
        counts[use, default: 0] += 1
      }
      return counts.max { ($0.value, "\($1.key)") < ($1.value, "\($0.key)") }?.key ?? .free
    }
  }

  private func letter(_ use: BlockUse) -> Character {
    func letter(_ tree: Int) -> Character { Character(Unicode.Scalar(UInt8(ascii: "a") + UInt8(tree % 26))) }
    return switch use {
    case .free: "."
    case .structure: "#"
    case .data(let tree): letter(tree)
    case .metadata(let tree): Character(letter(tree).uppercased())
    }
  }

  private var legend: [String] {
    contents.trees.enumerated().map { number, name in
      let hasMetadata = contents.uses.contains(.metadata(number))
      return "\(letter(.data(number))) \(name)" + (hasMetadata ? ", its metadata \(letter(.metadata(number)))" : "")
    }
  }

  /// The lines for a terminal.
  var lines: [String] {
    let size = blocksPerCell(64 * 32)
    let cells = cells(size)
    var lines = [contents.title + ", a cell is \(size == 1 ? "one block" : "\(size) blocks")"]
    for start in stride(from: 0, to: cells.count, by: 64) {
      lines.append(String(cells[start..<min(start + 64, cells.count)].map(letter)))
    }
    return lines + ["# own structures, . free"] + legend
  }

  private func color(_ use: BlockUse) -> Color {
    switch use {
    case .free: OwnerColors.free
    case .structure: OwnerColors.kernel
    case .data(let tree): OwnerColors.palette[tree % OwnerColors.palette.count]
    case .metadata(let tree): OwnerColors.palette[tree % OwnerColors.palette.count].dark
    }
  }

  private func words(_ use: BlockUse) -> String {
    switch use {
    case .free: "free"
    case .structure: "own structures"
    case .data(let tree): contents.trees[tree]
    case .metadata(let tree): contents.trees[tree] + ", metadata"
    }
  }

  /// The picture.
  var svg: String {
    let (columns, cell, left, top) = (128, 7, 24, 64)
    let size = blocksPerCell(columns * 64)
    let cells = cells(size)
    let rows = (cells.count + columns - 1) / columns
    let width = 2 * left + columns * cell
    let summary = contents.summary
    let height = top + rows * cell + 24 + 20 * summary.count
    var parts = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(width)\" height=\"\(height)\""
        + " viewBox=\"0 0 \(width) \(height)\" font-family=\"sans-serif\" font-size=\"13\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
      "<text x=\"\(left)\" y=\"28\" font-size=\"16\">\(MapDrawing.escaped(contents.title))</text>",
      "<text x=\"\(left)\" y=\"52\">\(size == 1 ? "each block is a cell" : "\(size) blocks in a cell"); metadata is darker</text>",
    ]
    for row in 0..<rows {
      let line = cells[row * columns..<min((row + 1) * columns, cells.count)]
      for run in Stretch.of(line) {
        let box =
          "x=\"\(left + run.first * cell)\" y=\"\(top + row * cell)\" width=\"\(run.count * cell)\" height=\"\(cell)\""
        let title = MapDrawing.escaped(words(run.value))
        parts.append("<rect \(box) fill=\"\(color(run.value).hexadecimal)\"><title>\(title)</title></rect>")
      }
    }
    for (index, line) in summary.enumerated() {
      let y = top + rows * cell + 24 + 20 * index
      parts.append("<text x=\"\(left)\" y=\"\(y)\">\(MapDrawing.escaped(line))</text>")
    }
    return parts.joined(separator: "\n") + "\n</svg>\n"
  }
}
