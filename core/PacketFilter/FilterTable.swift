// SPDX-License-Identifier: Apache-2.0
// FilterTable.swift: all packet filters of a device, merged into one trie that is compiled as it changes.
//
// A state of the trie stands for atoms that hold; at a state one or more fields are asked, lowest first; the value
// found in a field leads on to the next state, by a hash table where there are several values. So a packet costs what
// its own filter is deep, whatever the number of filters. A packet that leads into a dead end comes back to the next
// field (FilterCode). What that can cost is known beforehand and limited for each insertion: no owner makes the
// packets of another one dear.

import CApusABI

/// The filters of a device.
public struct FilterTable<Memory: FilterMemory> {
  /// The records.
  public let memory: Memory
  var freeState: UInt32 = 0
  var freeField: UInt32 = 0
  var freeStates: UInt32 = 0
  var freeFields: UInt32 = 0
  /// No number below is free.
  private var firstFree: UInt32 = 1

  /// The most atoms of a filter.
  public static var atomLimit: Int { 16 }
  /// The most fields that any packet is asked for.
  public static var costLimit: UInt32 { 64 }
  static var root: UInt32 { 1 }

  /// Starts a table without filters; there have to be at least two records of each kind.
  public init(memory: Memory) {
    self.memory = memory
    for index in 0..<UInt32(1) << memory.bucketBits { memory[bucket: index] = 0 }
    for index in 0..<memory.filterCount { memory[filter: index] = apus_filter() }
    for index in (Self.root + 1..<memory.stateCount).reversed() { release(state: index) }
    for index in (1..<memory.fieldCount).reversed() { release(field: index) }
    memory[state: Self.root] = apus_filter_state()
    memory[state: Self.root].account = UInt32(APUS_FILTER_ACCOUNT_MIXED)
    writeCommonCode()
    refresh(state: Self.root)
  }

  /// Adds a filter.
  ///
  /// - Parameters:
  ///   - atoms: Its atoms; between two shifts each sorts above the one before, by offset, then width, then mask.
  ///   - account: Whose it is.
  ///   - mayOverlap: Whether it may take packets from a filter of this account, or leave some to it, if one of the
  ///     two has all the atoms of the other: the one with more atoms wins then. Filters of one account may overlap
  ///     in any way; of those that both match the one whose first differing atom sorts lower wins.
  /// - Returns: Its number.
  /// - Throws: Why it is not taken; then nothing has changed.
  public mutating func insert(
    _ atoms: some AtomList, account: UInt16, mayOverlap: (UInt16) -> Bool
  ) throws(FilterError) -> UInt32 {
    try check(atoms)
    var filter = firstFree
    while filter < memory.filterCount, memory[filter: filter].state != 0 { filter += 1 }
    guard filter < memory.filterCount else { throw .exhausted }
    try checkOverlap(atoms, account: account, mayOverlap: mayOverlap)
    var state = Self.root
    var found = 0
    var field: UInt32 = 0
    while found < atoms.count {
      field = self.field(of: state, like: atoms[found])
      let next = field == 0 ? 0 : child(of: field, value: atoms[found].loadedValue)
      if next == 0 { break }
      state = next
      found += 1
    }
    if found == atoms.count, memory[state: state].filter != 0 { throw .overlap(memory[state: state].filter) }
    let missing = UInt32(atoms.count - found)
    let cost = found == atoms.count ? 0 : field == 0 ? missing : missing - 1
    guard freeStates >= missing, freeFields >= cost else { throw .exhausted }
    if missing > 0 {
      let limit = Self.costLimit
      guard raise(field, of: state, to: cost, isDone: false) <= limit else { throw .costly }
      _ = raise(field, of: state, to: cost, isDone: true)
    }
    var last = state
    for index in found..<atoms.count {
      let isAsked = index == found && field != 0
      let asked = isAsked ? field : addField(atoms[index], to: last, worst: UInt32(atoms.count - index))
      last = addState(atoms[index].loadedValue, behind: asked)
    }
    memory[state: last].filter = filter
    memory[filter: filter] = apus_filter(state: last, account: account, ring: 0, hits: 0)
    firstFree = filter + 1
    setOwner(last, account)
    while last != state {
      refresh(state: last)
      last = memory[field: parent(of: last)].state
    }
    refresh(state: state)
    write(field: parent(of: state))
    return filter
  }

