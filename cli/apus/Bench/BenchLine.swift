// SPDX-License-Identifier: Apache-2.0
// BenchLine.swift: the lines that a bench program prints on its console (bench/README.md has the format).

/// One line of a bench program.
enum BenchLine: Equatable {
  /// Samples of a metric, in counter ticks per operation, at least one; and the operations in all of them.
  case samples(of: Metric, [Double], operations: Double?)
  /// How fast the counter ran, in ticks per second.
  case clock(Double)
  /// The program gave up, and why.
  case failure(String)
  /// The program is done.
  case end

  /// A case and which of its figures.
  struct Metric: Hashable, Sendable {
    let name: String
    let metric: String
  }

  /// Reads a line; nil when it is not for the bench or not well formed.
  init?(_ line: some StringProtocol) {
    guard let mark = line.firstRange(ofText: "@@ {") else { return nil }
    var scanner = ObjectScanner(line[line.index(mark, offsetBy: 3)...])
    guard let fields = scanner.object() else { return nil }
    if case .text(let name) = fields["case"], case .text(let metric) = fields["metric"] {
      let key = Metric(name: name, metric: metric)
      var operations: Double?
      if case .number(let count) = fields["operations"] { operations = count }
      if case .numbers(let samples) = fields["samples"], !samples.isEmpty {
        self = .samples(of: key, samples, operations: operations)
      } else if case .number(let value) = fields["instructions"] {
        self = .samples(of: key, [value], operations: operations)
      } else {
        return nil
      }
    } else if case .number(let value) = fields["clock"], value > 0 {
      self = .clock(value)
    } else if case .text(let reason) = fields["failure"] {
      self = .failure(reason)
    } else if case .word("true") = fields["end"] {
      self = .end
    } else {
      return nil
    }
  }
}

extension BenchLine {
  /// Reads a flat JSON object whose values are numbers and strings; nil when it is not one.
  static func object(_ text: String) -> (numbers: [String: Double], texts: [String: String])? {
    var scanner = ObjectScanner(text)
    guard let fields = scanner.object() else { return nil }
    var result: (numbers: [String: Double], texts: [String: String]) = ([:], [:])
    for (key, value) in fields {
      switch value {
      case .number(let number): result.numbers[key] = number
      case .text(let text): result.texts[key] = text
      default: return nil
      }
    }
    return result
  }
}

extension StringProtocol {
  /// Where `text` starts first.
  fileprivate func firstRange(ofText text: String) -> Index? {
    var start = startIndex
    while start != endIndex {
      if self[start...].hasPrefix(text) { return start }
      start = index(after: start)
    }
    return nil
  }
}

/// Reads one flat JSON object (RFC 8259): strings without escapes, numbers, words and arrays of numbers.
private struct ObjectScanner {
  enum Value {
    case text(String)
    case number(Double)
    case numbers([Double])
    case word(String)
  }

  private var rest: Substring

  init(_ text: some StringProtocol) {
    rest = Substring(text)
  }

  mutating func object() -> [String: Value]? {
    var fields: [String: Value] = [:]
    guard take("{") else { return nil }
    if take("}") { return fields }
    repeat {
      guard let key = string(), take(":"), let value = value() else { return nil }
      fields[key] = value
    } while take(",")
    return take("}") ? fields : nil
  }

  private mutating func value() -> Value? {
    if let text = string() { return .text(text) }
    if take("[") {
      var numbers: [Double] = []
      if take("]") { return .numbers(numbers) }
      repeat {
        guard let number = Double(token()) else { return nil }
        numbers.append(number)
      } while take(",")
      return take("]") ? .numbers(numbers) : nil
    }
    let token = token()
    if let number = Double(token) { return .number(number) }
    return token.isEmpty ? nil : .word(token)
  }

  private mutating func token() -> String {
    skipSpace()
    let token = rest.prefix { $0.isLetter || $0.isNumber || $0 == "." || $0 == "-" || $0 == "+" }
    rest = rest.dropFirst(token.count)
    return String(token)
  }

  private mutating func string() -> String? {
    skipSpace()
    guard rest.first == "\"", let end = rest.dropFirst().firstIndex(of: "\"") else { return nil }
    let text = rest.dropFirst()[..<end]
    rest = rest[rest.index(after: end)...]
    return String(text)
  }

  private mutating func take(_ character: Character) -> Bool {
    skipSpace()
    guard rest.first == character else { return false }
    rest.removeFirst()
    return true
  }

  private mutating func skipSpace() {
    rest = rest.drop { $0 == " " || $0 == "\n" }
  }
}
