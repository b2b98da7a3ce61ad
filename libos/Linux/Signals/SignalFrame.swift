// SPDX-License-Identifier: Apache-2.0
// SignalFrame.swift: what a handler finds on its stack, and the way back from it.
//
// The layout is Linux's for x86_64 (arch/x86/include/uapi/asm/sigcontext.h, ucontext.h; System V ABI). From the
// frame's start: return address (the restorer), ucontext, siginfo; above it, 64-byte aligned, the XSAVE image.

import ApusRuntime
import ApusUnix

/// Byte offsets from the start of the frame.
private enum Frame {
  static var context: Int { 8 }
  static var alternateStack: Int { 8 + 16 }
  static var registers: Int { 8 + 40 }
  static var segments: Int { 8 + 40 + 144 }
  static var error: Int { 8 + 40 + 152 }
  static var vectors: Int { 8 + 40 + 184 }
  static var mask: Int { 8 + 296 }
  static var information: Int { 8 + 304 }
  static var size: Int { 8 + 304 + 128 }
}

/// The software part of the XSAVE image: bytes 464 to 511 of the legacy area.
private enum ExtendedState {
  static var software: Int { 464 }
  static var magic1: UInt32 { 0x4650_5853 }
  static var magic2: UInt32 { 0x4650_5845 }
  static var legacySize: Int { 512 }
}

/// Flags that a handler's frame may set: arithmetic flags, TF, DF, RF, AC, ID; and those that start a handler off.
private let changeableFlags: UInt64 = 0x0025_0dd5
private let clearedFlags: UInt64 = 0x0001_0500
private let contextFlags: UInt64 = 7

extension Task {
  /// Builds a frame and sends the application to the handler.
  ///
  /// - Returns: Whether the stack had room and the action a restorer.
  func pushFrame(
    _ registers: UserRegisters, _ info: SignalInfo, _ action: SignalAction
  ) -> Bool {
    guard action.flags.contains(.restorer) else { return false }
    var top = registers.rsp &- 128
    let stack = alternateStack
    if action.flags.contains(.onAlternateStack), stack.size != 0, !stack.contains(registers.rsp) {
      top = stack.base &+ stack.size
    }
    let vectorSize = Execution.vectorStateSize
    let vectors = (top &- UInt64(vectorSize + 4)) & ~63
    let start = ((vectors &- UInt64(Frame.size)) & ~15) &- 8
    if stack.contains(registers.rsp) || top == stack.base &+ stack.size {
      // Too deep for the alternate stack: better no handler than a wild write.
      if stack.size != 0, top <= stack.base &+ stack.size, top > stack.base, start < stack.base {
        return false
      }
    }
    let memory: Bytes
    do throws(Errno) {
      memory = try self.memory(at: start, count: Int(top &- start), write: true)
    } catch {
      return false
    }
    saveVectors(memory.part(Int(vectors - start), vectorSize + 4), vectorSize)
    memory.part(0, Frame.size).fill(0)
    memory.store(action.restorer, at: 0)
    memory.store(contextFlags, at: Frame.context)
    memory.store(stack.base, at: Frame.alternateStack)
    let stackFlags =
      stack.size == 0
      ? AlternateStack.disable
      : stack.flags | (stack.contains(registers.rsp) ? AlternateStack.onStack : 0)
    memory.store(UInt32(truncatingIfNeeded: stackFlags), at: Frame.alternateStack + 8)
    memory.store(stack.size, at: Frame.alternateStack + 16)
    storeRegisters(registers, memory.part(Frame.registers, 152))
    memory.store(faultError, at: Frame.error)
    memory.store(faultVector, at: Frame.error + 8)
    let mask = maskToRestore ?? blocked
    memory.store(mask.rawValue, at: Frame.error + 16)
    memory.store(faultAddress, at: Frame.error + 24)
    memory.store(vectors, at: Frame.vectors)
    memory.store(mask.rawValue, at: Frame.mask)
    info.store(in: memory.part(Frame.information, 128))

    registers.rdi = UInt64(info.number)
    registers.rsi = start + UInt64(Frame.information)
    registers.rdx = start + UInt64(Frame.context)
    registers.rax = 0
    registers.rip = action.handler
    registers.rsp = start
    registers.flags &= ~clearedFlags
    if stack.flags & AlternateStack.autoDisarm != 0, top == stack.base &+ stack.size {
      alternateStack = AlternateStack()
    }
    maskToRestore = nil
    var during = blocked.union(action.mask)
    if !action.flags.contains(.noDefer) { during = during.union(.only(info.number)) }
    setBlocked(during)
    return true
  }

  private func saveVectors(_ area: Bytes, _ size: Int) {
    area.fill(0)
    Execution.saveVectors(to: area.part(0, size))
    let software = area.part(ExtendedState.software, 48)
    software.fill(0)
    software.store(ExtendedState.magic1, at: 0)
    software.store(UInt32(size + 4), at: 4)
    software.store(Execution.extendedStateMask, at: 8)
    software.store(UInt32(size), at: 16)
    area.store(ExtendedState.magic2, at: size)
  }

