// SPDX-License-Identifier: Apache-2.0
// Execution.swift: one flow of control of the family: a kernel environment, its u-area, and a stack for the LibOS.
//
// A place of the executions' region holds: a page that stays unmapped (a stack overflow faults), the stack, the
// u-area. Places and their pages are used again; the environment is made anew each time.

import ApusABI
import CRuntime

/// An environment of the family and what the LibOS needs to run in it.
public final class Execution {
  private static var region: UInt64 { UInt64(APUS_LIBOS_BASE) + 0x40_0000_0000 }
  private static var stride: UInt64 { 0x2_0000 }
  private static var stackBytes: UInt64 { 0xf000 }
  @safe nonisolated(unsafe) private static var places: UInt64 = 0
  @safe nonisolated(unsafe) private static var freePlaces: [UInt64] = []
  /// Whether executions that are made from now on get a slice of their own.
  ///
  /// One without runs when another gives it the rest of its slice: a LibOS with a scheduler of its own.
  @safe nonisolated(unsafe) public static var takesSlices = true

  /// The address space it runs in.
  public let root: UInt32
  /// What it belongs to.
  public private(set) var owner: AnyObject?
  let uarea: UInt64
  fileprivate(set) var handle: UInt64
  private var body: (() -> Never)?

  private init(root: UInt32, owner: AnyObject?, uarea: UInt64, handle: UInt64) {
    self.root = root
    self.owner = owner
    self.uarea = uarea
    self.handle = handle
  }

  // MARK: The u-area

  @inline(__always) func word(_ offset: Int32) -> UInt64 {
    unsafe UnsafePointer<UInt64>(bitPattern: UInt(uarea) + UInt(offset)).unsafelyUnwrapped.pointee
  }
  @inline(__always) private func setWord(_ offset: Int32, _ value: UInt64) {
    unsafe UnsafeMutablePointer<UInt64>(bitPattern: UInt(uarea) + UInt(offset)).unsafelyUnwrapped.pointee = value
  }

  /// Fills the words of a u-area that say where the kernel's upcalls go.
  private func prepare(stack: UInt64) {
    setWord(APUS_UA_PENDING, 0)
    setWord(APUS_UA_EXCEPTION + APUS_SAVE_IN_USE, 0)
    setWord(APUS_UA_NESTED + APUS_SAVE_IN_USE, 0)
    setEntries()
    setWord(APUS_UA_EXCEPTION_STACK, uarea + 0x1000)
    setWord(APUS_UA_NESTED_STACK, uarea - Self.stackBytes + 0x2000)
    setWord(APUS_UA_SLICE_STACK, uarea + 0x1000)
    setWord(APUS_UA_ACCEPTING, 0)
    setWord(APUS_UA_SELF, uarea)
    setWord(APUS_UA_REVOCATION_ENTRY, 0)
    setWord(UA_FOREIGN_FLAGS_ADDRESS, uarea + UInt64(APUS_UA_FOREIGN_FLAGS))
    setWord(UA_STACK, stack)
    setWord(UA_WAKE, 0)
    setWord(UA_HEIR, FamilyScheduler.handle)
    setWord(UA_WAIT_WORD, 1)
    setWord(UA_ATTENTION, 0)
    setWord(UA_MASK, Self.extendedStateMask)
    setWord(UA_ANSWERS_ON, Self.answersEnabled ? 1 : 0)
    setWord(UA_OWNER, unsafe UInt64(UInt(bitPattern: Unmanaged.passUnretained(self).toOpaque())))
  }

