// SPDX-License-Identifier: Apache-2.0
// Handlers.swift: programs that run when a packet arrives, for the filter that claims it: they narrow the filter, or
// handle the packet in their owner's place. Their time is their owner's, who pays for it with slices.

import ApusABI
import ApusBPF
import ApusCapabilities
import ApusDrivers
import ApusMachine
import ApusPacketFilter
import ApusResources
import CApusABI
import CShims

/// What a filter is bound to.
///
/// The frames are not pinned: the binding ends when one is not the owner's any more.
struct HandlerBinding {
  /// The program's name; 0: there is none.
  var program: UInt64 = 0
  var memory: UInt32 = 0
  var reply: UInt32 = 0
}

/// The handler that runs, for the functions that it calls.
///
/// They reach it and nothing else of what the kernel is changing meanwhile.
struct HandlerRun {
  fileprivate var packet: KernelBytes?
  fileprivate var memory = KernelBytes(physical: 0, count: 0)
  fileprivate var reply = KernelBytes(physical: 0, count: 0)
  fileprivate var filter: UInt32 = 0
  fileprivate var header: UInt64 = 0
  fileprivate var mayReply = false
  /// A copy of the reply, which its owner cannot change any more, and how much of it is to be sent.
  fileprivate var copy = KernelBytes(physical: 0, count: 0)
  var replyCount = 0
  /// What is to be sent.
  var toSend: KernelBytes { copy.part(0, replyCount) }

  /// Makes one with room for a copy.
  init(copy: UInt64) { self.copy = KernelBytes(physical: copy, count: Int(UseSize.reply)) }
}

extension Programs {
  /// `handlerBind`: binds a filter to a program of the same account, or to none.
  ///
  /// - Parameters:
  ///   - filter: A filter that there is.
  ///   - name: The program's name, or 0.
  ///   - frames: The frames of a handler's memory and, in the upper half, its reply.
  ///   - capability: What reaches all of them.
  /// - Returns: 0.
  /// - Throws: As in docs/systemcalls.
  func bind(
    _ filter: UInt64, to name: UInt64, _ frames: UInt64, by capability: Capability
  ) throws(SystemCallError) -> UInt64 {
    let filter = UInt32(filter)
    guard name != 0 else {
      bindings[filter].program = 0
      return 0
    }
    let program = try program(name, by: capability)
    guard program.value.stage == .ready, program.value.use != .wakeupPredicate else { throw .wrongType }
    guard let network = kernel.network,
      network.value.filters.memory.filters[filter].account == program.value.account
    else { throw .denied }
    var binding = HandlerBinding(program: name)
    if program.value.use == .packetHandler {
      (binding.memory, binding.reply) = (UInt32(truncatingIfNeeded: frames), UInt32(frames >> 32))
      let table = kernel.frames.frames
      let named: [2 of UInt32] = [binding.memory, binding.reply]
      for index in 0..<2 {
        let frame = named[index]
        guard frame < table.count else { throw .noSuchResource }
        guard table[frame].isOrdinary else { throw .wrongType }
        guard table[frame].account == program.value.account, table[frame].isReached(by: capability, needing: .write)
        else {
          throw .denied
        }
      }
    }
    // Without a record there would be nowhere to note what the account owes.
    let debtor = try kernel.revocations.record(of: program.value.account)
    try kernel.revocations.setMinimum(debtor.value.frames.minimum, of: .frames, account: program.value.account)
    bindings[filter] = binding
    return 0
  }

  /// Lets a filter's program have a packet.
  ///
  /// - Returns: Whether the packet goes to the ring as if there were none, and what that has cost at most.
  func handle(
    _ packet: KernelBytes, _ filter: UInt32, header: UInt64, mayReply: Bool
  ) -> (verdict: HandlerVerdict, cost: UInt64) {
    let binding = bindings[filter]
    guard binding.program != 0, let program = program(binding.program) else { return (.deliver, 0) }
    let start = apus_rdtsc()
    let end = packet.address &+ UInt64(packet.count)
    var verdict = HandlerVerdict.unclaimed
    if program.value.use == .packetFilter {
      if run(program, binding.program, packet.address, end) != 0 { verdict = .deliver }
    } else {
      let frames = kernel.frames.frames
      guard frames[binding.memory].isOrdinary, frames[binding.memory].account == program.value.account,
        frames[binding.reply].isOrdinary, frames[binding.reply].account == program.value.account
      else { return (.deliver, 0) }
      let (memory, reply) = (UInt64(binding.memory) << 12, UInt64(binding.reply) << 12)
      current.value.packet = packet
      current.value.memory = KernelBytes(physical: memory, count: Int(UseSize.handlerMemory))
      current.value.reply = KernelBytes(physical: reply, count: Int(UseSize.reply))
      current.value.filter = filter
      current.value.header = header
      current.value.mayReply = mayReply
      let base = PhysicalMemory.directBase
      let result = run(program, binding.program, packet.address, end, base + memory, base + reply)
      verdict = result == 0 ? .handled : .deliver
      current.value.packet = nil
    }
    // Whoever was interrupted does not pay for it.
    let ticks = apus_rdtsc() &- start
    kernel.revocations.charge(program.value.account, ticks: ticks)
    here.ranSince &+= ticks
    return (verdict, program.value.worst)
  }
}

