// SPDX-License-Identifier: Apache-2.0
// PagerTrace.swift: the faults of apps/pager as a drawing: for each pass, which pages had to be brought back.

/// Rows of pages that faulted one after the other, by policy and pass.
struct PagerTrace {
  /// What a line of the trace begins with: then come policy, pass, first and last page.
  static let mark = "faults "

  struct Row: Equatable {
    let policy: Int
    let pass: Int
    let first: Int
    let last: Int
  }

  let rows: [Row]

  /// Reads the lines of a trace and passes over others; nil without any, or if one is not well formed.
  init?(_ lines: [Substring]) {
    var rows: [Row] = []
    for line in lines where line.hasPrefix(Self.mark) {
      let numbers = line.dropFirst(Self.mark.count).split(separator: " ").map { Int($0) ?? -1 }
      guard numbers.count == 4, numbers.allSatisfy({ (0..<1 << 24).contains($0) }), numbers[3] >= numbers[2],
        numbers[0] < 2, numbers[1] < 64
      else { return nil }
      rows.append(Row(policy: numbers[0], pass: numbers[1], first: numbers[2], last: numbers[3]))
    }
    guard !rows.isEmpty else { return nil }
    self.rows = rows
  }

  private static let names = ["clock, the default", "last scanned, the program's own"]

  /// A panel for each policy: passes from left to right, pages upwards; a mark is a page that was away when needed.
  var drawing: String {
    var sheet = DemoSheet(
      width: 900, height: 440, title: "Which pages were away when they were needed: a scan over more pages than frames")
    let pages = Double((rows.map(\.last).max() ?? 0) + 1)
    let passes = Double((rows.map(\.pass).max() ?? 0) + 1)
    for policy in 0..<2 {
      let left = 70 + 400 * Double(policy)
      let (top, bottom, wide) = (80.0, 380.0, 350.0)
      let mine = rows.filter { $0.policy == policy }
      sheet.box(left, top, wide, bottom - top, "#f4f4f4")
      let settled = mine.filter { $0.pass == Int(passes) - 1 }.reduce(0) { $0 + $1.last - $1.first + 1 }
      sheet.text(left, top - 12, "\(Self.names[policy]): \(settled) faults in the last pass", colour: colour(policy))
      func x(_ pass: Int, _ page: Double) -> Double { left + wide * (Double(pass) + page / pages) / passes }
      func y(_ page: Double) -> Double { bottom - (bottom - top) * page / pages }
      for row in mine {
        let (first, end) = (Double(row.first), Double(row.last + 1))
        sheet.line([(x(row.pass, first), y(first)), (x(row.pass, end), y(end))], colour(policy))
      }
      for pass in 0..<Int(passes) {
        sheet.text(left + wide * (Double(pass) + 0.5) / passes, bottom + 18, "\(pass + 1)", anchor: "middle")
      }
      sheet.text(left + wide, bottom + 36, "pass", anchor: "end")
    }
    sheet.text(62, 380, "0", anchor: "end")
    sheet.text(62, 84, "\(Int(pages))", anchor: "end")
    sheet.text(62, 64, "page", anchor: "end")
    return sheet.drawing
  }

  private func colour(_ policy: Int) -> String { DemoSheet.colours[policy == 0 ? 1 : 0] }
}