  /// Names the entries, which differ in a guarded family.
  func setEntries() {
    let isGuarded = Guard.isOn
    func set(_ word: Int32, _ plain: UInt64, _ guarded: UInt64) { setWord(word, isGuarded ? guarded : plain) }
    set(APUS_UA_EXCEPTION_ENTRY, runtime_exception_entry_address(), runtime_guarded_exception_entry_address())
    set(APUS_UA_NESTED_ENTRY, runtime_nested_entry_address(), runtime_guarded_nested_entry_address())
    set(APUS_UA_FOREIGN_ENTRY, runtime_foreign_entry_address(), runtime_guarded_foreign_entry_address())
    set(APUS_UA_SLICE_BEGIN_ENTRY, runtime_slice_begin_entry_address(), runtime_guarded_slice_begin_entry_address())
    set(APUS_UA_SLICE_END_ENTRY, runtime_slice_end_entry_address(), runtime_guarded_slice_end_entry_address())
    set(APUS_UA_PROTECTED_ENTRY, runtime_protected_entry_address(), runtime_guarded_protected_entry_address())
    set(APUS_UA_REPLY_ENTRY, runtime_reply_entry_address(), runtime_guarded_reply_entry_address())
  }

  /// A place with mapped pages.
  private static func takePlace() -> UInt64? {
    if let place = freePlaces.popLast() { return place }
    let place = region + places * stride
    guard BareFrames.map(at: place + 0x1000, bytes: stackBytes + 4096) else { return nil }
    places += 1
    return place
  }

  private static func make(root: UInt32, owner: AnyObject?) -> Execution? {
    guard let place = takePlace() else { return nil }
    let uarea = place + 0x1000 + stackBytes
    let frame = PageTable.frame(of: PageTable.entry(at: uarea))
    do throws(SystemCallError) {
      let handle = try kernelCall(
        .environmentCreate, CapabilitySlot.family, UInt64(root), UInt64(frame), uarea, 0b111)
      let execution = Execution(root: root, owner: owner, uarea: uarea, handle: handle)
      execution.prepare(stack: uarea)
      execution.setWord(APUS_UA_CRITICAL, 0)
      if FamilyScheduler.isUsed {
        FamilyScheduler.add(execution)
        return execution
      }
      guard takesSlices else { return execution }
      do throws(SystemCallError) {
        try kernelCall(.sliceAllocate, CapabilitySlot.family, UInt64.max, handle)
      } catch {
        execution.kill()
        execution.reap()
        return nil
      }
      return execution
    } catch {
      freePlaces.append(place)
      return nil
    }
  }

  // MARK: Life

  /// Makes an execution that begins in the application.
  ///
  /// - Parameters:
  ///   - root: Its address space.
  ///   - registers: What it begins with.
  ///   - fsBase: The base of its segment FS.
  ///   - copyVectors: Whether its vector registers are the current application's; otherwise they are initial.
  ///   - owner: Whom it runs for.
  /// - Returns: Nil if there is no environment, slice or frame left.
  public static func start(
    root: UInt32, registers: Registers, fsBase: UInt64, copyVectors: Bool, owner: AnyObject
  ) -> Execution? {
    guard let execution = make(root: root, owner: owner) else { return nil }
    let frame = execution.uarea - UInt64(MemoryLayout<Registers>.size)
    // SAFETY: the stack of the new execution, which nobody uses yet.
    unsafe UnsafeMutablePointer<Registers>(bitPattern: UInt(frame)).unsafelyUnwrapped.pointee = registers
    execution.setWord(UA_SAVED_RSP, frame)
    execution.setWord(UA_MODE, UInt64(UA_MODE_APPLICATION))
    execution.setWord(UA_FS, fsBase)
    execution.clearVectors()
    if copyVectors {
      unsafe runtime_xsave(
        UnsafeMutableRawPointer(bitPattern: UInt(execution.uarea) + UInt(UA_VECTORS)).unsafelyUnwrapped,
        extendedStateMask)
    }
    return execution
  }

  /// Makes an execution of the LibOS's own, which never runs application code: it lives in the first environment's
  /// address space, as every other one goes with its process.
  public static func startSystem(_ body: @escaping () -> Never) -> Execution? {
    startSystem(in: Runtime.firstRoot, body)
  }

