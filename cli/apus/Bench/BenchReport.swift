// SPDX-License-Identifier: Apache-2.0
// BenchReport.swift: the report as tables for people and as JSON for programs.

import Glibc

/// What is claimed of a figure: of the configurations measured, the one with the lowest ratio.
struct BenchClaim {
  let counted: BenchRow
  /// The wall clock's row of the same configuration.
  let wall: BenchRow?

  var figure: BenchFigure { counted.figure }
  /// Nil where there is no target or nothing to compare.
  var isReached: Bool? {
    guard let target = figure.target, let ratio = counted.ratio else { return nil }
    return target.isReached(by: ratio)
  }

  /// The claims of a run, in the order of the figures.
  static func all(_ rows: [BenchRow]) -> [BenchClaim] {
    BenchFigure.all.compactMap { figure in
      let mine = rows.filter { $0.figure.key == figure.key && $0.figure.guest == figure.guest }
      let counted = mine.filter { $0.kind == .instructions }
      guard let lowest = counted.min(by: { ($0.ratio ?? .infinity) < ($1.ratio ?? .infinity) }) else { return nil }
      return BenchClaim(
        counted: lowest, wall: mine.first { $0.kind == .wall && $0.configuration == lowest.configuration })
    }
  }
}

enum BenchReport {
  // MARK: JSON

  /// One JSON object (RFC 8259) on one line.
  static func json(_ row: BenchRow) -> String {
    let figure = row.figure
    func list(_ values: [Double]) -> String {
      "[" + values.map { number($0) }.joined(separator: ",") + "]"
    }
    var fields = [
      "\"case\":\"\(figure.name)\"", "\"metric\":\"\(figure.metric)\"", "\"program\":\"\(figure.guest)\"",
      "\"configuration\":\"\(row.configuration.rawValue)\"",
      "\"kind\":\"\(row.kind.rawValue)\"", "\"unit\":\"\(row.unit)\"",
      "\"apus\":" + (row.apusMedian.map { number($0) } ?? "null"),
      "\"linux\":" + (row.linuxMedian.map { number($0) } ?? "null"),
      "\"ratio\":" + (row.ratio.map { number($0) } ?? "null"),
    ]
    if row.kind == .instructions {
      if let target = figure.target { fields.append("\"target\":\(JSONText.string(target.words))") }
      fields.append("\"events\":{\"apus\":\(json(row.apusEvents)),\"linux\":\(json(row.linuxEvents))}")
    }
    fields += [
      "\"samples\":{\"apus\":\(list(row.apus)),\"linux\":\(list(row.linux))}",
      "\"title\":\(JSONText.string(figure.title))", "\"twin\":\(JSONText.string(figure.twin))",
    ]
    if let way = row.way { fields.append("\"way\":\"\(way.name) \(way.metric)\"") }
    return "{" + fields.joined(separator: ",") + "}"
  }

  private static func json(_ events: BenchEvents?) -> String {
    guard let events else { return "null" }
    return "{" + BenchEvents.Event.allCases.map { "\"\($0.key)\":\(number(events[$0]))" }.joined(separator: ",") + "}"
  }

  /// A whole run as one JSON object.
  static func json(_ rows: [BenchRow], conditions: [(String, String)]) -> String {
    "{\"conditions\":" + JSONText.object(conditions.map { ($0.0, JSONText.string($0.1)) }) + ",\n\"rows\":[\n"
      + rows.map { json($0) }.joined(separator: ",\n") + "\n]}\n"
  }

  // MARK: Tables

  /// The tables, as Markdown that a terminal shows well, too; `whole`: with every row's range.
  static func tables(_ rows: [BenchRow], conditions: [(String, String)], whole: Bool) -> String {
    let claims = BenchClaim.all(rows)
    var parts = ["# Apus beside Linux", "Per operation. " + explanation, summary(claims)]
    if rows.contains(where: { $0.apusEvents != nil || $0.linuxEvents != nil }) {
      parts += ["## What else an operation does", eventExplanation, events(claims)]
    }
    let configurations = BenchConfiguration.allCases.filter { configuration in
      rows.contains { $0.configuration == configuration }
    }
    if whole { parts += ["## Every sample's median, least and most", ranges(rows)] }
    if configurations.count > 1 { parts[1] += " " + claimExplanation }
    parts += ["## Conditions", conditions.map { "* \($0.0): \($0.1)" }.joined(separator: "\n")]
    return parts.joined(separator: "\n\n") + "\n"
  }

  private static let explanation =
    "Guest instructions count what both systems execute; the wall clock is that of an emulator, and differences below "
    + "20 % mean nothing."
  private static let claimExplanation =
    "Linux was measured tuned and stock; each line is the configuration with the lower ratio."
  private static let eventExplanation =
    "Each event is one instruction in the counts above and costs far more. Kernel: instructions in ring 0. Exits: "
    + "returns from it."

