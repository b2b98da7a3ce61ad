// SPDX-License-Identifier: Apache-2.0
// SystemCall.swift: everything the kernel does, on one screen.
//
// A call is SYSCALL with eax = 0x8000_0000 | number and up to five arguments in rdi, rsi, rdx, r10, r8.
// rax returns a value (not negative) or minus a SystemCallError. rbx, rbp, rsp, r12-r15 are kept, every other
// general register is cleared. A call that fails has changed nothing. Garbage (an unknown number, a pointer
// that is not the caller's, a capability slot out of range) is no error value but a fault on the caller:
// its exception entry runs with cause APUS_CAUSE_CONTRACT.
//
// `cap` is a slot in the caller's capability list. Frames, tables, environments and devices carry a guard (a
// capability name); a call is allowed if the capability's name is a prefix of the guard and holds the right.
// A page-table entry in an argument is the processor's own (frame << 12 | bits): present, writable (bit 1),
// accessed, dirty, the software bits 9-11 and 52-58, a protection key (bits 59-62), no-execute (bit 63). User is
// always set, global never.

/// A call to the kernel.
///
/// Numbers are never reused.
public enum SystemCall: UInt32 {
  /// `() -> 0`: does nothing; the cost of a crossing.
  case null = 0x00
  /// `(target) -> never`: ends this slice's use; the rest goes to environment `target`, or 0: to whoever is next.
  /// Execution goes on at the slice-begin entry of a later slice.
  case yield = 0x01
  /// `(word, value, deadline, target) -> 1 or never`: sleeps until the 64-bit word at address `word` (0: none)
  /// differs from `value` or the counter reaches `deadline`; the rest of the slice goes to `target` as in yield.
  /// Returns 1 at once if that is so already; otherwise execution goes on at the slice-begin entry.
  case sleep = 0x02
  /// `(target, deadline) -> reply`: protected control transfer: environment `target` goes on at its protected entry with
  /// the rest of the slice, and until it returns with the caller's later slices, which waits. The message is rdx, r8, r10,
  /// rbx, rbp, r12-r15 as they stand; the reply arrives in the same at the caller's reply entry. When the counter reaches
  /// `deadline`, or the target ends, the caller goes on there without one.
  case transfer = 0x03
  /// `() -> never`: ends the service of the environment that entered the caller: that goes on at its reply entry, with
  /// the message and the rest of the slice. The caller accepts again.
  case transferReturn = 0x04
  /// `(target) -> never`: as transfer, but gives the rest of the slice away: nobody waits, nothing comes back.
  case transferAsynchronously = 0x05

  /// `(list, count, deadline, target) -> which or never`: as sleep, for any of up to four words; `list` has address and
  /// value of each. Returns at once, with the index of the first that differs or `count` at the deadline, if so already.
  case waitAny = 0x0c

  /// `(cap, slice, environment) -> slice`: takes a free slice for an environment. A slice is CPU << 16 | index;
  /// index 0xffff: the lowest that is free on that CPU; -1: the same on the caller's own.
  case sliceAllocate = 0x08
  /// `(cap, slice) -> 0`: gives a slice back.
  case sliceFree = 0x09
  /// `(cap, environment, period, slice, cpu) -> contract`: from now on an environment gets `slice` ticks of a CPU in
  /// each `period`, whatever others do. `exhausted` if that cannot be promised beside all other contracts.
  case contract = 0x0a
  /// `(cap, contract) -> 0`: ends a contract.
  case contractEnd = 0x0b

  /// `(cap, list, count, flags) -> count`: takes frames; `list` (UInt64 frame numbers) is filled, or with
  /// `FrameAllocateFlags.named` says which. At most 64; fewer when memory runs out, `exhausted` when none.
  /// Guard: the capability's name. Zeroed, unless `.dirty` is given and the same guard held the frame last.
  case frameAllocate = 0x10
  /// `(cap, list, count) -> count`: gives back ordinary frames that nothing maps or pins. At most 512.
  case frameFree = 0x11
  /// `(cap, frame, length, name) -> 0`: gives an ordinary frame a longer guard (`name`, `length` bytes).
  case frameGuard = 0x12

  /// `(cap, list, count, to) -> count`: gives ordinary frames that nothing maps or pins, with what is in them, to the
  /// account of the caller's capability `to`, under whose name they are then and whose budget pays. At most 512.
  case frameTransfer = 0x13