  /// Takes a filter out; a number without a filter is none of this table's.
  public mutating func remove(_ filter: UInt32) {
    guard filter != 0, filter < memory.filterCount, memory[filter: filter].state != 0 else { return }
    var state = memory[filter: filter].state
    memory[filter: filter].state = 0
    firstFree = min(firstFree, filter)
    memory[state: state].filter = 0
    while state != Self.root, memory[state: state].filter == 0, memory[state: state].first_field == 0 {
      let field = parent(of: state)
      unlink(state: state, from: field)
      state = memory[field: field].state
      if memory[field: field].children == 0 { unlink(field: field) }
    }
    lower(from: state)
    refresh(state: state)
    write(field: parent(of: state))
  }

  /// Counts a packet.
  public func hit(_ filter: UInt32) { memory[filter: filter].hits &+= 1 }

  private func check(_ atoms: some AtomList) throws(FilterError) {
    guard atoms.count > 0, atoms.count <= Self.atomLimit else { throw .invalid(atom: 0) }
    for index in 0..<atoms.count {
      guard atoms[index].isValid else { throw .invalid(atom: index) }
      if index > 0, !atoms[index - 1].isShift, atoms[index].order <= atoms[index - 1].order {
        throw .invalid(atom: index)
      }
    }
    // A shift at the end would move the base for nobody.
    if atoms[atoms.count - 1].isShift { throw .invalid(atom: atoms.count - 1) }
  }
}

// MARK: The trie

extension FilterTable {
  func parent(of state: UInt32) -> UInt32 { UInt32(memory[state: state].key >> 32) }

  /// The field of a state that asks what an atom asks, or 0.
  func field(of state: UInt32, like atom: Atom) -> UInt32 {
    var field = memory[state: state].first_field
    while field != 0, memory[field: field].order != atom.order { field = memory[field: field].next }
    return field
  }

  func bucket(_ key: UInt64) -> UInt32 {
    (UInt32(truncatingIfNeeded: key) &* FilterCode.valueFactor &+ UInt32(key >> 32) &* FilterCode.fieldFactor)
      >> (32 - memory.bucketBits)
  }

  /// The state that a value leads to, or 0.
  func child(of field: UInt32, value: UInt32) -> UInt32 {
    let key = UInt64(field) << 32 | UInt64(value)
    var state = memory[bucket: bucket(key)]
    while state != 0, memory[state: state].key != key { state = memory[state: state].hash_next }
    return state
  }

  private mutating func addField(_ atom: Atom, to state: UInt32, worst: UInt32) -> UInt32 {
    let field = freeField
    freeField = memory[field: field].next
    freeFields -= 1
    var before: UInt32 = 0
    var after = memory[state: state].first_field
    while after != 0, memory[field: after].order < atom.order {
      before = after
      after = memory[field: after].next
    }
    memory[field: field] = apus_filter_field(
      offset: atom.offset, width: atom.width, kind: atom.kind, mask: Atom.loaded(atom.mask, atom.width), state: state,
      next: after, first_child: 0, children: 0, worst: worst, reserved: 0)
    if before == 0 { memory[state: state].first_field = field } else { memory[field: before].next = field }
    return field
  }

  private mutating func addState(_ value: UInt32, behind field: UInt32) -> UInt32 {
    let state = freeState
    freeState = memory[state: state].next
    freeStates -= 1
    let key = UInt64(field) << 32 | UInt64(value)
    let sibling = memory[field: field].first_child
    memory[state: state] = apus_filter_state()
    memory[state: state].key = key
    memory[state: state].account = UInt32(APUS_FILTER_ACCOUNT_NONE)
    memory[state: state].hash_next = memory[bucket: bucket(key)]
    memory[state: state].next = sibling
    memory[bucket: bucket(key)] = state
    if sibling != 0 { memory[state: sibling].previous = state }
    memory[field: field].first_child = state
    memory[field: field].children += 1
    return state
  }