  /// Makes an execution of the LibOS's own in an address space, which has to stay until the execution has ended.
  public static func startSystem(in root: UInt32, _ body: @escaping () -> Never) -> Execution? {
    guard let execution = make(root: root, owner: nil) else { return nil }
    execution.body = body
    // What `runtime_suspend` would have left: six registers and a return address.
    let stack = execution.uarea - 64
    unsafe UnsafeMutablePointer<UInt64>(bitPattern: UInt(stack) + 48).unsafelyUnwrapped.pointee =
      runtime_system_start_address()
    execution.setWord(UA_SAVED_RSP, stack)
    execution.setWord(UA_MODE, UInt64(UA_MODE_SUSPENDED))
    execution.setWord(UA_FS, 0)
    execution.clearVectors()
    return execution
  }

  private func clearVectors() {
    let area = unsafe Bytes(
      base: UnsafeMutableRawPointer(bitPattern: UInt(uarea) + UInt(UA_VECTORS)).unsafelyUnwrapped,
      count: Int(UA_VECTORS_SIZE)
    )
    area.fill(0)
    // MXCSR is loaded from the area whatever its header says (SDM vol. 1, 13.8.1).
    area.store(0x1f80 as UInt32, at: 24)
  }

  fileprivate func runBody() -> Never {
    guard let body else { runtimePanic("a system execution without a body") }
    body()
  }

  /// The first environment's own execution, made from what the kernel set up.
  static func adoptFirst(root: UInt32, owner: AnyObject?) {
    let execution = Execution(root: root, owner: owner, uarea: UInt64(APUS_LIBOS_BASE), handle: 0)
    execution.prepare(stack: runtime_start_stack_address())
    execution.clearVectors()
    _ = unsafe Unmanaged.passRetained(execution)
  }

  /// The running execution.
  public static var current: Execution {
    @inline(__always) get {
      unsafe Unmanaged<Execution>.fromOpaque(
        UnsafeRawPointer(bitPattern: UInt(runtime_word(UInt32(UA_OWNER)))).unsafelyUnwrapped
      ).takeUnretainedValue()
    }
  }

  /// The owner of the running execution, which is known to be of that class.
  @inline(__always) public static func currentOwner<T: AnyObject>(as type: T.Type) -> T {
    guard let owner = current.owner else { runtimePanic("the running execution has no owner") }
    return unsafe unsafeDowncast(owner, to: type)
  }

  /// Ends the running environment; what it stood on is freed by `reap`.
  public static func exitCurrent(handOffTo target: Execution?) -> Never {
    current.setWord(APUS_UA_CRITICAL, 1)
    _ = apus_call(SystemCall.environmentKill.rawValue, CapabilitySlot.family, 0, heir(target), 0, 0)
    runtimePanic("an ended environment goes on")
  }

  /// Ends another environment, which must not be inside the LibOS but where it suspended.
  public func kill() {
    _ = try? kernelCall(.environmentKill, CapabilitySlot.family, handle)
  }

  /// Whether the environment can still run.
  public var isAlive: Bool { handle != 0 && Information.isLive(handle: handle) }

  /// Frees the stack of an execution that has ended; may be called again.
  public func reap() {
    guard handle != 0 else { return }
    FamilyScheduler.remove(self)
    handle = 0
    owner = nil
    body = nil
    Self.freePlaces.append(uarea - Self.stackBytes - 0x1000)
  }

  // MARK: Waiting

  /// Makes it go on if it is suspended, or not suspend the next time.
  @inline(__always) public func wake() { setWord(UA_WAKE, 1) }

