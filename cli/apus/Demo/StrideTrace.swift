// SPDX-License-Identifier: Apache-2.0
// StrideTrace.swift: the trace of apps/stride, one line a quantum, as a drawing: who ran, and what each had in all.

import Glibc

/// Which client had each quantum, and the clients' times after it.
struct StrideTrace {
  /// What a line of the trace begins with: then come the time, the client, and each client's time, in microseconds.
  static let mark = "quantum "

  struct Quantum: Equatable {
    /// End, in microseconds.
    let time: Double
    let client: Int
    let totals: [Double]
  }

  let quanta: [Quantum]

  /// Reads the lines of a trace and passes over others; nil without any, or if one is not well formed.
  init?(_ lines: [Substring]) {
    var quanta: [Quantum] = []
    for line in lines where line.hasPrefix(Self.mark) {
      let fields = line.dropFirst(Self.mark.count).split(separator: " ").map { Double($0) }
      let numbers = fields.compactMap { $0 }
      guard numbers.count == fields.count, numbers.count >= 3, numbers.allSatisfy({ $0 >= 0 && $0 < 1e15 }) else {
        return nil
      }
      let quantum = Quantum(time: numbers[0], client: Int(numbers[1]), totals: Array(numbers[2...]))
      guard quantum.client < quantum.totals.count,
        quanta.last?.totals.count ?? quantum.totals.count == quantum.totals.count
      else { return nil }
      quanta.append(quantum)
    }
    guard let last = quanta.last, last.time > 0 else { return nil }
    self.quanta = quanta
  }

  // MARK: Drawing

  private enum Sheet {
    static let width = 860.0
    static let height = 520.0
    static let left = 70.0
    static let right = 790.0
    static let top = 60.0
    static let bottom = 360.0
    /// The strip of the first quanta.
    static let strip = 430.0
    static let stripHeight = 36.0
    static let stripQuanta = 60
  }

  private static let colours = ["#1b6ca8", "#c7522a", "#5a8f3d", "#7d5ba6", "#8a6d3b", "#3d8f8f", "#a83d6c", "#555555"]

  /// The drawing, in Scalable Vector Graphics 1.1.
  var drawing: String {
    var parts = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Int(Sheet.width))\" height=\"\(Int(Sheet.height))\""
        + " viewBox=\"0 0 \(Int(Sheet.width)) \(Int(Sheet.height))\" font-family=\"sans-serif\" font-size=\"13\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
      text(Sheet.left, 28, "Stride scheduling by directed yields: \(quanta.count) quanta in virtual time", size: 16),
    ]
    parts += axes() + curves() + strip()
    return parts.joined(separator: "\n") + "\n</svg>\n"
  }

  private var clients: Int { quanta[0].totals.count }
  private var end: Double { quanta[quanta.count - 1].time }
  private var most: Double { max(1, quanta[quanta.count - 1].totals.max() ?? 1) }

  private func x(_ time: Double) -> Double { Sheet.left + (Sheet.right - Sheet.left) * time / end }
  private func y(_ total: Double) -> Double { Sheet.bottom - (Sheet.bottom - Sheet.top) * total / most }

  private func axes() -> [String] {
    var parts = [
      "<path d=\"M\(place(Sheet.left)) \(place(Sheet.top))V\(place(Sheet.bottom))H\(place(Sheet.right))\""
        + " fill=\"none\" stroke=\"#333333\"/>"
    ]
    for step in 0...4 {
      let share = Double(step) / 4
      let time = end * share
      let total = most * share
      parts.append(text(x(time), Sheet.bottom + 18, seconds(time), anchor: "middle"))
      parts.append(text(Sheet.left - 8, y(total) + 4, seconds(total), anchor: "end"))
      if step > 0 {
        parts.append(
          "<path d=\"M\(place(Sheet.left)) \(place(y(total)))H\(place(Sheet.right))\" stroke=\"#e4e4e4\"/>")
      }
    }
    parts.append(text(Sheet.right, Sheet.bottom + 36, "time", anchor: "end"))
    parts.append(text(Sheet.left - 8, Sheet.top - 12, "time of each client", anchor: "start"))
    return parts
  }

  /// A line for each client; its share of all stands at its end.
  private func curves() -> [String] {
    let last = quanta[quanta.count - 1]
    let all = max(1, last.totals.reduce(0, +))
    return (0..<clients).flatMap { client in
      let points = [(0.0, 0.0)] + quanta.map { ($0.time, $0.totals[client]) }
      let path = points.map { "\(place(x($0.0))) \(place(y($0.1)))" }.joined(separator: "L")
      let colour = Self.colours[client % Self.colours.count]
      let share = (last.totals[client] / all * 1000).rounded() / 10
      return [
        "<path d=\"M\(path)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"2\"/>",
        text(Sheet.right + 6, y(last.totals[client]) + 4, "\(share) %", colour: colour),
      ]
    }
  }

  /// The first quanta as boxes: the pattern that the scheduler makes.
  private func strip() -> [String] {
    let shown = quanta.prefix(Sheet.stripQuanta)
    let width = (Sheet.right - Sheet.left) / Double(Sheet.stripQuanta)
    let boxes = shown.enumerated().map { index, quantum in
      "<rect x=\"\(place(Sheet.left + Double(index) * width))\" y=\"\(place(Sheet.strip))\" width=\"\(place(width - 1))\""
        + " height=\"\(place(Sheet.stripHeight))\" fill=\"\(Self.colours[quantum.client % Self.colours.count])\"/>"
    }
    return [text(Sheet.left, Sheet.strip - 10, "Who had the first \(shown.count) quanta")] + boxes
  }

  private func text(
    _ x: Double, _ y: Double, _ words: String, size: Int = 13, anchor: String = "start", colour: String = "#222222"
  ) -> String {
    "<text x=\"\(place(x))\" y=\"\(place(y))\" font-size=\"\(size)\" text-anchor=\"\(anchor)\" fill=\"\(colour)\">\(words)</text>"
  }

  private func place(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
  private func seconds(_ microseconds: Double) -> String { "\((microseconds / 1e4).rounded() / 100) s" }
}
