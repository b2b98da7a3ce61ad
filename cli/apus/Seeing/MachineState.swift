// SPDX-License-Identifier: Apache-2.0
// MachineState.swift: who owns what at one moment, as the kernel's information pages say it.

import CApusABI

/// What the information pages of a machine said when they were read.
///
/// Each record is whole; the records are of one moment only if the machine was stopped.
struct MachineState {
  var information: apus_information
  var frames: [apus_frame]
  /// By slot; free slots still show who was there last.
  var environments: [apus_environment]
  /// The slices of each CPU.
  var timelines: [[apus_slice]]
  var contracts: [apus_contract]
  /// By number.
  var accounts: [apus_account]
  var revocations: [apus_revocation]
  /// How many records changed each time they were looked at.
  var unsteady: Int
}

/// A machine's information pages, found in its memory.
struct InformationPages {
  let memory: MachineMemory
  /// Physical address of page 0.
  let address: UInt64

  /// Finds the pages by the signature that the kernel writes at boot.
  ///
  /// The kernel lies at 1 MiB and its tables behind it, below everything that a program can write: so the first page
  /// that has the signature and makes sense is the kernel's own.
  ///
  /// - Returns: Nil if there is none yet: the machine is still booting, or is no Apus.
  init?(_ memory: MachineMemory) {
    self.memory = memory
    var at: UInt64 = 1 << 20
    while at < min(memory.byteCount, Self.searched) {
      if let information = memory.load(at, as: apus_information.self), Self.isPlausible(information, memory) {
        address = at
        memory.place(end: information.frame_count << 12)
        return
      }
      at += 4096
    }
    return nil
  }

  /// How far the signature is looked for: behind the kernel's image.
  private static let searched: UInt64 = 64 << 20

  /// What firmware keeps for itself at the end of memory, at most.
  private static let firmwareBytes: UInt64 = 4 << 20

  private static func isPlausible(_ page: apus_information, _ memory: MachineMemory) -> Bool {
    // The signature is written first: what is checked here comes a little later, and the account table's size last.
    page.magic == UInt64(APUS_INFORMATION_MAGIC) && (page.frame_count << 12) + firmwareBytes >= memory.byteCount
      && page.frame_count <= 1 << 31 && page.frame_table_offset >= 4096
      && page.environment_table_offset > page.frame_table_offset
      && page.timeline_offset > page.environment_table_offset && page.account_table_offset > page.timeline_offset
      && (1...4096).contains(page.environment_count) && (1...256).contains(page.processor_count)
      && page.slice_count <= 1 << 20 && (1...(1 << 16)).contains(page.account_count)
      && page.extended_state_size != 0
  }

  /// Reads everything.
  ///
  /// - Returns: Nil if the pages are not whole any more: the machine has begun to boot again.
  func read() -> MachineState? {
    guard let page = memory.load(address, as: apus_information.self), Self.isPlausible(page, memory) else { return nil }
    let cpus = Int(page.processor_count)
    let slices = Int(page.slice_count)
    guard
      let frames = memory.records(address + page.frame_table_offset, count: Int(page.frame_count), of: apus_frame.self),
      let environments = memory.records(
        address + page.environment_table_offset, count: Int(page.environment_count), of: apus_environment.self),
      let timeline = memory.records(address + page.timeline_offset, count: cpus * slices, of: apus_slice.self),
      let contracts = memory.records(
        address + page.contract_table_offset, count: cpus * Int(APUS_CONTRACT_COUNT), of: apus_contract.self),
      let accounts = memory.records(
        address + page.account_table_offset, count: Int(page.account_count), of: apus_account.self),
      let revocations = memory.records(
        address + page.revocation_table_offset, count: Int(page.revocation_count), of: apus_revocation.self)
    else { return nil }
    return MachineState(
      information: page, frames: frames.values, environments: environments.values,
      timelines: (0..<cpus).map { Array(timeline.values[$0 * slices..<($0 + 1) * slices]) },
      contracts: contracts.values, accounts: accounts.values, revocations: revocations.values,
      unsteady: frames.unsteady + environments.unsteady + timeline.unsteady + contracts.unsteady + accounts.unsteady
        + revocations.unsteady)
  }
}

extension apus_environment {
  var isFree: Bool { state == UInt32(APUS_ENVIRONMENT_FREE) }

  /// The state's name.
  var stateName: String {
    switch Int32(bitPattern: state) {
    case APUS_ENVIRONMENT_FREE: "free"
    case APUS_ENVIRONMENT_RUNNABLE: running_on != 0 ? "running" : "ready"
    case APUS_ENVIRONMENT_SLEEPING: "sleeping"
    case APUS_ENVIRONMENT_DYING: "dying"
    case APUS_ENVIRONMENT_CALLING: "calling"
    default: "unknown"
    }
  }
}
