// SPDX-License-Identifier: Apache-2.0
// Boots.swift: what the kernel says about itself and the machine, and that its ledger agrees with itself.

import ApusABI

func bootChecks(_ report: inout Report) {
  information(&report)
  ledger(&report)
  firstEnvironment(&report)
}

private func information(_ report: inout Report) {
  var check = Check("boot", "the information page")
  let page = Information.page
  check.expect(page.magic, equals: UInt64(APUS_INFORMATION_MAGIC), "magic number")
  check.expect(page.ticks_per_second >= 1_000_000, "ticks per second", page.ticks_per_second)
  check.expect(page.slice_ticks >= page.ticks_per_second / 1000, "length of a slice", page.slice_ticks)
  check.expect(page.critical_bound_ticks > page.slice_ticks, "bound of a critical section", page.critical_bound_ticks)
  check.expect(page.first_ring3_ticks != 0 && page.first_ring3_ticks < time_stamp(), "when ring 3 ran first")
  check.expect(page.frame_table_offset & 4095, equals: 0, "the frame table's place")
  check.expect(
    page.environment_table_offset >= page.frame_table_offset + page.frame_count * Information.frameSize,
    "the environment table's place")
  check.expect(
    page.timeline_offset >= page.environment_table_offset + page.environment_count * Information.environmentSize,
    "the timeline's place")
  check.expect(page.extended_state_mask & 3, equals: 3, "x87 and SSE in the extended state")
  check.expect(
    page.extended_state_size >= 576 && page.extended_state_size <= UInt64(UA_VECTORS_SIZE),
    "size of the extended state",
    page.extended_state_size)
  report.finish(check)
}

/// Each frame is of one type; the free ones are as many as the count says; nobody has what is nobody's.
private func ledger(_ report: inout Report) {
  var check = Check("boot", "the frame table")
  let page = Information.page
  var free: UInt64 = 0
  var tables: UInt64 = 0
  var absent: UInt64 = 0
  for number in 0..<page.frame_count {
    let frame = Information.frame(number)
    switch Int32(frame.type) {
    case APUS_FRAME_FREE: free += 1
    case APUS_FRAME_ABSENT: absent += 1
    case APUS_FRAME_TABLE1, APUS_FRAME_TABLE2, APUS_FRAME_TABLE3, APUS_FRAME_TABLE4:
      tables += 1
      check.expect(frame.mappings > 0, "a table that nothing links", number)
    case APUS_FRAME_ORDINARY:
      check.expect(frame.account != 0, "a frame without an account", number)
      check.expect(frame.writable_mappings <= frame.mappings, "more writable mappings than mappings", number)
    case APUS_FRAME_KERNEL:
      check.expect(
        UInt64(frame.mappings | frame.writable_mappings), equals: 0, "a frame of the kernel's that is mapped")
    default: check.expect(false, "a frame of no type", number)
    }
    check.expect(frame.guard_length <= 8, "a guard of more than eight bytes", number)
  }
  check.expect(free, equals: page.frames_free, "free frames")
  check.expect(free > page.frame_count / 2, "most frames are free", free)
  check.expect(absent < page.frame_count / 2 + 0x100, "frames that are not there", absent)
  check.expect(tables >= 4, "page tables", tables)
  report.finish(check)

  // The counts of this address space's frames, from its own page tables.
  var counts = Check("boot", "mappings as the page tables have them")
  var address = address_of_hostile_image_start()
  while address < address_of_hostile_image_end() {
    let entry = OwnTables.entry(address)
    let frame = Information.frame(OwnTables.frame(address))
    counts.expect(entry & 1, equals: 1, "a page of the program that is not mapped")
    counts.expect(UInt64(frame.type), equals: UInt64(APUS_FRAME_ORDINARY), "its type")
    counts.expect(UInt64(frame.account), equals: 1, "its account")
    // Pages of the image are mapped where the whole image is, too.
    counts.expect(frame.mappings >= 1 && frame.mappings <= 2, "its mappings", UInt64(frame.mappings))
    address += 4096
  }
  report.finish(counts)
}

private func firstEnvironment(_ report: inout Report) {
  var check = Check("boot", "the first environment")
  let record = Information.environment(slot: Information.ownSlot)
  check.expect(Information.environmentsInUse, equals: 1, "environments")
  check.expect(UInt64(record.account), equals: 1, "its account")
  check.expect(record.guard, equals: 0x0001 << 48, "its guard")
  check.expect(UInt64(record.slices_owned), equals: 1, "its slices")
  check.expect(record.uarea_address, equals: UInt64(APUS_LIBOS_BASE), "its u-area")
  check.expect(record.capabilities.3.valid == 1 && record.capabilities.3.length == 0, "the root capability")
  check.expect(record.capabilities.4.valid | record.capabilities.7.valid == 0, "capabilities beyond its own")
  check.expect(load64(UInt64(APUS_MODULE_BASE)), equals: UInt64(APUS_IMAGE_MAGIC), "the boot image")
  report.finish(check)
}
