// SPDX-License-Identifier: Apache-2.0
// TenantsTrace.swift: the run of apps/tenants as a drawing: who held how many frames when, and who gave or lost them.

/// Frames held by each tenant over time, and what was asked, taken by force and granted.
struct TenantsTrace {
  /// What a line of the trace begins with.
  ///
  /// Then come `held`, the time in microseconds and each tenant's frames; or `asked`, `taken` or `granted`, the time,
  /// the tenant and how many.
  static let mark = "tenants "

  struct Sample: Equatable {
    let time: Double
    let held: [Double]
  }

  struct Event: Equatable {
    let kind: String
    let time: Double
    let tenant: Int
    let count: Int
  }

  private(set) var samples: [Sample] = []
  private(set) var events: [Event] = []

  static let names = ["prompt", "slow", "stubborn", "thrifty"]

  /// Reads the lines of a trace and passes over others; nil without samples, or if a line is not well formed.
  init?(_ lines: [Substring]) {
    for line in lines where line.hasPrefix(Self.mark) {
      let words = line.dropFirst(Self.mark.count).split(separator: " ")
      let numbers = words.dropFirst().compactMap { Int($0) }
      guard let kind = words.first, numbers.count == words.count - 1,
        numbers.allSatisfy({ (0..<1 << 40).contains($0) })
      else { return nil }
      switch kind {
      case "held":
        guard numbers.count == 1 + Self.names.count else { return nil }
        samples.append(Sample(time: Double(numbers[0]), held: numbers[1...].map { Double($0) }))
      case "asked", "taken", "granted":
        guard numbers.count == 3, numbers[1] < Self.names.count else { return nil }
        events.append(Event(kind: String(kind), time: Double(numbers[0]), tenant: numbers[1], count: numbers[2]))
      default: return nil
      }
    }
    guard let last = samples.last, last.time > 0 else { return nil }
  }

  /// A panel for each tenant, one above the other on one axis of time.
  var drawing: String {
    let panel = 110.0
    var sheet = DemoSheet(
      width: 900, height: 110 + panel * Double(Self.names.count),
      title: "Frames of four families while the kernel is told to ask some back")
    let end = max(samples.last?.time ?? 1, events.map(\.time).max() ?? 1)
    let most = max(1, samples.flatMap(\.held).max() ?? 1)
    func x(_ time: Double) -> Double { 110 + 740 * time / end }
    for (tenant, name) in Self.names.enumerated() {
      let top = 60 + panel * Double(tenant)
      let bottom = top + panel - 26
      func y(_ held: Double) -> Double { bottom - (bottom - top) * held / most }
      sheet.box(110, top, 740, bottom - top, "#f4f4f4")
      sheet.text(100, (top + bottom) / 2, name, anchor: "end", colour: DemoSheet.colours[tenant])
      sheet.text(100, top + 8, "\(Int(most))", size: 10, anchor: "end")
      sheet.text(100, bottom, "0", size: 10, anchor: "end")
      for event in events where event.tenant == tenant {
        let at = x(event.time)
        switch event.kind {
        case "asked":
          sheet.line([(at, top), (at, bottom)], "#555555", width: 1)
          sheet.text(at + 3, top + 10, "asked \(event.count)", size: 10)
        case "taken": sheet.text(at + 3, bottom - 4, "\(event.count) by force", size: 10, colour: "#c00000")
        default: sheet.text(at + 3, bottom - 4, "+\(event.count)", size: 10, colour: "#207020")
        }
      }
      // A step for each sample: what is held stays until the next.
      var points: [(Double, Double)] = []
      for sample in samples {
        if let last = points.last { points.append((x(sample.time), last.1)) }
        points.append((x(sample.time), y(sample.held[tenant])))
      }
      sheet.line(points, DemoSheet.colours[tenant])
    }
    let bottom = 60 + panel * Double(Self.names.count)
    for step in 0...4 {
      let time = end * Double(step) / 4
      sheet.text(x(time), bottom + 8, "\((time / 100).rounded() / 10) ms", anchor: "middle")
    }
    return sheet.drawing
  }
}
