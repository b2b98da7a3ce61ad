// SPDX-License-Identifier: Apache-2.0
// Program.swift: BPF programs that a LibOS brings into the kernel, and what they are bound to.

import ApusABI
import CRuntime

/// A program that the kernel has verified and compiled.
public struct Program: Sendable {
  let name: UInt64
  /// Where the instructions lie.
  private let frame: UInt64

  /// Why the kernel has not taken a program.
  public struct Refusal: Error {
    /// The kernel's error.
    public let error: SystemCallError
    /// With `refused`: the verifier's rule, or 128 + what keeps it from being a program.
    public let reason: UInt8
    /// With `refused`: where.
    public let slot: Int

    /// Any other error.
    init(_ error: SystemCallError) {
      self.error = error
      reason = 0
      slot = 0
    }

    /// What the kernel's refusal says.
    init(answer: Int64) {
      let bits = UInt64(bitPattern: -answer)
      error = SystemCallError(rawValue: UInt8(truncatingIfNeeded: bits)) ?? .invalid
      reason = UInt8(truncatingIfNeeded: bits >> 8)
      slot = Int(bits >> 16 & 0xffff)
    }
  }

  /// Brings a program into the kernel.
  ///
  /// - Parameters:
  ///   - slots: Its instructions (RFC 9669), at most 512.
  ///   - use: What it is for.
  /// - Throws: Why it is not taken.
  public init(_ slots: Bytes, for use: ProgramUse) throws(Refusal) {
    guard let page = Page.allocate(zeroed: false) else { throw Refusal(.exhausted) }
    defer { page.release() }
    let list = page.bytes.address
    do throws(SystemCallError) {
      let taken = try kernelCall(.frameAllocate, CapabilitySlot.family, list, Self.frameCount, 0)
      guard taken == Self.frameCount else {
        _ = try kernelCall(.frameFree, CapabilitySlot.family, list, taken)
        throw .exhausted
      }
      frame = page.bytes.load(0, as: UInt64.self)
    } catch { throw Refusal(error) }
    let what = use.rawValue | UInt64(slots.count / 8) << 8
    var result = Self.call(.programCreate, what, slots.address, list, Self.frameCount)
    name = UInt64(bitPattern: result)
    if result >= 0 {
      repeat { result = Self.call(.programVerify, name) } while result > 0
    }
    // What is refused has all its frames back; otherwise the first stays with the program.
    let kept: UInt64 = result < 0 ? 0 : 1
    _ = Self.call(.frameFree, list + kept * 8, Self.frameCount - kept)
    if result < 0 { throw Refusal(answer: result) }
  }

  private static var frameCount: UInt64 { 4 }
  private static func call(
    _ call: SystemCall, _ a: UInt64, _ b: UInt64 = 0, _ c: UInt64 = 0, _ d: UInt64 = 0
  ) -> Int64 {
    var result: Int64
    repeat {
      result = apus_call(call.rawValue, CapabilitySlot.family, a, b, c, d)
    } while result
      == -Int64(SystemCallError.flushPending.rawValue)
    return result
  }

  /// Ends the program.
  public func end() {
    guard let page = Page.allocate(zeroed: false) else { return }
    page.bytes.store(frame, at: 0)
    _ = Self.call(.programEnd, name)
    _ = Self.call(.frameFree, page.bytes.address, 1)
    page.release()
  }

  /// Lets the program have a filter's packets first.
  ///
  /// - Parameters:
  ///   - filter: A filter of the family's.
  ///   - memory: A handler's memory; for a packet filter it is not used.
  ///   - reply: Where a handler makes its replies.
  /// - Throws: The kernel's error.
  public func bind(to filter: UInt32, memory: Page, reply: Page) throws(Refusal) {
    let frames = UInt64(memory.frame) | UInt64(reply.frame) << 32
    let result = Self.call(.handlerBind, UInt64(filter), name, frames)
    if result < 0 { throw Refusal(answer: result) }
  }
}
