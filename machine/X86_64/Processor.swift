// SPDX-License-Identifier: Apache-2.0
// Processor.swift: what this CPU can do, and switching it on. Features are detected, never assumed.

import CShims

/// Why the kernel will not run on a CPU.
public enum ProcessorRefusal: Error {
  /// No FSGSBASE: a LibOS could not keep the application's FS base.
  case noBaseInstructions
  /// No XSAVE: a LibOS could not save vector state.
  case noExtendedState
  /// Ring 3 could read the kernel's memory speculatively (Meltdown, CVE-2017-5754).
  case openToMeltdown
}

/// The CPU's features.
public struct Processor {
  /// Bits of XCR0 that are on, but for the rights of protection keys: those are no vectors.
  public private(set) var extendedStateMask: UInt64 = 0
  /// Bytes of an XSAVE area with that mask.
  public private(set) var extendedStateSize: UInt64 = 0
  /// Bytes of an XSAVE area with everything that is on.
  public private(set) var wholeStateSize: UInt64 = 0
  /// Whether pages have protection keys: they were asked for, and the CPU has them.
  public private(set) var hasProtectionKeys = false
  private let leaf7: apus_cpuid
  private let leaf1: apus_cpuid

  private init() {
    leaf7 = apus_cpuid(7, 0)
    leaf1 = apus_cpuid(1, 0)
  }

  /// Looks at the CPU and switches on what the kernel relies on.
  ///
  /// - Parameters:
  ///   - acceptMeltdown: Run all the same on a CPU open to Meltdown; the command line asks for it.
  ///   - protectionKeys: Switch them on where they are; the command line asks for it.
  /// - Returns: What the CPU has.
  /// - Throws: `ProcessorRefusal` if something indispensable is not there.
  public static func start(
    acceptMeltdown: Bool, protectionKeys: Bool
  ) throws(ProcessorRefusal) -> Processor {
    var processor = Processor()
    guard processor.leaf7.ebx & 1 != 0 else { throw .noBaseInstructions }
    guard processor.leaf1.ecx & (1 << 26) != 0 else { throw .noExtendedState }
    guard acceptMeltdown || !processor.openToMeltdown else { throw .openToMeltdown }
    processor.hasProtectionKeys = protectionKeys && processor.leaf7.ecx & (1 << 3) != 0
    processor.enable()
    return processor
  }

  /// AMD and its licensees are not affected; Intel says so in IA32_ARCH_CAPABILITIES bit 0 (RDCL_NO);
  /// an emulator does not speculate.
  private var openToMeltdown: Bool {
    let vendor = apus_cpuid(0, 0)
    if vendor.ebx == 0x6874_7541 || vendor.ebx == 0x6f67_7948 { return false }  // "Auth", "Hygo"
    if isEmulated { return false }
    guard leaf7.edx & (1 << 29) != 0 else { return true }
    return apus_rdmsr(0x10a) & 1 == 0
  }

  /// Whether QEMU's code generator executes the instructions: its signature begins with "TCGT".
  private var isEmulated: Bool {
    leaf1.ecx & (1 << 31) != 0 && apus_cpuid(0x4000_0000, 0).ebx == 0x5447_4354
  }

  /// Switches on, on the CPU that runs this, what the kernel relies on.
  public mutating func enable() {
    // Write protection also for ring 0; alignment checks off; x87 native errors.
    apus_write_cr0((apus_read_cr0() | 1 << 16 | 1 << 5 | 1 << 1) & ~(1 << 18 | 1 << 2 | 1 << 3))
    var cr4 = apus_read_cr4()
    cr4 |= 1 << 9 | 1 << 10 | 1 << 16 | 1 << 18  // OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE
    if leaf1.edx & (1 << 13) != 0 { cr4 |= 1 << 7 }  // global pages
    if leaf7.ebx & (1 << 7) != 0 { cr4 |= 1 << 20 }  // SMEP
    // SMAP: the kernel never uses a user address, so it guards against bugs only. QEMU's emulation reads the stack
    // of a ring-3 IRET with the kernel's rights, which SMAP then refuses: off there, as a LibOS returns by IRET.
    if leaf7.ebx & (1 << 20) != 0, !isEmulated { cr4 |= 1 << 21 }
    if leaf7.ecx & (1 << 2) != 0 { cr4 |= 1 << 11 }  // UMIP
    if hasProtectionKeys { cr4 |= 1 << 22 }
    apus_write_cr4(cr4)

    // x87, SSE, AVX and the AVX-512 triple where the CPU has them (SDM vol. 1, 13.1).
    let supported = apus_cpuid(0xd, 0)
    var mask = UInt64(supported.eax) & 0b111
    if supported.eax & 0xe0 == 0xe0 { mask |= 0xe0 }
    apus_xsetbv(0, mask)
    extendedStateMask = mask
    extendedStateSize = UInt64(apus_cpuid(0xd, 0).ebx)
    // With the keys' rights (PKRU) in it, whoever saves or resets vectors in the kernel does the same with these.
    if hasProtectionKeys { apus_xsetbv(0, mask | 1 << 9) }
    wholeStateSize = UInt64(apus_cpuid(0xd, 0).ebx)
  }
}