  /// Gives up the CPU until `wake` or a deadline in ticks.
  ///
  /// - Parameters:
  ///   - deadline: When it goes on in any case.
  ///   - target: Who gets the rest of the slice, if it can run.
  public static func suspend(deadline: UInt64, handOffTo target: Execution?) {
    let execution = current
    if execution.word(UA_WAKE) == 0 {
      runtime_suspend(execution.uarea + UInt64(UA_WAKE), 0, deadline, heir(target))
    }
    execution.setWord(UA_WAKE, 0)
    giveUpOwedSlice()
    Exclusive.awaitTurn()
  }

  /// Who gets the rest of the time: a target, or whoever shares the family's time out; nobody, if that is the running
  /// one itself.
  @inline(__always) private static func heir(_ target: Execution?) -> UInt64 {
    target?.handle ?? runtime_word(UInt32(UA_HEIR))
  }

  /// What was waited for may be there at once, again and again: a slice that ended meanwhile is given up here.
  static func giveUpOwedSlice() {
    if runtime_word(UInt32(APUS_UA_PENDING)) & UInt64(APUS_PENDING_SLICE_END) != 0 { yield(to: nil) }
  }

  /// Gives up the CPU until bytes arrive at the console or a deadline in ticks.
  public static func suspendForConsole(deadline: UInt64) {
    let word = UInt64(APUS_INFORMATION_BASE) + UInt64(APUS_INFORMATION_CONSOLE_INPUT)
    runtime_suspend(word, Console.seenInputCount, deadline, heir(nil))
    giveUpOwedSlice()
    Exclusive.awaitTurn()
  }

  /// Gives up the CPU until the console has room again after a write that found none, or a deadline in ticks.
  public static func suspendForConsoleOutput(deadline: UInt64) {
    let word = UInt64(APUS_INFORMATION_BASE) + UInt64(APUS_INFORMATION_CONSOLE_OUTPUT)
    runtime_suspend(word, Console.seenOutputCount, deadline, heir(nil))
    giveUpOwedSlice()
    Exclusive.awaitTurn()
  }

  /// Ticks that the environment has used.
  public var ticksUsed: UInt64 {
    guard let record = Information.environment(handle: handle) else { return 0 }
    guard self === Execution.current, record.running_since != 0 else { return record.ticks_used }
    return record.ticks_used &+ (Clock.ticks &- record.running_since)
  }

  /// Gives up the rest of the slice.
  public static func yield(to target: Execution?) {
    runtime_set_word(
      UInt32(APUS_UA_PENDING), runtime_word(UInt32(APUS_UA_PENDING)) & ~UInt64(APUS_PENDING_SLICE_END))
    runtime_suspend(1, 0, 0, heir(target))
    Exclusive.awaitTurn()
  }

  /// Gives the rest of the slice to this execution.
  func giveSlice() { runtime_suspend(1, 0, 0, handle) }

  /// The kernel's name of the environment; the first one's is found in the table.
  var kernelHandle: UInt64 { kernelHandleIfAny ?? 0 }

  /// The kernel's name of the environment.
  var kernelHandleIfAny: UInt64? {
    if handle == 0 { handle = Information.handle(uarea: uarea, root: root) ?? 0 }
    return handle == 0 ? nil : handle
  }

  /// When set, application code is interrupted by `linux_attention` at its next slice begin.
  public var attention: Bool {
    get { word(UA_ATTENTION) != 0 }
    set { setWord(UA_ATTENTION, newValue ? 1 : 0) }
  }

  // MARK: The application's other state

  /// The running application's FS base.
  public var fsBase: UInt64 {
    get { runtime_fs_base() }
    set { runtime_set_fs_base(newValue) }
  }

  /// The extended state components in use (XCR0).
  public static var extendedStateMask: UInt64 { Information.page.extended_state_mask }
  /// Bytes of an XSAVE area.
  public static var vectorStateSize: Int { Int(Information.page.extended_state_size) }

  /// Puts the running application's vector registers into their initial state.
  public static func resetVectors() {
    let execution = current
    execution.clearVectors()
    unsafe runtime_xrstor(
      UnsafeRawPointer(bitPattern: UInt(execution.uarea) + UInt(UA_VECTORS)).unsafelyUnwrapped, extendedStateMask)
  }

