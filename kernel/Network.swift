// SPDX-License-Identifier: Apache-2.0
// Network.swift: packets on their way between the card and the rings of environments.
//
// A packet that has arrived is matched against all filters at once and copied into the ring that its filter leads to.
// That is done in steps: by the card's interrupt, and when a step leaves something, at the ends of slices and by whoever
// polls; until the card has nothing left its interrupts stay masked. So packets take no more of a slice than two steps.

import ApusABI
import ApusDrivers
import ApusMachine
import ApusPacketFilter
import ApusResources
import CApusABI
import CShims

/// Packets taken in in one step.
private let packetsPerStep = 16
/// What handlers may cost before the step ends.
private let handlerCostPerStep: UInt64 = 8192

/// How many filters there can be, and one.
let filterLimit: UInt32 = 2048

/// Sizes of the tables.
private enum Size {
  static var rings: UInt32 { 64 }
  static var filters: UInt32 { filterLimit }
  static var states: UInt32 { 8192 }
  static var fields: UInt32 { 4096 }
  static var bucketBits: UInt32 { 13 }

  // Where the tables lie that everybody may read, behind that of the rings; each is a number of whole pages.
  static var filterPlace: UInt64 { 4096 }
  static var statePlace: UInt64 { filterPlace + UInt64(filters) * UInt64(MemoryLayout<apus_filter>.stride) }
  static var fieldPlace: UInt64 { statePlace + UInt64(states) * UInt64(MemoryLayout<apus_filter_state>.stride) }
  static var visible: UInt64 { fieldPlace + UInt64(fields) * UInt64(MemoryLayout<apus_filter_field>.stride) }
}

/// The filters' records and code in kernel memory.
struct KernelFilters: FilterMemory {
  let states: Table<apus_filter_state>
  let fields: Table<apus_filter_field>
  let filters: Table<apus_filter>
  let buckets: Table<UInt32>
  /// The code where it is written.
  let code: KernelBytes

  var stateCount: UInt32 { states.count }
  var fieldCount: UInt32 { fields.count }
  var filterCount: UInt32 { filters.count }
  var bucketBits: UInt32 { Size.bucketBits }
  var codeAddress: UInt64 { PhysicalMemory.codeBase }

  subscript(state index: UInt32) -> apus_filter_state {
    @inline(__always) get { states[index] }
    @inline(__always) nonmutating set { states[index] = newValue }
  }
  subscript(field index: UInt32) -> apus_filter_field {
    @inline(__always) get { fields[index] }
    @inline(__always) nonmutating set { fields[index] = newValue }
  }
  subscript(filter index: UInt32) -> apus_filter {
    @inline(__always) get { filters[index] }
    @inline(__always) nonmutating set { filters[index] = newValue }
  }
  subscript(bucket index: UInt32) -> UInt32 {
    @inline(__always) get { buckets[index] }
    @inline(__always) nonmutating set { buckets[index] = newValue }
  }

  func store(_ bytes: UInt64, count: Int, at offset: Int) {
    for index in 0..<count { code[offset + index] = UInt8(truncatingIfNeeded: bytes >> UInt64(8 * index)) }
  }

  /// The filter that takes a packet, or 0.
  func match(_ packet: KernelBytes) -> UInt32 {
    apus_match_packet(
      codeAddress, packet.address, UInt64(packet.count), buckets.record(0).kernelAddress,
      states.record(0).kernelAddress)
  }
}

/// What a packet on its way out keeps in place.
struct Transmission {
  /// The ring that it was sent through.
  var ring: UInt64 = 0
  var frames = [3 of UInt32](repeating: 0)
  var count = 0
}

/// The card, the filters and the rings.
struct Network {
  var card: VirtioNet<MachineAccess>
  var filters: FilterTable<KernelFilters>
  let rings: Table<apus_packet_ring_record>
  /// The frames of ring i, from i * `APUS_PACKET_RING_ENTRIES` on.
  let ringFrames: Table<UInt32>
  let transmissions: Table<Transmission>
  /// Where replies of handlers lie until they have left, `replyStride` bytes for each of the card's slots.
  let replies: UInt64
  static var replyStride: UInt64 { 2048 }
  /// Whether there are replies of which the card has not been told.
  var hasReplies = false
  /// Where in the information pages the records are.
  let informationOffset: UInt64
  private var isMasked = false
  /// A ring whose owner has ended, and the filter that is looked at next.
  var ending: (ring: UInt32, filter: UInt32)?

