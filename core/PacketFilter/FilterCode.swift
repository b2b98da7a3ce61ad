// SPDX-License-Identifier: Apache-2.0
// FilterCode.swift: the trie's fields as x86_64 code, each in a slot of its own (Intel SDM vol. 2, 2.1).
//
// The code is a function of the System V ABI: packet, its length, 0, anything, the buckets, the states; it returns the
// filter's number, or 0. rdx is the base. A field's slot has its question at the start; at `missOffset` the way on when
// nothing behind the field matched: the next field of the same state, or what the state itself accepts, or the way on
// of the field before. A shift keeps the old base on the stack, so its way back is `popOffset`; r11 has the stack
// pointer from the beginning, from which an acceptance at any depth returns.

import CApusABI

/// Sizes and factors of the code.
public enum FilterCode {
  /// Bytes of a field's code.
  public static var slotSize: Int { 128 }
  static var missOffset: Int { 112 }
  static var popOffset: Int { 96 }
  /// In slot 0, which is no field's: acceptance at a state without fields that a hash table has led to.
  static var acceptOffset: Int { 64 }
  /// The hash of a value found in a field is (value * valueFactor + field * fieldFactor) >> (32 - bucketBits).
  static var valueFactor: UInt32 { 0x9e37_79b1 }
  static var fieldFactor: UInt32 { 0x85eb_ca77 }
}

/// Writes the code of one slot.
private struct SlotWriter<Memory: FilterMemory> {
  let memory: Memory
  var offset: Int

  /// Puts the lowest `count` bytes, the lowest first.
  mutating func put(_ bytes: UInt64, _ count: Int) {
    memory.store(bytes, count: count, at: offset)
    offset += count
  }

  mutating func put(_ bytes: UInt64, _ count: Int, then word: UInt32) {
    put(bytes, count)
    put(UInt64(word), 4)
  }

  /// An instruction that ends with the distance to an offset.
  mutating func jump(_ bytes: UInt64, _ count: Int, to target: Int) {
    put(bytes, count, then: UInt32(truncatingIfNeeded: target - offset - count - 4))
  }

  /// Returns a filter's number from any depth.
  mutating func accept(_ filter: UInt32) {
    put(0xb8, 1, then: filter)  // mov eax, filter
    put(0xc3_dc89_4c, 4)  // mov rsp, r11; ret
  }
}

extension FilterTable {
  private func writer(_ slot: UInt32, _ offset: Int = 0) -> SlotWriter<Memory> {
    SlotWriter(memory: memory, offset: Int(slot) * FilterCode.slotSize + offset)
  }

  /// The way on when nothing behind a field has matched.
  private func wayBack(of field: UInt32) -> Int {
    let isShift = field != 0 && memory[field: field].isShift
    return Int(field) * FilterCode.slotSize + (isShift ? FilterCode.popOffset : FilterCode.missOffset)
  }

  /// The code of slot 0: what all packets begin with, how a leaf accepts, how nobody does.
  func writeCommonCode() {
    var miss = writer(0, FilterCode.missOffset)
    miss.accept(0)
    var accept = writer(0, FilterCode.acceptOffset)
    accept.put(0x14_0944_8b41, 5)  // mov eax, [r9 + rcx + 20]: the state's filter
    accept.put(0xc3_dc89_4c, 4)  // mov rsp, r11; ret
  }

  /// Where the code goes on from a state.
  private func entry(of state: UInt32) -> Int {
    let record = memory[state: state]
    if record.first_field != 0 { return Int(record.first_field) * FilterCode.slotSize }
    return state == Self.root ? FilterCode.missOffset : FilterCode.acceptOffset
  }

  /// Writes anew what goes on from a state.
  func refresh(state: UInt32) {
    memory[state: state].entry = memory.codeAddress &+ UInt64(entry(of: state))
    var field = memory[state: state].first_field
    while field != 0 {
      write(field: field)
      field = memory[field: field].next
    }
    if state == Self.root { write(field: 0) }
  }