/// What becomes of a packet.
enum HandlerVerdict { case deliver, handled, unclaimed }

// MARK: What handlers call

private let refused = UInt64.max
private var current: HandlerRun { kernel.programs.value.current.value }

/// Copies bytes, if both ranges lie where they should.
private func copy(
  _ source: KernelBytes, _ from: UInt64, _ target: KernelBytes, _ to: UInt64, _ count: UInt64
) -> KernelBytes? {
  guard from <= UInt64(source.count), count <= UInt64(source.count) - from, to <= UInt64(target.count),
    count <= UInt64(target.count) - to
  else { return nil }
  let destination = target.part(Int(to), Int(count))
  destination.copy(source.part(Int(from), Int(count)))
  return destination
}

@c @used func apus_helper_copy(_ from: UInt64, _ to: UInt64, _ count: UInt64) -> UInt64 {
  guard let packet = current.packet, let copied = copy(packet, from, current.memory, to, count) else { return refused }
  return UInt64(copied.internetChecksum)
}

@c @used func apus_helper_send(_ count: UInt64) -> UInt64 {
  let run = kernel.programs.value.current
  guard run.value.packet != nil, run.value.mayReply, run.value.replyCount == 0, let network = kernel.network,
    count >= UInt64(UseSize.packetLeast), copy(run.value.reply, 0, run.value.copy, 0, count) != nil
  else { return refused }
  let header = run.value.copy.part(0, min(Int(count), Int(APUS_TRANSMIT_HEADER)))
  guard network.value.filters.mirrors(run.value.filter, CopiedHeader(bytes: header)) else { return refused }
  run.value.replyCount = Int(count)
  return 0
}

@c @used func apus_helper_wake() -> UInt64 {
  let place = current.header + UInt64(APUS_PACKET_RING_WAKES)
  PhysicalMemory.setShared64(place, PhysicalMemory.word(place) &+ 1)
  return 0
}

@c @used func apus_helper_quote(_ from: UInt64, _ to: UInt64, _ count: UInt64) -> UInt64 {
  guard let packet = current.packet, copy(packet, from, current.reply, to, count) != nil else { return refused }
  return 0
}

@c @used func apus_helper_recall(_ from: UInt64, _ to: UInt64, _ count: UInt64) -> UInt64 {
  copy(current.memory, from, current.reply, to, count) == nil ? refused : 0
}

extension KernelBytes {
  /// RFC 1071: the ones' complement sum of the bytes as 16-bit numbers in network order, not complemented.
  fileprivate var internetChecksum: UInt16 {
    var sum: UInt64 = 0
    for index in 0..<count / 4 { sum &+= UInt64(word32(at: index * 4)) }
    var last: UInt64 = 0
    for index in count & ~3..<count { last |= UInt64(self[index]) << UInt64(8 * (index & 3)) }
    sum &+= last
    while sum >> 16 != 0 { sum = sum & 0xffff + sum >> 16 }
    return UInt16(truncatingIfNeeded: sum).byteSwapped
  }
}

// MARK: Replies

extension Network {
  /// Sends the reply of the handler that has just run, if it has made one: its header has been checked.
  mutating func sendReply() {
    let run = kernel.programs.value.current
    guard run.value.replyCount > 0, let slot = card.vacantTransmitSlot else { return }
    let bytes = run.value.toSend
    let count = min(bytes.count, Int(APUS_TRANSMIT_HEADER))
    KernelBytes(physical: card.headerAddress(slot), count: count).copy(bytes.part(0, count))
    let rest = bytes.count - count
    let place = replies + UInt64(slot) * Self.replyStride
    if rest > 0 {
      KernelBytes(physical: place, count: rest).copy(bytes.part(count, rest))
      card.setRun(slot, 0, address: place, count: UInt32(rest), isLast: true)
    }
    transmissions[UInt32(slot)] = Transmission()
    card.send(slot, headerCount: count, hasRuns: rest > 0)
    run.value.replyCount = 0
    hasReplies = true
  }
}