  /// `(cap, root, address, level, frame) -> 0`: makes an ordinary, unmapped frame a zeroed page table of `level`
  /// (1-3) and links it for `address`; or links a table of that level that exists. Level 4: makes a root.
  case tableInstall = 0x18
  /// `(cap, root, address, level) -> frame`: unlinks a table; when that was its last link, its level-1 entries
  /// are unmapped (level 2-4 must be empty) and the frame is ordinary again.
  case tableRemove = 0x19
  /// `(caps, root, address, count, entries) -> count`: writes consecutive level-1 entries from an array; an
  /// entry without the present bit unmaps. 512 in one call: go on from there. `caps`: table authority | frame authority << 8.
  case pagesWrite = 0x1a
  /// `(caps, root, address, count | set << 16, keep) -> count`: present entries become (old & keep) | set.
  /// 512 in one call, go on from there. What may change: writable, no-execute, accessed, dirty, software bits. `set` is
  /// given as `entry bits 0-11 | no-execute << 12`; `keep` is a full mask.
  case pagesProtect = 0x1b
  /// `(caps, root, address, count, bits) -> first frame << 16 | count`: takes free frames and maps them, zeroed, at
  /// consecutive pages where nothing is mapped. At most 64; fewer at the end of a 2 MiB region, or when frames run
  /// out. `bits` as `set` of pagesProtect, with the present bit. The frames' guard: the frame authority's name.
  case pagesFill = 0x1c
  /// `(caps, root, address, count, flags) -> count`: unmaps pages, passing over what is not mapped, and, unless flag
  /// 1 says no, gives back those frames that nothing else maps or pins and the frame authority reaches. Returns how
  /// many pages are done: 512 in one call where all are mapped; go on from there.
  case pagesRelease = 0x1d
  /// `(cap, root, address) -> table`: the 512 pages of a level-1 table, which map consecutive frames from a multiple of
  /// 512 on with the same bits, become one large page. The table stands behind it, and is out of reach meanwhile.
  case pagesPromote = 0x1e
  /// `(cap, table) -> 0`: the large page that a table stands behind becomes that table's 512 pages again.
  case pagesDemote = 0x1f

  /// `(cap, root, u-area frame, u-area address, caps to copy) -> environment`: makes an environment in the
  /// capability's account, runnable once it owns a slice. Bit n of the last argument copies capability n; into another
  /// account only one that may be granted.
  case environmentCreate = 0x20
  /// `(cap, environment, target) -> 0`: ends an environment. 0 ends the caller; the rest of the slice then goes to
  /// `target` as in yield.
  case environmentKill = 0x21

  /// `(cap, to, length | rights << 8, name) -> 0`: writes into slot `to` a capability dominated by `cap`.
  case capabilityForge = 0x28
  /// `(cap, from, environment, to) -> 0`: copies the caller's capability `from` into another environment.
  case capabilityGrant = 0x29
  /// `(slot) -> 0`: empties a slot.
  case capabilityDrop = 0x2a
  /// `(cap, account, kind, limit) -> 0`: sets how much of an `AccountKind` an account may hold, whose name `cap`
  /// dominates. What it gains the caller's account loses, and the other way round.
  case accountLimit = 0x2b

  /// `(cap, stream, bytes, count) -> count`: sends at most 4,096 bytes on a console stream; 0: no room
  /// now: the information page's console_output_count changes when there is.
  case consoleWrite = 0x30
  /// `(cap, bytes, count) -> count`: takes at most 4,096 bytes that have arrived.
  case consoleRead = 0x31
  /// `(cap, status) -> never`: powers the machine off.
  case powerOff = 0x32

  /// `(cap, target, kind, count, deadline) -> count`: asks an account (its number, or an environment of it) to give
  /// back frames or slices until the counter reaches `deadline`; the kernel then takes what is missing by force.
  /// Returns how many more will come: fewer when the guaranteed minimum stops it, `exhausted` when none.
  case revoke = 0x38
  /// `(cap, frame or -1) -> 0`: makes an own frame the account's repossession vector, pinned; -1: none any more.
  case repossessionVector = 0x39
  /// `(cap, target, kind, count) -> 0`: sets how many frames or slices an account keeps whatever is asked of it.
  case guaranteedMinimum = 0x3a
  /// `(cap, address) -> 0`: makes the caller's page at `address` (0: none) its ring of calls, `struct apus_ring`.
  case ringRegister = 0x40
  /// `(cap, environment) -> count`: makes calls that wait in the ring of an environment, or 0: the caller, in its name.
  case ringDrain = 0x41
  /// `(list, count) -> count`: makes the calls of a list (`struct apus_call`) in order, up to and with the first that
  /// fails; fewer when they take too long: go on from there. Not for calls that end the use of the CPU.
  case batch = 0x42

  /// `() -> 0`: tells CPUs that halt to look again at the words that environments sleep on.
  case notify = 0x48