  /// Instructions and wall clock, with targets.
  static func summary(_ claims: [BenchClaim]) -> String {
    table(
      [
        "operation", "Apus", "Linux", "Linux / Apus", "target", "", "Apus ns", "Linux ns", "ratio", "Linux's way",
        "kind",
      ],
      numeric: [1, 2, 3, 4, 6, 7, 8],
      claims.map { claim in
        let row = claim.counted
        return [
          claim.figure.title, row.apusMedian.map { grouped($0) } ?? "not measured",
          row.linuxMedian.map { grouped($0) } ?? "not measured", row.ratio.map { rounded($0) } ?? "-",
          claim.figure.target?.words ?? "", claim.isReached.map { $0 ? "reached" : "MISSED" } ?? "",
          claim.wall?.apusMedian.map { grouped($0) } ?? "-", claim.wall?.linuxMedian.map { grouped($0) } ?? "-",
          claim.wall?.ratio.map { rounded($0) } ?? "-", words(row), row.configuration.rawValue,
        ]
      })
  }

  private static func words(_ row: BenchRow) -> String {
    guard let way = row.way, row.figure.twins.count > 1 else { return row.figure.twin }
    return "\(row.figure.twin): \(way.metric == "op" ? way.name : way.metric)"
  }

  private static func events(_ claims: [BenchClaim]) -> String {
    let columns: [(BenchEvents.Event, String)] = [
      (.kernelInstructions, "kernel"), (.kernelExits, "exits"), (.addressSpaceLoads, "CR3"), (.invalidations, "TLB"),
      (.portAccesses, "ports"), (.deviceAccesses, "MMIO"), (.registerWrites, "MSRs"),
    ]
    func cells(_ events: BenchEvents?) -> [String] {
      columns.map { column in events.map { small($0[column.0]) } ?? "-" }
    }
    return table(
      ["operation"] + columns.map { "Apus " + $0.1 } + columns.map { "Linux " + $0.1 },
      numeric: Set(1...2 * columns.count),
      claims.map { [$0.figure.title] + cells($0.counted.apusEvents) + cells($0.counted.linuxEvents) })
  }

  private static func ranges(_ rows: [BenchRow]) -> String {
    table(
      ["case", "metric", "program", "unit", "kind", "Apus", "Linux", "ratio", "Apus min..max", "Linux min..max"],
      numeric: [5, 6, 7, 8, 9],
      rows.map { row in
        [
          row.figure.name, row.figure.metric, "\(row.figure.guest)", row.unit, row.configuration.rawValue,
          row.apusMedian.map { grouped($0) } ?? "-", row.linuxMedian.map { grouped($0) } ?? "-",
          row.ratio.map { rounded($0) } ?? "-", range(row.apus), range(row.linux),
        ]
      })
  }

  /// A Markdown table whose columns line up; `numeric` ones to the right.
  private static func table(_ head: [String], numeric: Set<Int>, _ lines: [[String]]) -> String {
    let widths = head.indices.map { column in max(3, ([head] + lines).map { $0[column].count }.max() ?? 0) }
    func line(_ cells: [String]) -> String {
      let padded = cells.indices.map { column in
        let space = String(repeating: " ", count: widths[column] - cells[column].count)
        return numeric.contains(column) ? space + cells[column] : cells[column] + space
      }
      return "| " + padded.joined(separator: " | ") + " |"
    }
    let rule = widths.indices.map { column in
      String(repeating: "-", count: widths[column] - 1) + (numeric.contains(column) ? ":" : "-")
    }
    return ([line(head), "| " + rule.joined(separator: " | ") + " |"] + lines.map(line)).joined(separator: "\n")
  }

  // MARK: Numbers

  private static func range(_ values: [Double]) -> String {
    guard let least = values.min(), let most = values.max() else { return "-" }
    return grouped(least) + ".." + grouped(most)
  }

  /// At most two places behind the point.
  private static func number(_ value: Double) -> String {
    let hundredths = (value * 100).rounded() / 100
    return hundredths == hundredths.rounded() ? "\(Int64(hundredths))" : "\(hundredths)"
  }

  /// A count of events: what is less than a hundredth is somebody else's, a timer's for example.
  private static func small(_ value: Double) -> String {
    value < 10 && value != value.rounded() ? number(value) : grouped(value)
  }

  /// Two places for small values, none for large ones.
  static func rounded(_ value: Double) -> String {
    let scale: Double = value < 10 ? 100 : value < 100 ? 10 : 1
    let shown = (value * scale).rounded() / scale
    return scale == 1 ? grouped(shown) : "\(shown)"
  }

  /// A whole number in groups of three digits.
  static func grouped(_ value: Double) -> String {
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