  /// Writes a field's slot.
  func write(field: UInt32) {
    var code = writer(field)
    if field == 0 {
      code.put(0xe3_8949, 3)  // mov r11, rsp
      code.jump(0xe9, 1, to: entry(of: Self.root))
      return
    }
    let record = memory[field: field]
    let miss = Int(field) * FilterCode.slotSize + FilterCode.missOffset
    code.put(0x8a_8d48, 3, then: UInt32(record.offset) + UInt32(record.width))  // lea rcx, [rdx + end]
    code.put(0xf1_3948, 3)  // cmp rcx, rsi
    code.jump(0x870f, 2, to: miss)  // ja
    switch record.width {
    case 1: code.put(0x17_84b6_0f, 4, then: UInt32(record.offset))  // movzx eax, byte [rdi + rdx + offset]
    case 2: code.put(0x17_84b7_0f, 4, then: UInt32(record.offset))  // movzx eax, word [rdi + rdx + offset]
    default: code.put(0x17_848b, 3, then: UInt32(record.offset))  // mov eax, [rdi + rdx + offset]
    }
    if record.mask != Atom.allBits(record.width) { code.put(0x25, 1, then: record.mask) }  // and eax, mask
    if record.isShift {
      writeShift(field, record, &code)
    } else if record.children == 1 {
      code.put(0x3d, 1, then: UInt32(truncatingIfNeeded: memory[state: record.first_child].key))  // cmp eax, value
      code.jump(0x850f, 2, to: miss)  // jne
      writeStep(to: record.first_child, &code)
    } else {
      writeLookup(field, miss, &code)
    }
    var back = writer(field, FilterCode.missOffset)
    let state = memory[state: record.state]
    if record.next != 0 {
      back.jump(0xe9, 1, to: Int(record.next) * FilterCode.slotSize)
    } else if state.filter != 0 {
      back.accept(state.filter)
    } else {
      back.jump(0xe9, 1, to: wayBack(of: parent(of: record.state)))
    }
  }

  /// Goes on at a state.
  private func writeStep(to state: UInt32, _ code: inout SlotWriter<Memory>) {
    if memory[state: state].first_field == 0 {
      code.accept(memory[state: state].filter)
    } else {
      code.jump(0xe9, 1, to: entry(of: state))
    }
  }

  private func writeShift(_ field: UInt32, _ record: apus_filter_field, _ code: inout SlotWriter<Memory>) {
    // What was loaded from several bytes is the other way round than the number meant.
    if record.width == 2 { code.put(0x08_c0c1_66, 4) }  // rol ax, 8
    if record.width == 4 { code.put(0xc80f, 2) }  // bswap eax
    code.put(0xe0c1 | UInt64(record.kind & 3) << 16, 3)  // shl eax, count
    code.put(0xc201_52, 3)  // push rdx; add edx, eax
    writeStep(to: record.first_child, &code)
    var back = writer(field, FilterCode.popOffset)
    back.put(0x5a, 1)  // pop rdx
    back.put(0xeb | UInt64(FilterCode.missOffset - FilterCode.popOffset - 3) << 8, 2)  // jmp to the way on
  }

  /// Finds the state that the value in eax leads to in its bucket.
  private func writeLookup(_ field: UInt32, _ miss: Int, _ code: inout SlotWriter<Memory>) {
    code.put(0xba49, 2)  // mov r10, field << 32
    code.put(UInt64(field) << 32, 8)
    code.put(0xc2_0949, 3)  // or r10, rax
    code.put(0xc869, 2, then: FilterCode.valueFactor)  // imul ecx, eax, factor
    code.put(0xc181, 2, then: field &* FilterCode.fieldFactor)  // add ecx, the field's part
    code.put(0xe9c1 | UInt64(32 - memory.bucketBits) << 16, 3)  // shr ecx
    code.put(0x880c_8b41, 4)  // mov ecx, [r8 + rcx * 4]
    code.put(0xc985, 2)  // again: test ecx, ecx
    code.jump(0x840f, 2, to: miss)  // jz
    code.put(0x06e1_c148, 4)  // shl rcx, 6
    code.put(0x0914_394d, 4)  // cmp [r9 + rcx], r10
    code.put(0x0774, 2)  // je found
    code.put(0x10_094c_8b41, 5)  // mov ecx, [r9 + rcx + 16]
    code.put(0xe7eb, 2)  // jmp again
    code.put(0x08_0964_ff41, 5)  // found: jmp [r9 + rcx + 8]
  }
}
