// SPDX-License-Identifier: Apache-2.0
// Kernel.swift: the kernel's state, in one place. Everything that decides is in core/; this binds it to the machine.

import ApusABI
import ApusCapabilities
import ApusMachine
import ApusResources
import CApusABI
import CShims

typealias FrameTable = Table<apus_frame>

/// What the kernel remembers once, for all CPUs.
struct Kernel {
  var frames: FrameLedger<FrameTable, Table<apus_account>>
  let tables: PageTables<FrameTable, TableFrames>
  var environments: EnvironmentTable<Table<apus_environment>, Table<apus_account>>
  let interrupts: InterruptController
  let processor: Processor
  var console: Console
  /// The words of the call in progress, copied from ring 3.
  let words: WordBuffer
  /// The calls of the batch in progress, copied likewise.
  let calls: WordBuffer
  /// One frame for bytes on their way from and to ring 3.
  let bytes: KernelBytes
  let information: Record<apus_information>
  /// An XSAVE area that says "everything in its initial state".
  let initialVectors: KernelBytes

  /// Where environments are stopped in the middle of something.
  var parking: ParkingPlaces
  /// What each CPU remembers of its own.
  let processors: Table<ProcessorState>
  /// Physical address of the CPUs' own memory, `ThisProcessor.memoryByteCount` each.
  let processorMemory: UInt64
  let programs: Record<Programs>
  /// The network card and who has its packets, if there is a card.
  let network: Record<Network>?
  /// The last flush epoch that was asked for.
  var flushEpoch: UInt32 = 0

  /// Whether there are environments that died and still hold slices and pins.
  var hasDying = false
  /// Accounts without environments whose frames are still out.
  let dying: AccountSet
  /// Accounts that are reclaimed but for frames that somebody else still pins.
  let held: AccountSet
  /// Whether `dying` or `reclaim` has anything, and whether `held` has: asked on hot paths, which need not search.
  var isReclaiming = false
  var isHolding = false
  /// The one whose frames are on their way back, and how far that is.
  var reclaimAccount: UInt16 = 0
  var reclaim: ReclaimCursor? = nil
  /// Who is asked for what, and what is being taken by force, from whom.
  var revocations: Revocations<Table<apus_revocation>>
  var repossession = Repossession()
  var repossessedAccount: UInt16 = 0
  /// The CPU whose timeline is looked through next for slices to take.
  var repossessedProcessor: UInt32 = 0
  let events: Events
}

/// What a CPU remembers of its own.
struct ProcessorState {
  /// The CPU's number: its place in the table of CPUs and the upper part of its slices' names.
  let index: UInt32
  var timeline: Timeline<Table<apus_slice>>
  var contracts: Contracts<Table<apus_contract>>
  /// The interrupt identifier.
  var identifier: UInt8 = 0
  /// Whether the CPU halts, or is about to, and should be kicked when something has happened.
  var isIdle = false
  /// Counter at which the running slice ends.
  var sliceEnd: UInt64 = 0 { didSet { wholeSliceEnd = 0 } }
  /// Counter at which the environment that is charged began to use the slice.
  var ranSince: UInt64 = 0
  /// Handle of the environment to whom the slice is charged: it began it, and may have transferred control since.
  var charged: UInt64 = 0
  /// The slice in use.
  var slice: UInt32 = 0
  /// Whether the running environment has been told that its slice ended, and until when it may go on.
  var grace: UInt64 = 0 { didSet { sliceChanged() } }
  /// Counter at which the slice really ends, while a transfer's deadline stands in `sliceEnd`; else 0.
  var wholeSliceEnd: UInt64 = 0 { didSet { sliceChanged() } }
  /// How many steps of the grace are left.
  var graceSteps: UInt32 = 0
  /// Until when the running environment may save itself although a contract's time has come.
  var savingEnd: UInt64 = 0
  /// The contract whose time is running, or `noContract`.
  var contract: UInt32 = noContract
  /// Which version of all downloaded code this CPU may have cached.
  var codeVersion: UInt64 = 0
  /// Counter at which a contract's time may come.
  var nextEvent = UInt64.max
  /// What is left of the slice that was interrupted.
  var rest = SliceRest()
  /// The argument with which the call in progress broke the contract.
  var garbage: UInt64 = 0
  /// Whether the running environment was told that its time ends before it is used up: what is left is kept.
  var isInterrupted = false

  /// The running environment's slot.
  var current: UInt32 { UInt32(truncatingIfNeeded: ThisProcessor.environment.value.handle) &- 1 }
  /// The root that CR3 holds.
  var loadedRoot: UInt32 {
    get { UInt32(truncatingIfNeeded: ThisProcessor.record.value.loaded_root) }
    nonmutating set { ThisProcessor.record.value.loaded_root = UInt64(newValue) }
  }
  /// The account that ran last: its vector registers are still there.
  var vectorsAccount: UInt16 {
    get { UInt16(truncatingIfNeeded: ThisProcessor.record.value.vectors_account) }
    nonmutating set { ThisProcessor.record.value.vectors_account = UInt64(newValue) }
  }

  /// Tells Transfer.S what it may decide by itself: nothing once the slice has ended; no call whose deadline lies
  /// within the slice; no return while such a deadline has to be taken back.
  private func sliceChanged() {
    // Events are written in Swift: all transfers take that way while they are kept.
    let isNoted = kernel.events.isOn
    ThisProcessor.record.value.transfer_limit = grace != 0 || isNoted ? UInt64.max : sliceEnd
    ThisProcessor.record.value.return_slowly = isNoted ? 1 : grace | wholeSliceEnd
  }
}

/// The state of the CPU that runs this code.
var here: ProcessorState {
  // SAFETY: the pointer is set before the CPU's first interrupt or system call, and only that CPU follows it.
  @inline(__always) unsafeAddress { unsafe UnsafePointer(ownState()) }
  @inline(__always) unsafeMutableAddress { unsafe ownState() }
}

@inline(__always) private func ownState() -> UnsafeMutablePointer<ProcessorState> {
  unsafe UnsafeMutablePointer<ProcessorState>(bitPattern: UInt(apus_this_cpu().pointee.state)).unsafelyUnwrapped
}

/// Where the state lies: in memory taken at boot, so that no initialiser has to run.
nonisolated(unsafe) private var state: UnsafeMutablePointer<Kernel>?

/// The kernel's state.
var kernel: Kernel {
  // SAFETY: set once before the first interrupt or system call; used under the kernel's lock, interrupts off.
  @inline(__always) unsafeAddress { unsafe UnsafePointer(state.unsafelyUnwrapped) }
  @inline(__always) unsafeMutableAddress { unsafe state.unsafelyUnwrapped }
}

/// Puts the state in place.
///
/// - Parameters:
///   - kernel: The state, which from here on stands there alone.
///   - physical: Zeroed boot memory of sufficient size.
func install(_ kernel: consuming Kernel, at physical: UInt64) {
  // SAFETY: the memory was taken for this and is used for nothing else.
  unsafe state = PhysicalMemory.pointer(physical).bindMemory(to: Kernel.self, capacity: 1)
  unsafe state?.initialize(to: kernel)
}
