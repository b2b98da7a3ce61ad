// SPDX-License-Identifier: Apache-2.0
// NativeProgram.swift: runs compiled programs on the host, in executable memory that nothing may write.

import ApusBPF
import ApusBPFTools
import Glibc

/// Why a program cannot be run natively.
public enum NativeError: Error, Equatable {
  /// The compiler refused it.
  case program(ProgramError)
  /// The host gave no executable memory.
  case memory
}

/// A compiled program in executable memory of its own.
@safe
public final class NativeProgram {
  /// The entry: r1 to r5 and the top of the stack; the result is r0.
  private typealias Entry = @convention(c) (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) -> UInt64

  private let pages: UnsafeMutableRawPointer
  private let pageByteCount: Int
  /// The machine code.
  public let code: [UInt8]

  /// Compiles a program.
  ///
  /// - Parameters:
  ///   - program: A program that the verifier accepted, or that the caller trusts with this process.
  ///   - helpers: Its helpers, functions of the C calling convention.
  /// - Throws: Why there is no code to run.
  public init(
    compiling program: [UInt64], helpers: some HelperAddresses = NoHelpers()
  ) throws(NativeError) {
    let code = try Self.compile(program, helpers: helpers)
    let size = (code.count + 4095) / 4096 * 4096
    guard
      let pages = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      unsafe pages != MAP_FAILED
    else { throw .memory }
    // SAFETY: the mapping is at least as long as the code, and nobody else knows of it.
    unsafe UnsafeMutableRawBufferPointer(start: pages, count: size).copyBytes(from: code)
    guard unsafe mprotect(pages, size, PROT_READ | PROT_EXEC) == 0 else {
      unsafe munmap(pages, size)
      throw .memory
    }
    unsafe self.pages = pages
    pageByteCount = size
    self.code = code
  }

  deinit { unsafe munmap(pages, pageByteCount) }

  /// Compiles without making anything executable.
  public static func compile(
    _ program: [UInt64], helpers: some HelperAddresses = NoHelpers()
  ) throws(NativeError) -> [UInt8] {
    var compiler = Compiler(
      into: HeapCode(capacity: 256 + program.count * 96), marks: HeapWords(count: program.count))
    do throws(ProgramError) {
      let count = try compiler.compile(program.span, helpers: helpers)
      return Array(compiler.end().bytes.prefix(count))
    } catch { throw .program(error) }
  }

  /// Runs the program.
  ///
  /// - Parameters:
  ///   - arguments: r1 to r5.
  ///   - stack: Where its stack is.
  /// - Returns: r0.
  public func run(_ arguments: InlineArray<5, UInt64>, stack: NativeMemory) -> UInt64 {
    // SAFETY: the pages hold a function of this type, and stay mapped while self is alive.
    let entry = unsafe unsafeBitCast(pages, to: Entry.self)
    return withExtendedLifetime(self) {
      entry(
        arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], stack.end)
    }
  }
}

/// Real memory at an address of its own, for programs that run natively.
@safe
public final class NativeMemory {
  private let start: UnsafeMutableRawPointer
  /// How many bytes there are.
  public let byteCount: Int

  /// Allocates memory with the given contents, aligned to 16 bytes.
  public init(_ bytes: [UInt8]) {
    byteCount = bytes.count
    unsafe start = .allocate(byteCount: max(bytes.count, 16), alignment: 16)
    self.bytes = bytes
  }

  /// Allocates a stack of zeros.
  public static func stack() -> NativeMemory {
    NativeMemory(Array(repeating: 0, count: ProgramLimits.stackByteCount))
  }

  deinit { unsafe start.deallocate() }

  /// The address of the first byte.
  public var address: UInt64 { unsafe UInt64(UInt(bitPattern: start)) }
  /// The address after the last byte.
  public var end: UInt64 { address + UInt64(byteCount) }

  /// The contents; setting them needs as many bytes as there are.
  public var bytes: [UInt8] {
    get { unsafe Array(UnsafeRawBufferPointer(start: start, count: byteCount)) }
    set {
      precondition(newValue.count == byteCount)
      // SAFETY: the allocation has byteCount bytes, as many as are copied.
      unsafe UnsafeMutableRawBufferPointer(start: start, count: byteCount).copyBytes(from: newValue)
    }
  }
}