  /// `(cap, header, list, count) -> ring`: makes a ring for packets out of a header frame (`struct apus_packet_ring`)
  /// and up to 256 frames for one packet each, all of them the caller's account's, pinned until the ring ends.
  case packetRingCreate = 0x50
  /// `(cap, ring) -> 0`: ends a ring that no filter leads to any more.
  case packetRingEnd = 0x51
  /// `(caps, ring, list, count) -> filter`: from now on packets for which the atoms of the list hold go to a ring. An
  /// atom is two words: offset | width << 16 | kind << 24 | mask << 32, and the value. `caps`: ring authority | card
  /// authority << 8, with which it may overlap filters of others. Otherwise `overlap` | filter << 8 | account << 32.
  case filterInsert = 0x52
  /// `(cap, filter) -> 0`: takes a filter out.
  case filterRemove = 0x53
  /// `(caps, ring, list, count) -> count`: sends packets (`struct apus_transmit`), at most 16, and takes in what has
  /// arrived; fewer when the card has no room. Each mirrors a filter of the ring, unless the card authority is there.
  case transmit = 0x54

  /// `(cap, use | slots << 8, address, list, count) -> program`: takes BPF instructions (RFC 9669) at `address`, at most
  /// 512, for a `ProgramUse`. `list` has 2 to 8 ordinary, unmapped frames for the kernel to work in; all but the first
  /// come back when the program is ready, that one when it ends.
  case programCreate = 0x58
  /// `(cap, program) -> 1 or 0`: verifies and compiles some more of a program: 1 if there is more to do, 0 when it is
  /// ready. One that is refused has ended.
  case programVerify = 0x59
  /// `(cap, program) -> 0`: ends a program; what is bound to it runs no more.
  case programEnd = 0x5a
  /// `(cap, filter, program, memory frame | reply frame << 32) -> 0`: from now on a filter's packets meet a program of
  /// its account first: a packet filter narrows it, a handler may handle them; 0: none.
  case handlerBind = 0x5b
  /// `(cap, program, list, deadline) -> 1 or never`: sleeps until a wakeup predicate says so, which is asked whenever
  /// the caller's turn has come, or until the deadline. `list` has the addresses of eight words, 0 for none. Returns 1 at
  /// once if that is so already; otherwise as sleep.
  case predicateSleep = 0x5c
}

/// Flags of `frameAllocate`.
public struct FrameAllocateFlags {
  /// The bits as the call takes them.
  public let rawValue: UInt64
  /// Makes flags of the bits of an argument.
  public init(rawValue: UInt64) { self.rawValue = rawValue }
  /// The list says which frames.
  public static var named: FrameAllocateFlags { .init(rawValue: 1) }
  /// Old contents will do, if they are the caller's own.
  public static var dirty: FrameAllocateFlags { .init(rawValue: 2) }
}

/// What an account has a budget of.
public enum AccountKind: UInt64, Sendable {
  /// Frames of any type.
  case frames = 0
  /// Slots of the environment table.
  case environments = 1
  /// Slices of any CPU's timeline.
  case slices = 2
  /// Time by contract, in millionths of a CPU.
  case time = 3
}

/// What can be asked back.
public enum RevocationKind: UInt64, Sendable {
  /// Frames, whichever the account chooses.
  case frames = 1
  /// Slices of a timeline.
  case slices = 2
}

/// What a program is for.
public enum ProgramUse: UInt64, Sendable {
  /// r1 the packet, r2 its end; 1 takes it.
  case packetFilter = 1
  /// r1 the packet, r2 its end, r3 4,096 bytes of memory, r4 1,514 of a reply; 0 has handled it.
  case packetHandler = 2
  /// r1 eight words, r2 the counter; 1 wakes.
  case wakeupPredicate = 3
}

/// What a correct caller can meet.
public enum SystemCallError: UInt8, Error {
  /// No capability in that slot, or its name or rights do not reach the resource.
  case denied = 1
  /// Nothing of that kind is left.
  case exhausted = 2
  /// The frame number, slice or environment does not exist.
  case noSuchResource = 3
  /// The frame is not of the type that the call needs.
  case wrongType = 4
  /// The resource is still mapped, linked, pinned or owned.
  case inUse = 5
  /// A page table is missing on the way to the address.
  case noTable = 6
  /// A page table is there already.
  case tableExists = 7
  /// The argument is outside its range.
  case invalid = 8
  /// The time for it has passed: the slice has ended, or the deadline.
  case expired = 9
  /// The account's budget has no room for it.
  case quotaExceeded = 10
  /// Another CPU may still use an old translation to the frame: call again, it takes microseconds.
  case flushPending = 11
  /// A packet filter of another account takes packets that the new one would take.
  case overlap = 12
  /// The program breaks a rule of the verifier: bits 8-15 say which (or 128 + what keeps it from being a program), bits
  /// 16-31 at which slot.
  case refused = 13
  /// In a list or a ring only: the caller broke the contract, which by itself would be a fault.
  case garbage = 255
}
