// SPDX-License-Identifier: Apache-2.0
// BenchReport.swift: the report as a table for people and as JSON for programs.

import Glibc

enum BenchReport {
  /// One JSON object (RFC 8259) on one line.
  static func json(_ row: BenchRow) -> String {
    let figure = row.figure
    func list(_ values: [Double]) -> String {
      "[" + values.map { number($0) }.joined(separator: ",") + "]"
    }
    let fields = [
      "\"case\":\"\(figure.name)\"", "\"metric\":\"\(figure.metric)\"",
      "\"kind\":\"\(row.kind.rawValue)\"", "\"unit\":\"\(row.unit)\"",
      "\"apus\":" + (row.apusMedian.map { number($0) } ?? "null"),
      "\"linux\":" + (row.linuxMedian.map { number($0) } ?? "null"),
      "\"ratio\":" + (row.ratio.map { number($0) } ?? "null"),
      "\"samples\":{\"apus\":\(list(row.apus)),\"linux\":\(list(row.linux))}",
      "\"twin\":\"\(figure.twin)\"",
    ]
    return "{" + fields.joined(separator: ",") + "}"
  }

  /// A table with one line for each row.
  static func table(_ rows: [BenchRow]) -> String {
    let head = ["case", "metric", "unit", "Apus", "Linux", "ratio", "Apus min..max", "Linux min..max", "twin"]
    let lines = rows.map { row in
      [
        row.figure.name, row.figure.metric, row.unit, row.apusMedian.map { grouped($0) } ?? "-",
        row.linuxMedian.map { grouped($0) } ?? "-", row.ratio.map { rounded($0) } ?? "-",
        range(row.apus), range(row.linux), row.figure.twin,
      ]
    }
    let widths = head.indices.map { column in
      ([head] + lines).map { $0[column].count }.max() ?? 0
    }
    let isNumeric = [false, false, false, true, true, true, true, true, false]
    return ([head] + lines).map { cells in
      let padded = cells.indices.map { column in
        let space = String(repeating: " ", count: widths[column] - cells[column].count)
        return isNumeric[column] ? space + cells[column] : cells[column] + space
      }
      return String(padded.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
    }.joined(separator: "\n")
  }

  private static func range(_ values: [Double]) -> String {
    guard let least = values.min(), let most = values.max() else { return "-" }
    return grouped(least) + ".." + grouped(most)
  }

  /// At most two places behind the point.
  private static func number(_ value: Double) -> String {
    let hundredths = (value * 100).rounded() / 100
    return hundredths == hundredths.rounded() ? "\(Int64(hundredths))" : "\(hundredths)"
  }

  /// Two places for small values, none for large ones.
  private static func rounded(_ value: Double) -> String {
    let scale: Double = value < 10 ? 100 : value < 100 ? 10 : 1
    let shown = (value * scale).rounded() / scale
    return scale == 1 ? grouped(shown) : "\(shown)"
  }

  /// A whole number in groups of three digits.
  private static func grouped(_ value: Double) -> String {
    let digits = String(Int64(value.rounded()))
    var groups: [Substring] = []
    var rest = digits[...]
    while rest.count > 3 {
      groups.insert(rest.suffix(3), at: 0)
      rest = rest.dropLast(3)
    }
    return ([rest] + groups).joined(separator: ",")
  }
}