  init(
    card: VirtioNet<MachineAccess>, filters: KernelFilters, rings: Table<apus_packet_ring_record>,
    ringFrames: Table<UInt32>, transmissions: Table<Transmission>, replies: UInt64, informationOffset: UInt64
  ) {
    self.card = card
    self.filters = FilterTable(memory: filters)
    self.rings = rings
    self.ringFrames = ringFrames
    self.transmissions = transmissions
    self.replies = replies
    self.informationOffset = informationOffset
  }

  /// Says in the information page where the records are.
  func publish(_ page: Record<apus_information>) {
    page.value.network_address = card.address
    page.value.packet_ring_offset = informationOffset
    page.value.packet_ring_count = UInt64(rings.count)
    page.value.filter_offset = informationOffset + Size.filterPlace
    page.value.filter_count = UInt64(filters.memory.filterCount)
    page.value.filter_state_offset = informationOffset + Size.statePlace
    page.value.filter_state_count = UInt64(Size.states)
    page.value.filter_field_offset = informationOffset + Size.fieldPlace
    page.value.filter_field_count = UInt64(Size.fields)
    page.value.network_place = rings.record(0).kernelAddress &- PhysicalMemory.directBase
  }

  /// Whether there is something to do at once.
  var isBusy: Bool { isMasked || ending != nil }

  // MARK: Arrival

  /// The card's interrupt.
  mutating func interrupt() {
    card.acknowledgeInterrupt()
    work()
  }

  /// One step: takes in what has arrived, and lets the card interrupt when nothing is left.
  mutating func work() {
    receive()
    guard isMasked != card.hasWork else { return }
    isMasked.toggle()
    card.setInterrupts(!isMasked)
    if !isMasked, card.hasWork {  // it came between the look and the permission
      isMasked = true
      card.setInterrupts(false)
    }
  }

  /// One step for somebody who looks by himself: the card need not interrupt until the slice is over.
  mutating func poll() {
    receive()
    guard !isMasked else { return }
    isMasked = true
    card.setInterrupts(false)
  }

  private mutating func receive() {
    settleTransmissions()
    kernel.programs.value.synchronizeCode()
    var taken = 0
    var cost: UInt64 = 0
    while taken < packetsPerStep, cost < handlerCostPerStep, let packet = card.takeReceived() {
      cost += deliver(KernelBytes(physical: packet.address, count: packet.count))
      card.giveBack(packet)
      taken += 1
    }
    guard taken > 0 else { return }
    card.announceBuffers()
    if hasReplies { card.announceTransmissions() }
    hasReplies = false
    kickIdle()
  }

  /// - Returns: How many instructions a handler has taken at most.
  private mutating func deliver(_ packet: KernelBytes) -> UInt64 {
    guard packet.count >= 14 else {
      kernel.information.value.packets_short &+= 1
      return 0
    }
    let filter = filters.memory.match(packet)
    let ring = UInt32(filters.memory.filters[filter].ring)
    guard filter != 0, rings[ring].state == UInt8(APUS_PACKET_RING_LIVE) else {
      kernel.information.value.packets_unclaimed &+= 1
      return 0
    }
    guard kernel.programs.value.bindings[filter].program == 0 else { return handle(packet, filter, ring) }
    filters.hit(filter)
    put(packet, ring)
    return 0
  }

  /// Lets a filter's program have a packet first.
  @inline(never) private mutating func handle(_ packet: KernelBytes, _ filter: UInt32, _ ring: UInt32) -> UInt64 {
    let header = UInt64(rings[ring].header_frame) << 12
    let (verdict, cost) = kernel.programs.value.handle(
      packet, filter, header: header, mayReply: card.vacantTransmitSlot != nil)
    if verdict == .unclaimed { kernel.information.value.packets_unclaimed &+= 1 } else { filters.hit(filter) }
    if verdict == .deliver { put(packet, ring) }
    sendReply()
    return cost
  }

