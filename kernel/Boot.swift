// SPDX-License-Identifier: Apache-2.0
// Boot.swift: from the loader's start info to the first environment.
//
// Memory: the kernel's image at 1 MiB, then its tables (sized from the memory there is), then free frames; the boot
// module wherever the loader put it. Below 1 MiB nothing is used.

import ApusABI
import ApusCapabilities
import ApusDrivers
import ApusMachine
import ApusResources
import CApusABI
import CShims

/// The account of the first family.
let firstAccount: UInt16 = 1

/// Names of the guards that exist at boot.
enum BootName {
  /// The first family's frames, tables and environments.
  static var family: Capability { name(UInt64(firstAccount) << 48, 2) }
  /// The console.
  static var console: Capability { name(0x43 << 56, 1) }
  /// Power.
  static var machine: Capability { name(0x4d << 56, 1) }

  /// The network card.
  static var network: Capability { name(0x4e << 56, 1) }

  /// Everything.
  ///
  /// The first LibOS drops it unless it starts other families.
  static var root: Capability { name(0, 0) }

  private static func name(_ name: UInt64, _ length: UInt8) -> Capability {
    guard let capability = Capability(name: name, length: length, rights: .all) else { panic("boot: capability") }
    return capability
  }
}

@c @used func apus_kernel_main(_ startInfo: UInt64) -> Never {
  guard var info = StartInfo(physical: startInfo) else { panic("boot: not started through PVH with a memory map") }
  let processor: Processor
  do throws(ProcessorRefusal) {
    processor = try Processor.start(
      acceptMeltdown: info.setting("accept-meltdown") == 1, protectionKeys: info.setting("protection-keys") == 1)
  } catch {
    switch error {
    case .noBaseInstructions: panic("boot: this CPU has no FSGSBASE instructions")
    case .noExtendedState: panic("boot: this CPU has no XSAVE")
    case .openToMeltdown: panic("boot: this CPU is open to Meltdown; accept-meltdown=1 runs on it all the same")
    }
  }
  guard let module = info.module else { panic("boot: no module: give the image with -initrd") }
  var memory = bootMemory(info, module)
  let list = ProcessorList(
    pointer: info.firmwareTables, view: info.viewBase, own: InterruptController.ownIdentifier)
  let layout = Layout(info, processor, list.count, &memory)
  mapEverything(info, layout, &memory)
  info.useDirectMap()
  memory.useDirectMap()
  let interrupts = InterruptController()
  let network = startNetwork(
    information: layout.informationBytes, processor: interrupts.identifier, &memory,
    commandLine: { info.commandCharacter($0) })
  let programs = startPrograms(environmentCount: layout.environmentCount, filterCount: filterLimit, &memory)
  guard KernelTables.active.protectCode(&memory) else { panic("boot: too little memory for the kernel's page tables") }
  start(info, module, layout, processor, list, interrupts, programs, network, used: memory.used)
}

/// Boot memory begins behind the kernel and ends where the module or that run of memory does.
private func bootMemory(_ info: StartInfo, _ module: PhysicalRange) -> BootMemory {
  for index in 0..<info.mapCount {
    guard let range = info.memory(index), range.start <= 0x10_0000, range.end > 0x10_0000 else { continue }
    return BootMemory(end: min(range.end, min(module.start, 1 << 30)))
  }
  panic("boot: no memory at 1 MiB")
}

/// Where the kernel's tables lie: sizes from the memory there is.
private struct Layout {
  let frameCount: UInt32
  let environmentCount: UInt32
  let accountCount: UInt32
  let information: UInt64
  let informationBytes: UInt64
  let frameTable: UInt64
  let environmentTable: UInt64
  let timeline: UInt64
  let contracts: UInt64
  let accountTable: UInt64
  let revocations: UInt64
  let events: UInt64
  let eventCount: UInt32
  let words: UInt64
  let sets: UInt64
  let bytes: UInt64
  let vectors: UInt64
  let parking: UInt64
  let state: UInt64
  let console: UInt64
  let processors: UInt64
  let processorMemory: UInt64
  let processorCount: UInt32

