// SPDX-License-Identifier: Apache-2.0
// BenchChart.swift: the ratios as an SVG chart: a logarithmic axis, a bar for each operation, a mark for its target.

import Glibc

enum BenchChart {
  private static let left = 450.0
  private static let right = 80.0
  private static let top = 84.0
  private static let step = 26.0
  private static let width = 1120.0

  /// A chart of the claims that have a target.
  static func svg(_ claims: [BenchClaim]) -> String {
    let shown = claims.filter { $0.figure.target != nil && $0.counted.ratio != nil }
    let height = top + Double(shown.count) * step + 60
    // From one tenth as good to a power of ten above the best.
    let most = max(100, shown.compactMap { $0.counted.ratio }.max() ?? 1)
    let decades = Int(log10(most).rounded(.up))
    func x(_ ratio: Double) -> Double {
      let position = (log10(max(0.1, ratio)) + 1) / Double(decades + 1)
      return left + position * (width - left - right)
    }
    var parts = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(number(width)) \(number(height))\" "
        + "width=\"\(number(width))\" height=\"\(number(height))\" font-family=\"sans-serif\" font-size=\"13\">",
      "<title>Apus beside Linux: how many times fewer guest instructions</title>",
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
      text(20, 28, "Linux / Apus, per operation (logarithmic; right of 1 Apus is better)", size: 16, weight: "bold"),
    ]
    parts += legend()
    let bottom = top + Double(shown.count) * step + 6
    for decade in -1...decades {
      let value = pow(10, Double(decade))
      let at = x(value)
      let color = decade == 0 ? "#444444" : "#dddddd"
      parts.append(line(at, top - 8, at, bottom, color, width: 1))
      let label = decade < 0 ? "0.1" : String(Int(value.rounded()))
      parts.append(text(at, bottom + 18, label, anchor: "middle"))
    }
    for (index, claim) in shown.enumerated() {
      parts += bar(claim, at: top + Double(index) * step, x: x)
    }
    return parts.joined(separator: "\n") + "\n</svg>\n"
  }

  private static func legend() -> [String] {
    [
      "<rect x=\"20\" y=\"44\" width=\"26\" height=\"12\" fill=\"#2f7d4f\"/>",
      text(52, 55, "instructions, target reached"),
      "<rect x=\"240\" y=\"44\" width=\"26\" height=\"12\" fill=\"#c2571a\"/>",
      text(272, 55, "instructions, target missed"),
      "<circle cx=\"460\" cy=\"50\" r=\"5\" fill=\"#1f4e9c\"/>", text(472, 55, "wall clock under emulation"),
      line(672, 42, 672, 58, "#000000", width: 3), text(682, 55, "target"),
    ]
  }

  private static func bar(_ claim: BenchClaim, at y: Double, x: (Double) -> Double) -> [String] {
    let ratio = claim.counted.ratio ?? 1
    let start = min(x(1), x(ratio))
    let color = claim.isReached == true ? "#2f7d4f" : "#c2571a"
    var parts = [
      text(left - 10, y + 14, claim.figure.title, anchor: "end"),
      "<rect x=\"\(number(start))\" y=\"\(number(y + 3))\" width=\"\(number(max(1, abs(x(ratio) - x(1)))))\" "
        + "height=\"14\" fill=\"\(color)\"/>",
    ]
    if let target = claim.figure.target {
      parts.append(line(x(target.ratio), y, x(target.ratio), y + 20, "#000000", width: 3))
    }
    var end = max(x(ratio), x(claim.figure.target?.ratio ?? 0))
    if let wall = claim.wall?.ratio {
      parts.append("<circle cx=\"\(number(x(wall)))\" cy=\"\(number(y + 10))\" r=\"5\" fill=\"#1f4e9c\"/>")
      end = max(end, x(wall))
    }
    parts.append(text(end + 9, y + 14, BenchReport.rounded(ratio), weight: "bold"))
    return parts
  }

  private static func line(
    _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ color: String, width: Int
  ) -> String {
    "<line x1=\"\(number(x1))\" y1=\"\(number(y1))\" x2=\"\(number(x2))\" y2=\"\(number(y2))\" stroke=\"\(color)\" "
      + "stroke-width=\"\(width)\"/>"
  }

  private static func text(
    _ x: Double, _ y: Double, _ words: String, anchor: String = "start", size: Int = 13, weight: String = "normal"
  ) -> String {
    var escaped = ""
    for character in words {
      switch character {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      default: escaped.append(character)
      }
    }
    return "<text x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\" font-size=\"\(size)\" "
      + "font-weight=\"\(weight)\">\(escaped)</text>"
  }

  private static func number(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
}
