// SPDX-License-Identifier: Apache-2.0
// FilterTable+Overlap.swift: whether a new filter would take packets that are another's.

import CApusABI

/// What a new filter's atoms say about one field.
private struct Knowledge {
  /// Bits that they fix, in network order, and to what.
  var mask: UInt32 = 0
  var value: UInt32 = 0
  /// Whether one of them is this very field.
  var isSame = false
}

/// A place in the trie, and what is known of a packet there that the new filter matches.
private struct Place {
  var state: UInt32
  /// Whether the new filter's base is the same here, and the atoms up to its next shift that count from it.
  var isKnown = true
  var first = 0
  var end = 0
  /// Atoms on the way here, and those of them that the new filter has, too.
  var depth = 0
  var shared = 0
}

extension FilterTable {
  /// How much a check looks at before it gives up; the filter is refused then.
  ///
  /// The unit is a value that leads on, or an atom that is held against a field: about 28 instructions.
  static var visitLimit: Int { 1_300 }

  private func spend(_ count: Int, of visits: inout Int) throws(FilterError) {
    visits -= count
    guard visits > 0 else { throw .exhausted }
  }

  func checkOverlap(
    _ atoms: some AtomList, account: UInt16, mayOverlap: (UInt16) -> Bool
  ) throws(FilterError) {
    var visits = Self.visitLimit
    let start = Place(state: Self.root, end: Self.endOfSegment(atoms, from: 0))
    try visit(start, atoms, account, mayOverlap, &visits)
  }

  /// The index of the shift at or after an index, or the count of atoms.
  private static func endOfSegment(_ atoms: some AtomList, from first: Int) -> Int {
    var end = first
    while end < atoms.count, !atoms[end].isShift { end += 1 }
    return end
  }

  private func visit(
    _ place: Place, _ atoms: some AtomList, _ account: UInt16, _ mayOverlap: (UInt16) -> Bool, _ visits: inout Int
  ) throws(FilterError) {
    let state = memory[state: place.state]
    if state.account == UInt32(account) { return }
    if state.filter != 0 {
      let owner = memory[filter: state.filter].account
      let isComparable = place.shared == place.depth || place.shared == atoms.count
      guard owner == account || isComparable && mayOverlap(owner) else { throw .overlap(state.filter) }
    }
    var field = state.first_field
    while field != 0 {
      let record = memory[field: field]
      var next = place
      next.depth += 1
      if record.isShift {
        next.state = record.first_child
        next.isKnown = place.isKnown && place.end < atoms.count && atoms[place.end].order == record.order
        next.first = next.isKnown ? place.end + 1 : 0
        next.end = next.isKnown ? Self.endOfSegment(atoms, from: next.first) : 0
        if next.isKnown { next.shared += 1 }
        try spend(1, of: &visits)
        try visit(next, atoms, account, mayOverlap, &visits)
      } else {
        try visitChildren(of: record, field, next, atoms, account, mayOverlap, &visits)
      }
      field = record.next
    }
  }

  private func visitChildren(
    of record: apus_filter_field, _ field: UInt32, _ place: Place, _ atoms: some AtomList, _ account: UInt16,
    _ mayOverlap: (UInt16) -> Bool, _ visits: inout Int
  ) throws(FilterError) {
    try spend(1 + place.end - place.first, of: &visits)
    let known = knowledge(of: record, place, atoms)
    let mask = Atom.loaded(record.mask, record.width)
    var next = place
    if known.isSame { next.shared += 1 }
    if known.mask & mask == mask {
      next.state = child(of: field, value: Atom.loaded(known.value & mask, record.width))
      if next.state != 0 { try visit(next, atoms, account, mayOverlap, &visits) }
      return
    }
    var state = record.first_child
    while state != 0 {
      try spend(1, of: &visits)
      let value = Atom.loaded(UInt32(truncatingIfNeeded: memory[state: state].key), record.width)
      if (value ^ known.value) & known.mask & mask == 0 {
        next.state = state
        try visit(next, atoms, account, mayOverlap, &visits)
      }
      state = memory[state: state].next
    }
  }

  /// What the atoms that count from the same base say about a field's bits.
  private func knowledge(of field: apus_filter_field, _ place: Place, _ atoms: some AtomList) -> Knowledge {
    var known = Knowledge()
    let order = field.order
    for index in place.first..<place.end {
      let atom = atoms[index]
      if atom.order == order { known.isSame = true }
      let bytes = Int(field.offset) + Int(field.width) - Int(atom.offset) - Int(atom.width)
      guard bytes > -4, bytes < 4 else { continue }
      let left = UInt64(8 * max(bytes, 0))
      let right = UInt64(8 * max(-bytes, 0))
      let bits = UInt64(Atom.allBits(field.width))
      known.mask |= UInt32(truncatingIfNeeded: (UInt64(atom.mask) << left) >> right & bits)
      known.value |= UInt32(truncatingIfNeeded: (UInt64(atom.value) << left) >> right & bits)
    }
    return known
  }
}
