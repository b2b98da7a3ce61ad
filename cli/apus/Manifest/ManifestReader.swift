// SPDX-License-Identifier: Apache-2.0
// ManifestReader.swift: YAML (yaml.org, 1.2) as typed values; what is wrong is told with file, line and key.

import Yams

/// One place of a YAML text.
struct ManifestNode {
  /// The file, as people know it.
  let file: String
  /// The keys that lead here, as in `programs[2].memory`.
  let key: String
  fileprivate let node: Node

  /// Reads a text; nil if there is nothing in it.
  ///
  /// - Throws: A sentence with file and line if it is no YAML.
  init?(_ text: String, file: String) throws(Failure) {
    do {
      guard let node = try compose(yaml: text) else { return nil }
      self.init(file: file, key: "", node: node)
    } catch {
      throw Self.failure(error, file)
    }
  }

  private init(file: String, key: String, node: Node) {
    self.file = file
    self.key = key
    self.node = node
  }

  private static func failure(_ error: any Error, _ file: String) -> Failure {
    func says(_ line: Int?, _ words: String) -> Failure {
      Failure(sentence: "\(file)\(line.map { ":\($0)" } ?? ""): \(words)", status: Status.usage)
    }
    guard let error = error as? YamlError else { return says(nil, "this is no YAML") }
    switch error {
    case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      return says(mark.line, "this is no YAML: \((context.map { $0.text + " " } ?? "") + problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      return says(context.mark.line, "the key \(duplicates.first ?? "") stands here twice")
    case .reader(let problem, _, _, _): return says(nil, "this is no YAML: \(problem)")
    default: return says(nil, "this is no YAML")
    }
  }

  /// What is wrong here.
  func failure(_ words: String) -> Failure {
    let line = node.mark.map { ":\($0.line)" } ?? ""
    return Failure(sentence: "\(file)\(line): \(key.isEmpty ? "" : key + ": ")\(words)", status: Status.usage)
  }

  // MARK: Values

  /// The values of a mapping, whose keys are all among those that are known.
  func mapping(_ known: [String]) throws(Failure) -> [String: ManifestNode] {
    guard case .mapping(let mapping) = node else {
      throw failure("here stand keys and values, such as \(known.first ?? "key"): ...")
    }
    var values: [String: ManifestNode] = [:]
    for (name, value) in mapping {
      let text = name.string ?? "?"
      let place = ManifestNode(file: file, key: key.isEmpty ? text : key + "." + text, node: value)
      guard known.contains(text) else {
        throw ManifestNode(file: file, key: place.key, node: name)
          .failure("this key is not known; there are: \(known.joined(separator: ", "))")
      }
      values[text] = place
    }
    return values
  }

  /// The values of any mapping of texts, in their order.
  func pairs() throws(Failure) -> [(name: String, value: ManifestNode)] {
    guard case .mapping(let mapping) = node else { throw failure("here stand names and values") }
    var pairs: [(name: String, value: ManifestNode)] = []
    for (name, value) in mapping {
      let text = name.scalar?.string ?? "?"
      pairs.append((text, ManifestNode(file: file, key: key + "." + text, node: value)))
    }
    return pairs
  }

  func list() throws(Failure) -> [ManifestNode] {
    guard case .sequence(let sequence) = node else { throw failure("here stands a list") }
    return sequence.enumerated().map { ManifestNode(file: file, key: "\(key)[\($0.offset + 1)]", node: $0.element) }
  }

  var isMapping: Bool { if case .mapping = node { true } else { false } }
  var isList: Bool { if case .sequence = node { true } else { false } }

  func text() throws(Failure) -> String {
    guard case .scalar(let scalar) = node, !scalar.string.isEmpty else { throw failure("here stands a text") }
    return scalar.string
  }

  /// A text that may be empty.
  func anyText() throws(Failure) -> String {
    guard case .scalar(let scalar) = node else { throw failure("here stands a text") }
    return scalar.string
  }

  func number(_ range: ClosedRange<Int>) throws(Failure) -> Int {
    guard case .scalar(let scalar) = node, let number = Int(scalar.string), range.contains(number) else {
      throw failure("here stands a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  func flag() throws(Failure) -> Bool {
    switch node.scalar?.string {
    case "true", "yes": return true
    case "false", "no": return false
    default: throw failure("here stands true or false")
    }
  }

  func memory() throws(Failure) -> Memory {
    guard case .scalar(let scalar) = node, let memory = Memory(scalar.string) else {
      throw failure("here stands an amount of memory, such as 32M")
    }
    return memory
  }

  /// A time in nanoseconds.
  func duration(_ range: ClosedRange<UInt64>) throws(Failure) -> UInt64 {
    let units: [(String, Double)] = [("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9)]
    if case .scalar(let scalar) = node {
      for (unit, factor) in units where scalar.string.hasSuffix(unit) {
        guard let value = Double(scalar.string.dropLast(unit.count).filter { $0 != " " }), value >= 0, value < 1e9
        else {
          break
        }
        let nanoseconds = UInt64(value * factor)
        if range.contains(nanoseconds) { return nanoseconds }
        throw failure("here stands a time from \(Self.time(range.lowerBound)) to \(Self.time(range.upperBound))")
      }
    }
    throw failure("here stands a time with its unit, such as 10ms")
  }

  /// A part of a CPU, in millionths.
  func share() throws(Failure) -> UInt64 {
    guard case .scalar(let scalar) = node, scalar.string.hasSuffix("%"),
      let percent = Double(scalar.string.dropLast().filter { $0 != " " }), percent > 0, percent <= 90
    else { throw failure("here stands a part of a CPU above 0 % and up to 90 %, such as 20%") }
    return UInt64(percent * 10_000)
  }

  private static func time(_ nanoseconds: UInt64) -> String {
    if nanoseconds % 1_000_000_000 == 0 { return "\(nanoseconds / 1_000_000_000)s" }
    return nanoseconds % 1_000_000 == 0 ? "\(nanoseconds / 1_000_000)ms" : "\(nanoseconds / 1000)us"
  }
}
