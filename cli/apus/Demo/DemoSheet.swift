// SPDX-License-Identifier: Apache-2.0
// DemoSheet.swift: a sheet of Scalable Vector Graphics 1.1 on which the demos' pictures are put together.

/// A picture under construction.
struct DemoSheet {
  let width: Double
  let height: Double
  private var parts: [String] = []

  static let colours = ["#1b6ca8", "#c7522a", "#5a8f3d", "#7d5ba6", "#8a6d3b"]

  init(width: Double, height: Double, title: String) {
    self.width = width
    self.height = height
    text(40, 30, title, size: 16)
  }

  mutating func text(
    _ x: Double, _ y: Double, _ words: String, size: Int = 13, anchor: String = "start", colour: String = "#222222"
  ) {
    parts.append(
      "<text x=\"\(place(x))\" y=\"\(place(y))\" font-size=\"\(size)\" text-anchor=\"\(anchor)\" fill=\"\(colour)\">"
        + "\(words)</text>")
  }

  mutating func box(_ x: Double, _ y: Double, _ width: Double, _ height: Double, _ colour: String, opacity: Double = 1)
  {
    parts.append(
      "<rect x=\"\(place(x))\" y=\"\(place(y))\" width=\"\(place(width))\" height=\"\(place(height))\""
        + " fill=\"\(colour)\" fill-opacity=\"\(opacity)\"/>")
  }

  mutating func line(_ points: [(Double, Double)], _ colour: String, width: Double = 2) {
    let path = points.map { "\(place($0.0)) \(place($0.1))" }.joined(separator: "L")
    parts.append("<path d=\"M\(path)\" fill=\"none\" stroke=\"\(colour)\" stroke-width=\"\(width)\"/>")
  }

  /// The whole file.
  var drawing: String {
    let head = [
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"\(Int(width))\" height=\"\(Int(height))\""
        + " viewBox=\"0 0 \(Int(width)) \(Int(height))\" font-family=\"sans-serif\" font-size=\"13\">",
      "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
    ]
    return (head + parts).joined(separator: "\n") + "\n</svg>\n"
  }

  private func place(_ value: Double) -> String { "\((value * 10).rounded() / 10)" }
}
