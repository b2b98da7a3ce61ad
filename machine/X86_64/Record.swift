// SPDX-License-Identifier: Apache-2.0
// Record.swift: safe names for single things in kernel memory: a record, a run of bytes, a character of a constant.

import CApusABI
import CShims

/// One record in memory that is the kernel's, or pinned for it, as long as the record is used.
@safe public struct Record<Value> {
  private let base: UnsafeMutablePointer<Value>

  /// Names a record by its kernel address.
  @inline(__always) public init(kernelAddress: UInt64) {
    // SAFETY: the kernel makes such addresses from its own tables, symbols and stack only.
    unsafe base = UnsafeMutablePointer(bitPattern: UInt(kernelAddress)).unsafelyUnwrapped
  }

  /// Names a record by its physical address.
  @inline(__always) public init(physical: UInt64) {
    self.init(kernelAddress: PhysicalMemory.directBase &+ physical)
  }

  /// The record.
  public var value: Value {
    @inline(__always) unsafeAddress { unsafe UnsafePointer(base) }
    @inline(__always) nonmutating unsafeMutableAddress { unsafe base }
  }

  /// Writes the record into memory that holds none yet.
  public func initialize(_ value: consuming Value) { unsafe base.initialize(to: value) }

  /// Its kernel address.
  public var kernelAddress: UInt64 { unsafe UInt64(UInt(bitPattern: base)) }
}

/// A run of bytes in kernel memory.
@safe public struct KernelBytes {
  /// Kernel address of the first byte.
  public let address: UInt64
  /// How many bytes.
  public let count: Int

  /// Names bytes by their physical address.
  public init(physical: UInt64, count: Int) {
    address = PhysicalMemory.directBase &+ physical
    self.count = count
  }

  private init(address: UInt64, count: Int) {
    self.address = address
    self.count = count
  }

  /// One byte; the index is checked.
  public subscript(index: Int) -> UInt8 {
    @inline(__always) get {
      precondition(index >= 0 && index < count)
      return unsafe UnsafePointer<UInt8>(bitPattern: UInt(address) &+ UInt(index)).unsafelyUnwrapped.pointee
    }
    @inline(__always) nonmutating set {
      precondition(index >= 0 && index < count)
      unsafe UnsafeMutablePointer<UInt8>(bitPattern: UInt(address) &+ UInt(index)).unsafelyUnwrapped.pointee = newValue
    }
  }

  /// The 64-bit words of the run, which nobody changes meanwhile.
  public func withWords<Result, Failure>(_ body: (Span<UInt64>) throws(Failure) -> Result) throws(Failure) -> Result {
    // SAFETY: kernel memory, as long as the run.
    let words = unsafe UnsafeBufferPointer(start: UnsafePointer<UInt64>(bitPattern: UInt(address)), count: count / 8)
    return try body(unsafe words.span)
  }

  /// Four bytes from an offset on, in the machine's order; any address may be loaded from.
  public func word32(at offset: Int) -> UInt32 {
    precondition(offset >= 0 && offset <= count - 4)
    return unsafe UnsafePointer<UInt32>(bitPattern: UInt(address) &+ UInt(offset)).unsafelyUnwrapped.pointee
  }

  /// Copies all of another run to the start of this one, which has room for it.
  public func copy(_ source: KernelBytes) {
    precondition(source.count <= count)
    // SAFETY: both runs are kernel memory, and the lengths were just checked.
    let to = unsafe UnsafeMutableRawPointer(bitPattern: UInt(address)).unsafelyUnwrapped
    let from = unsafe UnsafeRawPointer(bitPattern: UInt(source.address)).unsafelyUnwrapped
    let tail = source.count & ~7
    unsafe apus_copy_quads(to, from, UInt64(source.count) >> 3)
    unsafe apus_copy_bytes(to + tail, from + tail, UInt64(source.count & 7))
  }

  /// The part from `start`, `count` bytes long; checked.
  public func part(_ start: Int, _ count: Int) -> KernelBytes {
    precondition(start >= 0 && count >= 0 && count <= self.count && start <= self.count - count)
    return KernelBytes(address: address &+ UInt64(start), count: count)
  }
}

extension Record where Value == apus_uarea {
  /// Sets pending bits; the LibOS may be clearing others on another CPU at this moment.
  public func setPending(_ bits: UInt64) {
    // SAFETY: the u-area is pinned; the word is its second.
    unsafe apus_set_bits(
      UnsafeMutablePointer<UInt64>(bitPattern: UInt(kernelAddress &+ UInt64(APUS_UA_PENDING))).unsafelyUnwrapped, bits)
  }
}

extension StaticString {
  /// A byte of a constant text; the index is checked.
  public func byte(at index: Int) -> UInt8 {
    precondition(index >= 0 && index < utf8CodeUnitCount)
    return unsafe utf8Start[index]
  }
}

