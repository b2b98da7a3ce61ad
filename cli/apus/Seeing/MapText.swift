// SPDX-License-Identifier: Apache-2.0
// MapText.swift: a map as lines of a terminal, with colours or with letters.

/// How lines are to look.
struct TextStyle {
  var columns: Int
  var rows: Int
  var isColored: Bool

  /// Text on a coloured ground.
  func onGround(_ color: Color, _ text: String) -> String {
    isColored ? "\u{1b}[48;5;\(color.terminalNumber)m\(text)" : text
  }

  /// Text in a colour on a coloured ground.
  func marked(_ color: Color, on ground: Color, _ text: String) -> String {
    "\u{1b}[38;5;\(color.terminalNumber);48;5;\(ground.terminalNumber)m\(text)"
  }

  var plain: String { isColored ? "\u{1b}[0m" : "" }

  func strong(_ text: String) -> String { isColored ? "\u{1b}[1m\(text)\u{1b}[0m" : text }
}

/// A map for a terminal.
struct MapText {
  let map: MachineMap
  let colors: OwnerColors
  let style: TextStyle
  /// The names of accounts, where somebody gave them some.
  var names: [UInt16: String] = [:]

  /// The lines: frames, slices, and a table of who has what.
  var lines: [String] { frameLines + sliceLines + table }

  private var frameLines: [String] {
    let width = max(8, min(style.columns, 256))
    let height = max(4, style.rows - 8 - map.holdings.count - map.slices.count)
    let size = map.framesPerCell(cells: width * min(height, 32))
    let cells = map.cells(framesPerCell: size)
    var lines = [
      style.strong("frames") + " 0 to \(map.frameCount - 1), a cell is \(size == 1 ? "one frame" : "\(size) frames")"
    ]
    var index = 0
    while index < cells.count {
      lines.append(line(cells[index..<min(index + width, cells.count)]))
      index += width
    }
    return lines
  }

  private func line(_ cells: ArraySlice<MapCell>) -> String {
    var text = ""
    for run in Stretch.of(cells) {
      guard style.isColored else {
        text += String(repeating: colors.letter(run.value), count: run.count)
        continue
      }
      switch run.value.owner.kind {
      case .table:
        let color = colors.color(run.value)
        text += style.marked(
          Color(red: 255, green: 255, blue: 255), on: color, String(repeating: "▒", count: run.count))
      case .ordinary where run.value.isSpeckled:
        let color = colors.color(account: run.value.owner.account)
        text += style.marked(color, on: OwnerColors.free, String(repeating: "▖", count: run.count))
      case .absent: text += style.plain + String(repeating: " ", count: run.count)
      default: text += style.onGround(colors.color(run.value), String(repeating: " ", count: run.count))
      }
    }
    return text + style.plain
  }

  private var sliceLines: [String] {
    let end = map.sliceEnd
    guard end > 0 else { return [style.strong("slices") + " all free"] }
    var lines = [style.strong("slices") + " of each CPU, \(map.sliceCount) in all"]
    let width = max(8, style.columns - 8)
    for (cpu, runs) in map.slices.enumerated() {
      var text = "cpu \(cpu)".padded(7) + " "
      var drawn = 0
      for run in runs where drawn < width {
        let count = min(run.count, width - drawn, max(0, end + 1 - run.first))
        guard count > 0 else { break }
        drawn += count
        if let slot = run.value {
          let account = map.accountOfSlot[slot] ?? 0
          let cell = String(repeating: style.isColored ? " " : colors.letter(account: account), count: count)
          text += style.onGround(colors.color(account: account), cell)
        } else {
          text += style.onGround(OwnerColors.free, String(repeating: style.isColored ? " " : ".", count: count))
        }
      }
      lines.append(text + style.plain + (drawn == width && end > width ? " …" : ""))
    }
    return lines
  }

  private var table: [String] {
    func row(_ name: String, _ values: [String]) -> String {
      name.padded(20) + zip(values, [8, 9, 8, 9, 8, 14]).map { $0.aligned($1) }.joined()
    }
    let heads = ["frames", "limit", "tables", "cooling", "slices", "environments"]
    var lines = [style.strong("   " + row("account", heads))]
    func mark(_ color: Color, _ letter: Character) -> String {
      style.isColored ? style.onGround(color, "  ") + style.plain + " " : "\(letter)  "
    }
    for entry in map.holdings {
      let name = names[entry.account].map { "\(entry.account) \($0)" } ?? "\(entry.account)"
      let values = [
        entry.ordinary + entry.tables, Int(entry.frameBudget.limit), entry.tables, entry.cooling, entry.slices,
        entry.environments,
      ]
      let color = mark(colors.color(account: entry.account), colors.letter(account: entry.account))
      lines.append(color + row(String(name.prefix(19)), values.map(String.init)))
    }
    lines.append(mark(OwnerColors.kernel, "#") + row("kernel", ["\(map.kernelFrames)"]))
    lines.append(mark(OwnerColors.free, ".") + row("free", ["\(map.freeFrames)"]))
    return lines
  }
}

extension String {
  /// Filled with spaces on the right.
  func padded(_ width: Int) -> String { count < width ? self + String(repeating: " ", count: width - count) : self }
  /// Filled with spaces on the left.
  func aligned(_ width: Int) -> String { count < width ? String(repeating: " ", count: width - count) + self : self }
}
