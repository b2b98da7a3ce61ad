// SPDX-License-Identifier: Apache-2.0
// FilterMap.swift: the merged packet filters of a machine as its tables say them: drawn, and followed for one packet.

import CApusABI

/// The kernel's tables of packet filters at one moment (docs/book/14).
public struct FilterMap: Sendable {
  /// The states, by number; number 0 is none, here and below.
  public let states: [apus_filter_state]
  /// The fields.
  public let fields: [apus_filter_field]
  /// The filters.
  public let filters: [apus_filter]

  /// Takes tables, which may say anything.
  public init(states: [apus_filter_state], fields: [apus_filter_field], filters: [apus_filter]) {
    self.states = states
    self.fields = fields
    self.filters = filters
  }

  /// The number of the first state.
  private static var root: Int { 1 }

  /// What a packet met.
  public struct Match: Equatable, Sendable {
    /// The filter that takes it, or 0.
    public var filter = 0
    /// The fields whose values led on, or were asked in vain, in their order.
    public var met: [Int] = []
    /// The states on the way to the filter.
    public var path: [Int] = []
  }

  private func field(_ number: UInt32) -> apus_filter_field? {
    number != 0 && Int(number) < fields.count ? fields[Int(number)] : nil
  }

  private func fields(of state: Int) -> [Int] {
    var found: [Int] = []
    var next = state < states.count ? states[state].first_field : 0
    while let record = field(next), found.count <= fields.count {
      found.append(Int(next))
      next = record.next
    }
    return found
  }

  private func children(of number: Int) -> [Int] {
    var found: [Int] = []
    var next = fields[number].first_child
    while next != 0, Int(next) < states.count, found.count <= states.count {
      found.append(Int(next))
      next = states[Int(next)].next
    }
    return found
  }

  private static func isShift(_ record: apus_filter_field) -> Bool { record.kind & UInt8(APUS_ATOM_SHIFT) != 0 }

  /// A number of a field's width with its bytes the other way round.
  private static func swapped(_ value: UInt32, _ width: UInt8) -> UInt32 {
    width == 4 ? value.byteSwapped : width == 2 ? UInt32(UInt16(truncatingIfNeeded: value).byteSwapped) : value & 0xff
  }

  /// Follows a packet as the compiled filters do.
  public func match(_ packet: [UInt8]) -> Match {
    var match = Match()
    guard states.count > Self.root else { return match }
    match.filter = follow(Self.root, base: 0, packet, &match)
    return match
  }

  private func follow(_ state: Int, base: Int, _ packet: [UInt8], _ match: inout Match) -> Int {
    guard match.path.count < 64 else { return 0 }
    match.path.append(state)
    for number in fields(of: state) {
      let record = fields[number]
      let at = base + Int(record.offset)
      guard at + Int(record.width) <= packet.count else { continue }
      match.met.append(number)
      let loaded =
        packet[at..<at + Int(record.width)].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) } & record.mask
      var next: Int?
      var nextBase = base
      if Self.isShift(record) {
        next = children(of: number).first
        nextBase += Int(Self.swapped(loaded, record.width)) << Int(record.kind & 3)
      } else {
        next = children(of: number).first { UInt32(truncatingIfNeeded: states[$0].key) == loaded }
      }
      guard let next else { continue }
      let found = follow(next, base: nextBase, packet, &match)
      if found != 0 { return found }
    }
    let own = Int(states[state].filter)
    if own == 0 { match.path.removeLast() }
    return own
  }

  // MARK: Drawing

  /// The merged structure, a line for each value that leads on.
  ///
  /// - Parameters:
  ///   - match: What is marked with a star, if anything.
  ///   - owner: What an account is called.
  /// - Returns: The lines, two blanks or a star first.
  public func lines(marking match: Match? = nil, owner: (UInt16) -> String) -> [String] {
    var lines: [String] = []
    draw(Self.root, indent: "", match, owner, &lines)
    return lines.isEmpty ? ["no filters"] : lines
  }

  private func draw(
    _ state: Int, indent: String, _ match: Match?, _ owner: (UInt16) -> String, _ lines: inout [String]
  ) {
    guard indent.count < 256, lines.count < 1 << 16 else { return }
    for number in fields(of: state) {
      let record = fields[number]
      let all: UInt32 = record.width >= 4 ? .max : 1 << (8 * UInt32(record.width)) - 1
      let mask = record.mask == all ? "" : " & 0x" + String(Self.swapped(record.mask, record.width), radix: 16)
      let place = "\(record.width == 1 ? "byte" : record.width == 2 ? "half" : "word") at \(record.offset)\(mask)"
      for child in children(of: number) {
        let value = Self.swapped(UInt32(truncatingIfNeeded: states[child].key), record.width)
        let isOnPath = match?.path.contains(child) ?? false
        let step =
          Self.isShift(record) ? "base += \(place) << \(record.kind & 3)" : "\(place) == 0x\(String(value, radix: 16))"
        lines.append((isOnPath ? "* " : "  ") + indent + step + filterText(states[child].filter, owner))
        draw(child, indent: indent + "  ", match, owner, &lines)
      }
    }
  }

  private func filterText(_ number: UInt32, _ owner: (UInt16) -> String) -> String {
    guard number != 0, Int(number) < filters.count else { return "" }
    let filter = filters[Int(number)]
    return "  -> filter \(number), \(owner(filter.account)), ring \(filter.ring), \(filter.hits) packets"
  }
}