/// The processor that runs this code.
public enum ThisProcessor {
  /// Its own record, which the entry paths read.
  @inline(__always) public static var record: Record<apus_cpu> {
    unsafe Record(kernelAddress: UInt64(UInt(bitPattern: apus_this_cpu())))
  }

  /// The u-area of the running environment.
  @inline(__always) public static var userArea: Record<apus_uarea> { Record(kernelAddress: record.value.uarea) }

  /// The record of the running environment.
  @inline(__always) public static var environment: Record<apus_environment> {
    Record(kernelAddress: record.value.environment)
  }

  /// A slot of the running environment's capability list, below `APUS_CAPABILITY_COUNT`.
  @inline(__always) public static func capability(_ slot: UInt64) -> apus_capability {
    let list = UInt64(MemoryLayout<apus_environment>.size - Int(APUS_CAPABILITY_COUNT) * 16)
    let index = slot & UInt64(APUS_CAPABILITY_COUNT - 1)
    return Record(kernelAddress: record.value.environment &+ list &+ index << 4).value
  }

  /// Bytes of a processor's own memory: its record and descriptor tables, three stacks for exceptions that need
  /// their own, the kernel stack.
  public static var memoryByteCount: UInt64 { UInt64(APUS_CPU_MEMORY) }

  /// Loads the descriptor tables and tells the processor where system calls enter.
  ///
  /// - Parameters:
  ///   - memory: Physical address of `memoryByteCount` zeroed bytes, this processor's for good.
  ///   - state: Kernel address of what the kernel keeps for this processor.
  public static func start(memory: UInt64, state: UInt64) {
    let own = Record<apus_cpu>(physical: memory)
    own.value.address = own.kernelAddress
    own.value.state = state
    // Three words pushed at entry leave the stack aligned for a call.
    own.value.stack = own.kernelAddress + memoryByteCount - 8
    apus_load_tables(own.kernelAddress)
    apus_wrmsr(0xc000_0081, 0x18 << 48 | 0x08 << 32)  // STAR
    apus_wrmsr(0xc000_0084, 0x4_7700)  // SFMASK: AC, NT, IOPL, DF, IF, TF
    // SAFETY: only the symbol's address is used.
    unsafe apus_wrmsr(0xc000_0082, UInt64(UInt(bitPattern: apus_system_call_entry_address())))  // LSTAR
    apus_wrmsr(0xc000_0101, own.kernelAddress)  // GS base
    apus_wrmsr(0xc000_0102, 0)  // the user's GS base, until SWAPGS
  }

  /// Loads the kernel's own root: no application's address space is in use then.
  public static func useKernelRoot() {
    // SAFETY: only the symbol's address is used.
    unsafe apus_write_cr3(UInt64(UInt(bitPattern: apus_kernel_root_address())) &- PhysicalMemory.imageBase)
  }

  /// Makes a zeroed XSAVE area say "everything in its initial state".
  ///
  /// MXCSR is loaded from the area whatever its header says (SDM vol. 1, 13.8.1), so it stands there.
  public static func prepareInitialVectors(_ area: KernelBytes) {
    area[24] = 0x80
    area[25] = 0x1f
  }

  /// Writes everything of ring 3 into a parking place.
  ///
  /// The registers that Swift keeps were pushed by Entry.S below the frame.
  ///
  /// - Parameters:
  ///   - place: Kernel address of a parking place, with room for an XSAVE area behind it.
  ///   - frame: The interrupted frame.
  public static func park(in place: Record<apus_parked>, frame: Record<apus_trap_frame>) {
    place.value.frame = frame.value
    place.value.kept =
      Record<apus_kept_registers>(
        kernelAddress: frame.kernelAddress &- UInt64(MemoryLayout<apus_kept_registers>.size)
      ).value
    place.value.fs = apus_read_fs_base()
    place.value.gs = apus_rdmsr(0xc000_0102)  // the user's, as the processor swapped it away
    place.value.selectors = apus_read_selectors()
    // SAFETY: the kernel made the place as large as the processor said.
    unsafe apus_xsave(vectors(of: place), ~0)
  }

  /// Goes on where an environment was parked, in its address space.
  ///
  /// - Parameter place: Its parking place.
  public static func resume(_ place: Record<apus_parked>) -> Never {
    // SAFETY: `park` filled the area.
    unsafe apus_xrstor(vectors(of: place), ~0)
    apus_resume(place.kernelAddress)
  }

  private static func vectors(of place: Record<apus_parked>) -> UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(bitPattern: UInt(place.kernelAddress) + UInt(APUS_PARKED_SIZE)).unsafelyUnwrapped
  }

  /// Puts the vector registers into their initial state.
  ///
  /// - Parameter area: What `prepareInitialVectors` made.
  public static func resetVectors(from area: KernelBytes) {
    // SAFETY: the area is as large as the processor said.
    unsafe apus_xrstor(UnsafeRawPointer(bitPattern: UInt(area.address)).unsafelyUnwrapped, ~0)
  }
}