  /// Stores the running application's vector registers in the XSAVE format.
  ///
  /// The format is that of SDM vol. 1, 13.4.
  ///
  /// - Parameter area: `vectorStateSize` bytes, 64-byte aligned.
  public static func saveVectors(to area: Bytes) {
    area.part(512, 64).fill(0)
    unsafe runtime_xsave(UnsafeMutableRawPointer(bitPattern: UInt(area.address)).unsafelyUnwrapped, extendedStateMask)
  }

  /// Loads vector registers that an application may have written: what would fault is masked first.
  public static func restoreVectors(from area: Bytes) {
    let own = unsafe Bytes(
      base: UnsafeMutableRawPointer(bitPattern: UInt(current.uarea) + UInt(UA_VECTORS)).unsafelyUnwrapped,
      count: vectorStateSize)
    if area.count >= vectorStateSize {
      own.copy(area.part(0, vectorStateSize))
      own.store(own.load(512, as: UInt64.self) & extendedStateMask, at: 512)
    } else {
      own.copy(area.part(0, 512))
      own.store(0b11 as UInt64, at: 512)
    }
    own.part(520, 56).fill(0)
    own.store(own.load(24, as: UInt32.self) & 0xffff, at: 24)
    unsafe runtime_xrstor(UnsafeRawPointer(bitPattern: UInt(own.address)).unsafelyUnwrapped, extendedStateMask)
  }

  /// Why a floating-point exception came: Linux's FPE_* code (signal(7)).
  ///
  /// - Parameter isVector: An SSE exception, told by MXCSR; otherwise x87's status word tells.
  /// - Returns: The code for the first exception that is flagged and not masked.
  public static func floatingPointCode(isVector: Bool) -> Int32 {
    let own = unsafe Bytes(
      base: UnsafeMutableRawPointer(bitPattern: UInt(current.uarea) + UInt(UA_VECTORS)).unsafelyUnwrapped,
      count: 576)
    unsafe runtime_xsave(UnsafeMutableRawPointer(bitPattern: UInt(own.address)).unsafelyUnwrapped, 0b11)
    let flags: UInt32
    if isVector {
      let control = own.load(24, as: UInt32.self)
      flags = control & ~(control >> 7) & 0x3f
    } else {
      flags = UInt32(own.load(2, as: UInt16.self) & ~own.load(0, as: UInt16.self) & 0x3f)
    }
    if flags & 1 != 0 { return 7 }  // invalid operation
    if flags & 4 != 0 { return 3 }  // division by zero
    if flags & 8 != 0 { return 4 }  // overflow
    if flags & 0x12 != 0 { return 5 }  // underflow, denormal
    return 6  // inexact
  }

  // MARK: Constant answers

  /// Whether calls with a constant answer are served at the entry.
  public static var answersEnabled: Bool {
    get { Runtime.answersEnabled }
    set { Runtime.answersEnabled = newValue }
  }

  /// Sets a constant answer.
  ///
  /// - Parameters:
  ///   - slot: 0 getpid, 1 getppid, 2 gettid, 3 getuid, 4 getgid, 5 geteuid, 6 getegid, 7 getpgrp.
  ///   - value: What the call answers from now on.
  public func setConstantAnswer(_ slot: Int, _ value: UInt64) {
    let offset: Int32 =
      switch slot {
      case 0: 1
      case 1: 6
      case 3: 2
      case 4: 3
      case 5: 4
      case 6: 5
      case 7: 7
      default: 8
      }
    setWord(UA_ANSWERS + offset * 8, value)
  }
}

@c @used func runtime_system_body() -> Never { Execution.current.runBody() }

/// What the processor can do, for programs that ask.
public enum Processor {
  /// CPUID leaf 1, register edx.
  public static var features: UInt32 { runtime_features() }
}
