// SPDX-License-Identifier: Apache-2.0
// CollectorBars.swift: what apps/collector says of its checkpoints, as bars: what each changed page cost, and what for.

/// Costs of a changed page in both ways of making a checkpoint, in ticks.
struct CollectorBars {
  struct Bar: Equatable {
    let name: String
    /// Finding, protecting and faults.
    let handling: Int
    /// That, the program's own work, and the copy.
    let whole: Int
  }

  let bars: [Bar]

  /// Reads the program's lines and passes over others; nil without any.
  init?(_ lines: [Substring]) {
    bars = lines.compactMap { line in
      guard
        let match = line.wholeMatch(
          of: /([a-z ]+): \d+ checkpoints .* took (\d+) ticks for each page of (\d+) in all;.*/),
        let handling = Int(match.2), let whole = Int(match.3), handling <= whole
      else { return nil }
      return Bar(name: String(match.1), handling: handling, whole: whole)
    }
    guard !bars.isEmpty else { return nil }
  }

  var drawing: String {
    var sheet = DemoSheet(
      width: 860, height: 110 + 80 * Double(bars.count), title: "Checkpoints of what changed: cost of a changed page")
    let most = Double(bars.map(\.whole).max() ?? 1)
    for (index, bar) in bars.enumerated() {
      let y = 80 + 80 * Double(index)
      let scale = 700 / max(1, most)
      sheet.text(40, y - 8, bar.name)
      sheet.box(40, y, Double(bar.whole - bar.handling) * scale, 28, "#c9d3dc")
      sheet.box(
        40 + Double(bar.whole - bar.handling) * scale, y, Double(bar.handling) * scale, 28, DemoSheet.colours[1])
      sheet.text(48 + Double(bar.whole) * scale, y + 19, "\(bar.handling) of \(bar.whole)")
    }
    let y = 85 + 80 * Double(bars.count)
    sheet.box(40, y, 12, 12, "#c9d3dc")
    sheet.text(58, y + 11, "the program's own work and the copy")
    sheet.box(320, y, 12, 12, DemoSheet.colours[1])
    sheet.text(338, y + 11, "finding the page, protecting it, faults (instructions)")
    return sheet.drawing
  }
}