  private func storeRegisters(_ registers: UserRegisters, _ area: Bytes) {
    area.store(registers.r8, at: 0)
    area.store(registers.r9, at: 8)
    area.store(registers.r10, at: 16)
    area.store(registers.r11, at: 24)
    area.store(registers.r12, at: 32)
    area.store(registers.r13, at: 40)
    area.store(registers.r14, at: 48)
    area.store(registers.r15, at: 56)
    area.store(registers.rdi, at: 64)
    area.store(registers.rsi, at: 72)
    area.store(registers.rbp, at: 80)
    area.store(registers.rbx, at: 88)
    area.store(registers.rdx, at: 96)
    area.store(registers.rax, at: 104)
    area.store(registers.rcx, at: 112)
    area.store(registers.rsp, at: 120)
    area.store(registers.rip, at: 128)
    area.store(registers.flags, at: 136)
    // cs, gs, fs, ss, as a Linux program sees them.
    area.store(UInt64(0x002b_0000_0000_0033), at: 144)
  }

  /// Goes back to what a handler interrupted (rt_sigreturn(2)).
  ///
  /// - Throws: `EFAULT` when the frame is not readable: the program gets SIGSEGV.
  func popFrame(_ registers: UserRegisters) throws(Errno) {
    // The handler's return has popped the restorer's address.
    let start = registers.rsp &- 8
    let memory = try memory(at: start, count: Frame.size, write: false)
    let area = memory.part(Frame.registers, 152)
    let vectors = memory.load(Frame.vectors, as: UInt64.self)
    let mask = SignalSet(rawValue: memory.load(Frame.mask, as: UInt64.self))
    let stack = AlternateStack(
      base: memory.load(Frame.alternateStack, as: UInt64.self),
      size: memory.load(Frame.alternateStack + 16, as: UInt64.self),
      flags: UInt64(memory.load(Frame.alternateStack + 8, as: UInt32.self)))
    try restoreVectors(vectors)
    loadRegisters(registers, area)
    if stack.flags & AlternateStack.disable != 0 {
      alternateStack = AlternateStack()
    } else if stack.size >= AlternateStack.minimumSize {
      alternateStack = AlternateStack(
        base: stack.base, size: stack.size, flags: stack.flags & AlternateStack.autoDisarm)
    }
    setBlocked(mask)
  }

  private func restoreVectors(_ address: UInt64) throws(Errno) {
    guard address != 0 else {
      Execution.resetVectors()
      return
    }
    let size = Execution.vectorStateSize
    let legacy = try memory(at: address, count: ExtendedState.legacySize, write: false)
    let software = legacy.part(ExtendedState.software, 48)
    if address & 63 == 0, software.load(0, as: UInt32.self) == ExtendedState.magic1,
      software.load(16, as: UInt32.self) == UInt32(size)
    {
      let whole = try memory(at: address, count: size + 4, write: false)
      if whole.load(size, as: UInt32.self) == ExtendedState.magic2 {
        Execution.restoreVectors(from: whole.part(0, size))
        return
      }
    }
    Execution.restoreVectors(from: legacy)
  }

  private func loadRegisters(_ registers: UserRegisters, _ area: Bytes) {
    registers.r8 = area.load(0, as: UInt64.self)
    registers.r9 = area.load(8, as: UInt64.self)
    registers.r10 = area.load(16, as: UInt64.self)
    registers.r11 = area.load(24, as: UInt64.self)
    registers.r12 = area.load(32, as: UInt64.self)
    registers.r13 = area.load(40, as: UInt64.self)
    registers.r14 = area.load(48, as: UInt64.self)
    registers.r15 = area.load(56, as: UInt64.self)
    registers.rdi = area.load(64, as: UInt64.self)
    registers.rsi = area.load(72, as: UInt64.self)
    registers.rbp = area.load(80, as: UInt64.self)
    registers.rbx = area.load(88, as: UInt64.self)
    registers.rdx = area.load(96, as: UInt64.self)
    registers.rax = area.load(104, as: UInt64.self)
    registers.rcx = area.load(112, as: UInt64.self)
    registers.rsp = area.load(120, as: UInt64.self)
    registers.rip = area.load(128, as: UInt64.self)
    let flags = area.load(136, as: UInt64.self)
    registers.flags = (registers.flags & ~changeableFlags) | (flags & changeableFlags)
  }
}

extension SignalInfo {
  /// Writes siginfo_t.
  func store(in area: Bytes) {
    area.store(signal, at: 0)
    area.store(error, at: 4)
    area.store(code, at: 8)
    area.store(sender, at: 16)
    area.store(value, at: 24)
    if number == Signal.segmentation, code == SignalInfo.keyCode { area.store(UInt32(Guard.key), at: 32) }
  }

  /// Reads what a program wants to queue (rt_sigqueueinfo(2)).
  init(from area: Bytes) {
    signal = area.load(0, as: Int32.self)
    error = area.load(4, as: Int32.self)
    code = area.load(8, as: Int32.self)
    sender = area.load(16, as: UInt64.self)
    value = area.load(24, as: UInt64.self)
  }
}