  init(_ info: StartInfo, _ processor: Processor, _ processorCount: UInt32, _ memory: inout BootMemory) {
    self.processorCount = processorCount
    var end: UInt64 = 0
    for index in 0..<info.mapCount {
      if let range = info.memory(index) { end = max(end, range.end) }
    }
    guard end >> 12 < 1 << 31 else { panic("boot: more than 8 TiB of memory") }
    frameCount = UInt32(end >> 12)
    environmentCount = min(512, max(64, frameCount / 64))
    // A record of 32 bytes for every fourth frame.
    accountCount = min(1 << 16, max(256, frameCount / 4))
    func pages(_ bytes: UInt64) -> UInt64 { (bytes + 4095) & ~4095 }
    let frameBytes = pages(UInt64(frameCount) * UInt64(MemoryLayout<apus_frame>.stride))
    let environmentBytes = pages(UInt64(environmentCount) * UInt64(MemoryLayout<apus_environment>.stride))
    let timelineBytes = pages(
      UInt64(processorCount) * UInt64(environmentCount) * UInt64(MemoryLayout<apus_slice>.stride))
    let contractBytes = pages(
      UInt64(processorCount) * UInt64(APUS_CONTRACT_COUNT) * UInt64(MemoryLayout<apus_contract>.stride))
    let accountBytes = pages(UInt64(accountCount) * UInt64(MemoryLayout<apus_account>.stride))
    let revocationBytes = pages(UInt64(environmentCount) * UInt64(MemoryLayout<apus_revocation>.stride))
    eventCount = Events.count(for: info.setting("trace") ?? 0)
    informationBytes =
      4096 + frameBytes + environmentBytes + timelineBytes + contractBytes + accountBytes + revocationBytes
      + pages(UInt64(eventCount) * UInt64(MemoryLayout<apus_event>.stride))
    guard let tables = memory.take(informationBytes), let words = memory.take(8192),
      let sets = memory.take(2 * AccountSet.byteCount), let bytes = memory.take(4096),
      let vectors = memory.take(max(4096, processor.wholeStateSize)),
      let state = memory.take(UInt64(MemoryLayout<Kernel>.stride)), let console = memory.take(Console.memoryByteCount),
      let processors = memory.take(UInt64(processorCount) * UInt64(MemoryLayout<ProcessorState>.stride)),
      let processorMemory = memory.take(UInt64(processorCount) * ThisProcessor.memoryByteCount),
      let parking = memory.take(
        UInt64(environmentCount) * ParkingPlaces.stride(extendedStateSize: processor.wholeStateSize))
    else { panic("boot: too little memory for the kernel's tables") }
    information = tables
    frameTable = tables + 4096
    environmentTable = frameTable + frameBytes
    timeline = environmentTable + environmentBytes
    contracts = timeline + timelineBytes
    accountTable = contracts + contractBytes
    revocations = accountTable + accountBytes
    events = revocations + revocationBytes
    self.words = words
    self.sets = sets
    self.bytes = bytes
    self.vectors = vectors
    self.state = state
    self.console = console
    self.processors = processors
    self.parking = parking
    self.processorMemory = processorMemory
  }
}

extension Layout {
  /// The contracts of a CPU, none yet.
  fileprivate func contracts(of processor: UInt32, ticksPerSecond: UInt64) -> Contracts<Table<apus_contract>> {
    let count = UInt32(APUS_CONTRACT_COUNT)
    let offset = UInt64(processor * count) * UInt64(MemoryLayout<apus_contract>.stride)
    return Contracts(
      records: Table(physical: contracts + offset, count: count),
      limits: ContractLimits(ticksPerSecond: ticksPerSecond),
      processor: processor)
  }
}

private func mapEverything(_ info: StartInfo, _ layout: Layout, _ memory: inout BootMemory) {
  let tables = KernelTables()
  for index in 0..<info.mapCount {
    guard let range = info.memory(index) else { continue }
    guard tables.mapDirect(range, &memory) else { panic("boot: too little memory for the direct map") }
  }
  // The image comes last: with it the boot code's view of boot memory goes.
  guard
    tables.mapInformation(UInt64(APUS_INFORMATION_BASE), layout.information, layout.informationBytes, &memory),
    tables.mapImageAndDevices(&memory)
  else { panic("boot: too little memory for the kernel's page tables") }
  tables.activate()
}

