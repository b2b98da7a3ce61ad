// SPDX-License-Identifier: Apache-2.0
// MapDrawing.swift: a map as an SVG picture that needs nothing else.

/// Sizes of the picture, in its own units.
private enum Sheet {
  static let columns = 128
  static let cell = 7
  static let left = 24
  static let top = 64
  static let width = left * 2 + columns * cell
  static let mostCells = columns * 64
}

/// A map drawn.
struct MapDrawing {
  let map: MachineMap
  let colors: OwnerColors
  let title: String
  var names: [UInt16: String] = [:]

  private var framesPerCell: Int { map.framesPerCell(cells: Sheet.mostCells) }

  /// The whole picture.
  var text: String {
    let cells = map.cells(framesPerCell: framesPerCell)
    let rows = (cells.count + Sheet.columns - 1) / Sheet.columns
    let sliceTop = Sheet.top + rows * Sheet.cell + 40
    let tableTop = sliceTop + map.slices.count * 18 + 40
    let height = tableTop + (map.holdings.count + 3) * 20 + 16
    var parts = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Sheet.width)\" height=\"\(height)\""
        + " viewBox=\"0 0 \(Sheet.width) \(height)\" font-family=\"sans-serif\" font-size=\"13\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
      Self.label(Sheet.left, 28, title, size: 16),
      Self.label(
        Sheet.left, 52,
        "\(map.frameCount) frames of 4 KiB, "
          + (framesPerCell == 1 ? "each a cell" : "\(framesPerCell) in a cell") + "; page tables are darker"),
    ]
    parts += frameBoxes(cells)
    parts.append(Self.label(Sheet.left, sliceTop - 10, "slices of each CPU"))
    parts += sliceBoxes(top: sliceTop)
    parts += table(top: tableTop)
    return parts.joined(separator: "\n") + "\n</svg>\n"
  }

  private func frameBoxes(_ cells: [MapCell]) -> [String] {
    var parts: [String] = []
    for row in 0..<(cells.count + Sheet.columns - 1) / Sheet.columns {
      let line = cells[row * Sheet.columns..<min((row + 1) * Sheet.columns, cells.count)]
      for run in Stretch.of(line) where run.value.owner.kind != .absent {
        let box =
          "x=\"\(Sheet.left + run.first * Sheet.cell)\" y=\"\(Sheet.top + row * Sheet.cell)\""
          + " width=\"\(run.count * Sheet.cell)\" height=\"\(Sheet.cell)\""
        let color = colors.color(run.value)
        let fill = run.value.owner.kind == .table ? color.dark : color
        parts.append("<rect \(box) fill=\"\(fill.hexadecimal)\"><title>\(words(run.value))</title></rect>")
      }
    }
    return parts
  }

  private func words(_ cell: MapCell) -> String {
    switch cell.owner.kind {
    case .ordinary: (cell.isSpeckled ? "mostly free, some of " : "") + title(account: cell.owner.account)
    case .table: "page tables of " + title(account: cell.owner.account)
    default: cell.owner.kind.name
    }
  }

  private func title(account: UInt16) -> String {
    "account \(account)" + (names[account].map { ", " + Self.escaped($0) } ?? "")
  }

  private func sliceBoxes(top: Int) -> [String] {
    let end = max(1, min(map.sliceEnd + 1, map.sliceCount))
    let width = Double(Sheet.columns * Sheet.cell) / Double(max(end, 16))
    return map.slices.enumerated().flatMap { cpu, runs in
      runs.compactMap { run -> String? in
        let count = min(run.count, end - run.first)
        guard count > 0 else { return nil }
        let owner = run.value.flatMap { map.accountOfSlot[$0] }
        let color = owner.map { colors.color(account: $0) } ?? OwnerColors.free
        let name = run.value.map { "environment \($0), " + title(account: owner ?? 0) } ?? "free"
        return "<rect x=\"\(Self.place(Double(Sheet.left) + Double(run.first) * width))\" y=\"\(top + cpu * 18)\""
          + " width=\"\(Self.place(Double(count) * width))\" height=\"14\" stroke=\"#ffffff\" stroke-width=\"0.5\""
          + " fill=\"\(color.hexadecimal)\"><title>\(name)</title></rect>"
      }
    }
  }

  private func table(top: Int) -> [String] {
    let columns = [Sheet.left + 22, 400, 500, 600, 700, 800, Sheet.width - Sheet.left]
    func line(_ y: Int, _ texts: [String]) -> [String] {
      texts.enumerated().map {
        Self.label(columns[$0.offset], y, $0.element, anchor: $0.offset == 0 ? "start" : "end")
      }
    }
    func box(_ y: Int, _ color: Color) -> String {
      "<rect x=\"\(Sheet.left)\" y=\"\(y - 11)\" width=\"14\" height=\"14\" fill=\"\(color.hexadecimal)\"/>"
    }
    var y = top
    var parts = line(y, ["account", "frames", "limit", "tables", "cooling", "slices", "environments"])
    for entry in map.holdings {
      y += 20
      parts.append(box(y, colors.color(account: entry.account)))
      parts += line(
        y,
        [
          "\(entry.account)" + (names[entry.account].map { " " + Self.escaped($0) } ?? ""),
          "\(entry.ordinary + entry.tables)", "\(entry.frameBudget.limit)", "\(entry.tables)", "\(entry.cooling)",
          "\(entry.slices)", "\(entry.environments)",
        ])
    }
    for (name, count, color) in [
      ("kernel", map.kernelFrames, OwnerColors.kernel), ("free", map.freeFrames, OwnerColors.free),
    ] {
      y += 20
      parts.append(box(y, color))
      parts += line(y, [name, "\(count)"])
    }
    return parts
  }

  private static func label(
    _ x: Int, _ y: Int, _ words: String, size: Int = 13, anchor: String = "start"
  ) -> String {
    "<text x=\"\(x)\" y=\"\(y)\" font-size=\"\(size)\" text-anchor=\"\(anchor)\" fill=\"#222222\">\(escaped(words))</text>"
  }

  private static func place(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }

  /// Text as XML takes it.
  static func escaped(_ text: String) -> String {
    text.map { character in
      switch character {
      case "&": "&amp;"
      case "<": "&lt;"
      case ">": "&gt;"
      case "\"": "&quot;"
      default: String(character)
      }
    }.joined()
  }
}