  /// Copies a packet into the next entry of a ring.
  @inline(__always) private func put(_ packet: KernelBytes, _ ring: UInt32) {
    let entry = UInt32(rings[ring].next)
    let header = UInt64(rings[ring].header_frame) << 12
    let flag = header + 64 + UInt64(entry) << 3
    guard PhysicalMemory.word(flag) == 0 else {
      rings[ring].overruns &+= 1
      PhysicalMemory.setShared64(header + 8, UInt64(rings[ring].overruns))
      return
    }
    let frame = ringFrames[ring * UInt32(APUS_PACKET_RING_ENTRIES) + entry]
    KernelBytes(physical: UInt64(frame) << 12, count: 4096).copy(packet)
    PhysicalMemory.setShared64(flag, UInt64(APUS_PACKET_FULL) | UInt64(packet.count))
    rings[ring].next = entry + 1 == UInt32(rings[ring].entries) ? 0 : UInt16(entry) + 1
    rings[ring].produced &+= 1
    PhysicalMemory.setShared64(header, rings[ring].produced)
  }

  // MARK: Departure

  /// Ends the pins of what the card is done with.
  mutating func settleTransmissions() {
    while let slot = card.takeTransmitted() {
      let sent = transmissions[UInt32(slot)]
      for index in 0..<sent.count { unpin(sent.frames[index]) }
      guard let ring = index(of: sent.ring) else { continue }
      let place = UInt64(rings[ring].header_frame) << 12 + 16
      PhysicalMemory.setShared64(place, PhysicalMemory.word(place) &+ 1)
    }
  }
}

/// How many steps the card gets where nobody's slice pays for it.
private let stepsPerChoice = 4

/// What is left to do for the card, at every choice of the scheduler.
func attendNetwork() {
  guard let network = kernel.network else { return }
  for _ in 0..<stepsPerChoice where network.value.isBusy {
    network.value.endStep()
    network.value.work()
    takeBreath()  // a bounded piece of work is done: a path ends here
  }
}

/// Starts the card, if there is one, with everything that it needs.
///
/// - Parameters:
///   - information: How many bytes of information pages there are already.
///   - processor: Identifier of the CPU that takes the card's interrupts.
///   - memory: Where the memory comes from, which is not asked if there is no card.
///   - commandLine: The character at a position of the kernel's command line.
/// - Returns: The card at work, or nil.
func startNetwork(
  information: UInt64, processor: UInt8, _ memory: inout BootMemory, commandLine: (Int) -> UInt8
) -> Record<Network>? {
  let target = InterruptTarget(vector: UInt8(APUS_VECTOR_NETWORK), processor: processor)
  guard let found = VirtioNetCard(access: MachineAccess(), interrupt: target, commandLine: commandLine) else {
    return nil
  }
  let codeBytes = UInt64(Size.fields) * UInt64(FilterCode.slotSize)
  guard let driver = memory.take(UInt64(VirtioNet<MachineAccess>.frameCount) * 4096),
    let code = memory.take(codeBytes), let records = memory.take(Size.visible),
    let buckets = memory.take(4 << UInt64(Size.bucketBits)),
    let frames = memory.take(4 * UInt64(Size.rings) * UInt64(APUS_PACKET_RING_ENTRIES)),
    let transmissions = memory.take(64 * UInt64(MemoryLayout<Transmission>.stride)),
    let replies = memory.take(64 * Network.replyStride),
    let state = memory.take(UInt64(MemoryLayout<Network>.stride)),
    KernelTables.active.mapCode(code, codeBytes, at: 0, &memory),
    KernelTables.active.mapInformation(UInt64(APUS_INFORMATION_BASE) + information, records, Size.visible, &memory)
  else { panic("boot: too little memory for the network card") }
  guard let card = VirtioNet(found, memory: driver) else { return nil }
  let filters = KernelFilters(
    states: Table(physical: records + Size.statePlace, count: Size.states),
    fields: Table(physical: records + Size.fieldPlace, count: Size.fields),
    filters: Table(physical: records + Size.filterPlace, count: Size.filters),
    buckets: Table(physical: buckets, count: 1 << Size.bucketBits),
    code: KernelBytes(physical: code, count: Int(codeBytes)))
  let network = Record<Network>(physical: state)
  network.initialize(
    Network(
      card: card, filters: filters, rings: Table(physical: records, count: Size.rings),
      ringFrames: Table(physical: frames, count: Size.rings * UInt32(APUS_PACKET_RING_ENTRIES)),
      transmissions: Table(physical: transmissions, count: UInt32(VirtioNet<MachineAccess>.transmitSlots)),
      replies: replies, informationOffset: information))
  return network
}