private func start(
  _ info: StartInfo, _ module: PhysicalRange, _ layout: Layout, _ processor: Processor, _ list: ProcessorList,
  _ interrupts: InterruptController, _ programs: Record<Programs>, _ network: Record<Network>?, used: UInt64
) -> Never {
  let records = FrameTable(physical: layout.frameTable, count: layout.frameCount)
  let accounts = AccountLedger(accounts: Table<apus_account>(physical: layout.accountTable, count: layout.accountCount))
  var ledger = FrameLedger(frames: records, accounts: accounts)
  let kernelEnd = UInt32(used >> 12)
  ledger.reserveForKernel(0x100..<kernelEnd)
  let moduleFrames = UInt32(module.start >> 12)..<UInt32((module.end + 4095) >> 12)
  // Highest memory first: the free list then starts at the lowest.
  var index = info.mapCount
  while index > 0 {
    index -= 1
    guard let range = info.memory(index) else { continue }
    let frames = UInt32((range.start + 4095) >> 12)..<UInt32(range.end >> 12)
    addFree(&ledger, frames, from: max(kernelEnd, moduleFrames.upperBound))
    addFree(&ledger, frames.clamped(to: 0..<moduleFrames.lowerBound), from: kernelEnd)
  }

  let name = BootName.family
  for frame in moduleFrames {
    records[frame].type = UInt8(APUS_FRAME_ORDINARY)
    records[frame].guard = name.name
    records[frame].guard_length = name.length
    records[frame].account = firstAccount
  }
  // All that there is belongs to the first family, which passes it down.
  accounts.endow(firstAccount, .frames, ledger.freeCount + UInt32(moduleFrames.count), used: UInt32(moduleFrames.count))
  accounts.endow(firstAccount, .environments, layout.environmentCount)
  accounts.endow(firstAccount, .slices, layout.processorCount * layout.environmentCount)
  let shareLimit = ContractLimits(ticksPerSecond: interrupts.ticksPerSecond).shareLimit
  accounts.endow(firstAccount, .time, layout.processorCount * UInt32(shareLimit))

  let sliceTicks = interrupts.ticksPerSecond / 1000 * (info.setting("slice-milliseconds") ?? 5)
  let boundTicks = interrupts.ticksPerSecond / 1000 * (info.setting("critical-milliseconds") ?? 1000)
  let initialVectors = KernelBytes(physical: layout.vectors, count: 4096)
  ThisProcessor.prepareInitialVectors(initialVectors)
  let processors = Table<ProcessorState>(physical: layout.processors, count: layout.processorCount)
  let timelineBytes = UInt64(layout.environmentCount) * UInt64(MemoryLayout<apus_slice>.stride)
  for index in 0..<layout.processorCount {
    processors.record(index).initialize(
      ProcessorState(
        index: index,
        timeline: Timeline(
          slices: Table(
            physical: layout.timeline + UInt64(index) * timelineBytes, count: layout.environmentCount)),
        contracts: layout.contracts(of: index, ticksPerSecond: interrupts.ticksPerSecond)))
  }
  ThisProcessor.start(memory: layout.processorMemory, state: processors.record(0).kernelAddress)
  install(
    Kernel(
      frames: ledger,
      tables: PageTables(frames: records, memory: TableFrames(processorCount: layout.processorCount)),
      environments: EnvironmentTable(
        environments: Table(physical: layout.environmentTable, count: layout.environmentCount),
        accounts: accounts),
      interrupts: interrupts,
      processor: processor,
      console: Console(
        physical: layout.console,
        target: InterruptTarget(vector: UInt8(APUS_VECTOR_CONSOLE), processor: interrupts.identifier),
        commandLine: { info.commandCharacter($0) }),
      words: WordBuffer(physical: layout.words),
      calls: WordBuffer(physical: layout.words + 4096),
      bytes: KernelBytes(physical: layout.bytes, count: 4096),
      information: Record(physical: layout.information),
      initialVectors: initialVectors,
      parking: ParkingPlaces(physical: layout.parking, extendedStateSize: processor.wholeStateSize),
      processors: processors,
      processorMemory: layout.processorMemory,
      programs: programs,
      network: network,
      dying: AccountSet(physical: layout.sets),
      held: AccountSet(physical: layout.sets + AccountSet.byteCount),
      revocations: Revocations(records: Table(physical: layout.revocations, count: layout.environmentCount)),
      events: Events(physical: layout.events, count: layout.eventCount)),
    at: layout.state)

  prepareTransfers()
  let page = kernel.information
  page.value.magic = UInt64(APUS_INFORMATION_MAGIC)
  page.value.ticks_per_second = interrupts.ticksPerSecond
  page.value.slice_ticks = sliceTicks
  page.value.critical_bound_ticks = boundTicks
  page.value.frame_count = UInt64(layout.frameCount)
  page.value.frame_table_offset = layout.frameTable - layout.information
  page.value.environment_table_offset = layout.environmentTable - layout.information
  page.value.environment_count = UInt64(layout.environmentCount)
  page.value.timeline_offset = layout.timeline - layout.information
  page.value.slice_count = UInt64(layout.environmentCount)
  page.value.contract_table_offset = layout.contracts - layout.information
  page.value.processor_count = UInt64(layout.processorCount)
  page.value.account_table_offset = layout.accountTable - layout.information
  page.value.account_count = UInt64(layout.accountCount)
  page.value.revocation_table_offset = layout.revocations - layout.information
  page.value.revocation_count = UInt64(layout.environmentCount)
  page.value.revocation_bound_ticks = revocationBound(
    frameCount: UInt64(layout.frameCount), sliceTicks: sliceTicks)
  page.value.event_table_offset = layout.events - layout.information
  page.value.event_count = UInt64(layout.eventCount)
  network?.value.publish(page)
  page.value.extended_state_mask = processor.extendedStateMask
  page.value.extended_state_size = processor.extendedStateSize
  page.value.protection_keys = processor.hasProtectionKeys ? 1 : 0
  startProcessors(list)
  makeFirstEnvironment(module)
}

