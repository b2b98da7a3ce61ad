// SPDX-License-Identifier: Apache-2.0
// Verifier+State.swift: where the current state's registers and stack slots are in the working memory.

/// The shape of a frame in words: where its caller goes on, which stack slots have a value, r0 to r9, the slots.
enum FrameShape {
  static var returnSlot: Int { 0 }
  static var occupiedSlots: Int { 1 }
  static var registers: Int { 2 }
  static var registerCount: Int { 10 }
  static var slots: Int { 2 + 10 * AbstractValue.wordCount }
  static var slotCount: Int { ProgramLimits.frameByteCount / 8 }
  static var wordCount: Int { slots + slotCount * AbstractValue.wordCount }
}

extension Verifier where Memory: ~Copyable {
  static var frameAreaWordCount: Int { ProgramLimits.callDepth * FrameShape.wordCount }
  /// How many lists of remembered states with like fingerprints there are.
  static var bucketCount: Int { 1024 }
  static var stateWordCount: Int { frameAreaWordCount + bucketCount }

  func frameStart(_ frame: Int) -> Int {
    2 * slotCount + (frame & (ProgramLimits.callDepth - 1)) * FrameShape.wordCount
  }

  func mark(_ slot: Int) -> Mark { Mark(bits: memory[slot]) }

  func registerIndex(_ frame: Int, _ number: Int) -> Int {
    frameStart(frame) + FrameShape.registers + number * AbstractValue.wordCount
  }

  func slotIndex(_ frame: Int, _ slot: Int) -> Int {
    frameStart(frame) + FrameShape.slots
      + (slot & (FrameShape.slotCount - 1)) * AbstractValue.wordCount
  }

  func value(at index: Int) -> AbstractValue {
    var position = index
    return AbstractValue(memory, at: &position)
  }

  mutating func set(_ value: AbstractValue, at index: Int) {
    _ = value.write(to: &memory, at: index)
  }

  /// A register of the current frame.
  subscript(_ register: Register) -> AbstractValue {
    get {
      register == .framePointer
        ? .stack(frame: depth) : value(at: registerIndex(depth, register.number))
    }
    set { set(newValue, at: registerIndex(depth, register.number)) }
  }

  func occupiedSlots(_ frame: Int) -> UInt64 { memory[frameStart(frame) + FrameShape.occupiedSlots] }

  func returnSlot(_ frame: Int) -> Int { Int(memory[frameStart(frame) + FrameShape.returnSlot]) }

  /// A stack slot; slots that were never written have no value.
  func stackSlot(_ frame: Int, _ slot: Int) -> AbstractValue {
    guard occupiedSlots(frame) >> UInt64(slot & 63) & 1 != 0 else { return .uninitialised }
    return value(at: slotIndex(frame, slot))
  }

  mutating func setStackSlot(_ frame: Int, _ slot: Int, _ value: AbstractValue) {
    memory[frameStart(frame) + FrameShape.occupiedSlots] |= 1 << UInt64(slot & 63)
    set(value, at: slotIndex(frame, slot))
  }

  /// Makes the current frame one of a function that was just entered; its r1 to r5 are the caller's to set.
  mutating func clearFrame() {
    let start = frameStart(depth)
    memory[start + FrameShape.returnSlot] = 0
    memory[start + FrameShape.occupiedSlots] = 0
    for number in 0..<FrameShape.registerCount { self[Register(number)] = .uninitialised }
  }

  mutating func setReturnSlot(_ slot: Int) {
    memory[frameStart(depth) + FrameShape.returnSlot] = UInt64(slot)
  }

  /// Reads a register that must have a value.
  func read(_ register: Register) throws(Rejection) -> AbstractValue {
    let value = self[register]
    try require(value.kind != .uninitialised, .uninitialisedRegister)
    return value
  }

  func read(_ operand: Operand) throws(Rejection) -> AbstractValue {
    switch operand {
    case .register(let register): try read(register)
    case .immediate(let value): .number(.exactly(UInt64(immediate: value)))
    }
  }

  /// Changes every value of the state that has an identity.
  mutating func update(
    identity: UInt32, _ change: (inout AbstractValue) -> Void
  ) {
    for frame in 0...depth {
      for number in 0..<FrameShape.registerCount {
        update(at: registerIndex(frame, number), identity, change)
      }
      var occupied = occupiedSlots(frame)
      while occupied != 0 {
        update(at: slotIndex(frame, occupied.trailingZeroBitCount), identity, change)
        occupied &= occupied - 1
      }
    }
  }

  private mutating func update(
    at index: Int, _ identity: UInt32, _ change: (inout AbstractValue) -> Void
  ) {
    guard UInt32(truncatingIfNeeded: memory[index] >> 32) & 0xfff_ffff == identity else { return }
    var value = value(at: index)
    change(&value)
    set(value, at: index)
  }
}