  private mutating func unlink(state: UInt32, from field: UInt32) {
    let record = memory[state: state]
    if record.previous == 0 {
      memory[field: field].first_child = record.next
    } else {
      memory[state: record.previous].next = record.next
    }
    if record.next != 0 { memory[state: record.next].previous = record.previous }
    memory[field: field].children -= 1
    var other = memory[bucket: bucket(record.key)]
    if other == state {
      memory[bucket: bucket(record.key)] = record.hash_next
    } else {
      while memory[state: other].hash_next != state { other = memory[state: other].hash_next }
      memory[state: other].hash_next = record.hash_next
    }
    release(state: state)
  }

  private mutating func unlink(field: UInt32) {
    let state = memory[field: field].state
    var other = memory[state: state].first_field
    if other == field {
      memory[state: state].first_field = memory[field: field].next
    } else {
      while memory[field: other].next != field { other = memory[field: other].next }
      memory[field: other].next = memory[field: field].next
    }
    release(field: field)
  }

  private mutating func release(state: UInt32) {
    memory[state: state].next = freeState
    freeState = state
    freeStates += 1
  }

  private mutating func release(field: UInt32) {
    memory[field: field].next = freeField
    freeField = field
    freeFields += 1
  }

  /// Says of a new filter's state, and of all before it, that there are filters of this account behind.
  private func setOwner(_ last: UInt32, _ account: UInt16) {
    var state = last
    while state != Self.root {
      let known = memory[state: state].account
      if known != UInt32(account) {
        let isNew = known == UInt32(APUS_FILTER_ACCOUNT_NONE)
        memory[state: state].account = isNew ? UInt32(account) : UInt32(APUS_FILTER_ACCOUNT_MIXED)
      }
      state = memory[field: parent(of: state)].state
    }
  }
}

// MARK: What a packet costs

extension FilterTable {
  private func worst(of state: UInt32, except: UInt32 = 0) -> UInt32 {
    var sum: UInt32 = 0
    var field = memory[state: state].first_field
    while field != 0 {
      if field != except { sum += memory[field: field].worst }
      field = memory[field: field].next
    }
    return sum
  }

  /// What the root would cost, or costs from now on, if `cost` more fields could be asked behind a field of a state;
  /// behind a new field of its own if `field` is 0.
  private func raise(_ field: UInt32, of state: UInt32, to cost: UInt32, isDone: Bool) -> UInt32 {
    var field = field
    var state = state
    var cost = cost
    while true {
      if field != 0 {
        let worst = max(memory[field: field].worst, cost + 1)
        if isDone { memory[field: field].worst = worst }
        cost = self.worst(of: state, except: field) + worst
      } else {
        cost += worst(of: state)
      }
      if state == Self.root { return cost }
      field = parent(of: state)
      state = memory[field: field].state
    }
  }

  /// Reckons anew, upwards from a state behind which there is less than there was.
  private func lower(from start: UInt32) {
    var state = start
    while state != Self.root {
      let field = parent(of: state)
      var worst: UInt32 = 0
      var child = memory[field: field].first_child
      while child != 0 {
        worst = max(worst, self.worst(of: child))
        child = memory[state: child].next
      }
      if worst + 1 == memory[field: field].worst { return }
      memory[field: field].worst = worst + 1
      state = memory[field: field].state
    }
  }
}

extension apus_filter_field {
  /// The order of the atom that it comes from.
  var order: UInt64 { atom(0).order }

  /// The atom for one of its values.
  func atom(_ value: UInt32) -> Atom {
    var atom = Atom(at: offset, width: width, mask: Atom.loaded(mask, width), is: Atom.loaded(value, width))
    atom.kind = kind
    return atom
  }

  var isShift: Bool { kind & UInt8(APUS_ATOM_SHIFT) != 0 }
}