/// Adds the part of a range from `from` on to the free list.
private func addFree(
  _ ledger: inout FrameLedger<FrameTable, Table<apus_account>>, _ range: Range<UInt32>, from: UInt32
) {
  guard range.upperBound > max(range.lowerBound, from) else { return }
  ledger.addFree(max(range.lowerBound, from)..<range.upperBound)
}

// MARK: The first environment

/// Builds the address space that the image describes, through the same operations that calls use.
private func makeFirstEnvironment(_ module: PhysicalRange) -> Never {
  // The module lies in the direct map; its header is checked before it is believed.
  let image = Record<apus_image>(physical: module.start).value
  guard module.end - module.start >= 4096, image.magic == UInt64(APUS_IMAGE_MAGIC),
    image.size <= (module.end - module.start + 4095) & ~4095, image.segment_count <= UInt64(APUS_IMAGE_SEGMENTS)
  else { panic("boot: the module is no Apus image") }

  do throws(SystemCallError) {
    let root = try takeFrame()
    try kernel.tables.makeRoot(
      UInt64(root), account: firstAccount, by: BootName.family, initialize: KernelTables.initialize(root:))
    for index in 0..<Int(image.segment_count) {
      try mapSegment(segment(image, index), image: module.start, root: root)
    }
    try mapModule(module, root: root)
    let uarea = try takeFrame()
    try map(UInt64(APUS_LIBOS_BASE), frame: uarea, writable: true, executable: false, root: root)
    try startFirst(root: root, uarea: uarea, entry: image.entry)
  } catch {
    panic("boot: cannot build the first environment: error", UInt64(error.rawValue))
  }
}

private func segment(_ image: apus_image, _ index: Int) -> apus_image_segment {
  switch index {
  case 0: image.segments.0
  case 1: image.segments.1
  case 2: image.segments.2
  case 3: image.segments.3
  case 4: image.segments.4
  case 5: image.segments.5
  case 6: image.segments.6
  default: image.segments.7
  }
}

private func takeFrame() throws(SystemCallError) -> UInt32 {
  _ = try kernel.frames.allocate(
    1, into: kernel.words, under: BootName.family, account: firstAccount, keepsOwn: false, memory: TableFrames())
  return UInt32(kernel.words[0])
}

private func map(
  _ address: UInt64, frame: UInt32, writable: Bool, executable: Bool, root: UInt32
) throws(SystemCallError) {
  var level = 3
  while level >= 1 {
    if kernel.tables.walk(root: root, address: address, to: level) == nil {
      try kernel.tables.installTable(
        UInt64(try takeFrame()), level: UInt64(level), at: address, root: UInt64(root), account: firstAccount,
        by: BootName.family)
    }
    level -= 1
  }
  let flags =
    PageEntry.present | (writable ? PageEntry.writable : 0) | (executable ? 0 : PageEntry.noExecute)
  kernel.words[0] = UInt64(frame) << 12 | flags
  _ = try kernel.tables.writeEntries(
    kernel.words, count: 1, at: address, root: UInt64(root),
    caller: PageCaller(account: firstAccount, currentRoot: 0), tables: BootName.family, mapped: BootName.family)
}

private func mapSegment(_ segment: apus_image_segment, image: UInt64, root: UInt32) throws(SystemCallError) {
  var offset: UInt64 = 0
  while offset < segment.memory_size {
    let frame: UInt32
    if offset < segment.file_size {
      frame = UInt32((image + segment.offset + offset) >> 12)
    } else {
      frame = try takeFrame()
    }
    try map(
      segment.address + offset, frame: frame, writable: segment.flags & 2 != 0, executable: segment.flags & 1 != 0,
      root: root)
    offset += 4096
  }
}

private func mapModule(_ module: PhysicalRange, root: UInt32) throws(SystemCallError) {
  var offset: UInt64 = 0
  while module.start + offset < module.end {
    try map(
      UInt64(APUS_MODULE_BASE) + offset, frame: UInt32((module.start + offset) >> 12), writable: true,
      executable: false, root: root)
    offset += 4096
  }
}
