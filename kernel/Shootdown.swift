// SPDX-License-Identifier: Apache-2.0
// Shootdown.swift: what several CPUs owe each other: forgetting translations, and looking up when something happened.
//
// A CPU that changes an address space raises the flush epoch, writes it into the record of every CPU that runs the same
// family, sends each an interrupt, and goes on: nobody waits for an answer. What the change set free (frames, page
// tables) is kept from new uses until every one of those CPUs has passed the epoch; a CPU passes it when it answers the
// interrupt or loads another root. A CPU that halts, or lets the kernel's lock go, runs on the kernel's own root.

import ApusMachine
import ApusResources
import CApusABI
import CShims

/// The record of a CPU, which its entry paths read.
private func record(of index: UInt32) -> Record<apus_cpu> {
  Record(physical: kernel.processorMemory &+ UInt64(index) &* ThisProcessor.memoryByteCount)
}

/// The root that a CPU uses, or 0 for the kernel's own.
func loadedRoot(of index: UInt32) -> UInt64 { record(of: index).value.loaded_root }

/// Brings the translation caches up to date after a change of an account's tables.
@inline(__always) func perform(_ maintenance: Maintenance, account: UInt16) {
  switch maintenance {
  case .none: return
  case .range(let address, let count): invalidate(from: address, count)
  case .everything: apus_write_cr3(apus_read_cr3())
  }
  if kernel.processors.count > 1 { flushOthers(running: account) }
}

/// Forgets this CPU's translations for consecutive pages.
func invalidate(from address: UInt64, _ count: Int) {
  if count > 64 {
    apus_write_cr3(apus_read_cr3())
  } else {
    for index in 0..<count { apus_invlpg(address &+ UInt64(index) << 12) }
  }
}

/// Asks other CPUs to forget their translations: those that run an account, or all that run anybody.
func flushOthers(running account: UInt16?) {
  let epoch = kernel.flushEpoch &+ 1
  var index: UInt32 = 0
  while index < kernel.processors.count {
    if index != here.index, loadedRoot(of: index) != 0 {
      let running = Record<apus_environment>(kernelAddress: record(of: index).value.environment)
      if account == nil || running.value.account == account {
        kernel.flushEpoch = epoch
        record(of: index).value.flush_requested = UInt64(epoch)
        kernel.interrupts.send(
          command: UInt32(APUS_VECTOR_FLUSH) | 1 << 14, to: kernel.processors[index].identifier)
      }
    }
    index += 1
  }
  if kernel.flushEpoch == epoch { kernel.frames.flushEpoch = epoch }
}

/// Gives the frames free that waited for epochs which all CPUs have passed.
func settleFlushes() {
  guard kernel.frames.isCooling || kernel.frames.flushEpoch != 0 else { return }
  var passed = kernel.flushEpoch
  var index: UInt32 = 0
  while index < kernel.processors.count {
    let own = record(of: index)
    let done = UInt32(truncatingIfNeeded: own.value.flush_done)
    if UInt32(truncatingIfNeeded: own.value.flush_requested) != done, Int32(bitPattern: done &- passed) < 0 {
      passed = done
    }
    index += 1
  }
  kernel.frames.settle(upTo: passed)
  if passed == kernel.flushEpoch { kernel.frames.flushEpoch = 0 }
  publishFreeFrames()
}

/// Loads a root, or the kernel's own for 0; with it every older translation is gone.
func load(root: UInt32) {
  let own = ThisProcessor.record
  let requested = own.value.flush_requested
  here.loadedRoot = root
  if root == 0 { ThisProcessor.useKernelRoot() } else { apus_write_cr3(UInt64(root) << 12) }
  own.value.flush_done = requested
}

/// Tells the CPU that runs an environment which has died: it leaves it at its next way into the kernel, which is now.
func endOn(_ index: UInt32) {
  guard index != here.index else { return }
  // Transfer.S looks at no caller's life: until that CPU has chosen anew, Swift decides.
  record(of: index).value.transfer_limit = UInt64.max
  record(of: index).value.return_slowly = 1
  kick(index)
}

/// Makes a CPU look whether what it runs may still run.
func kick(_ index: UInt32) {
  guard index != here.index else { return }
  kernel.interrupts.send(command: UInt32(APUS_VECTOR_KICK) | 1 << 14, to: kernel.processors[index].identifier)
}

/// Makes the CPUs that halt look at their timelines again.
func kickIdle() {
  var index: UInt32 = 0
  while index < kernel.processors.count {
    if kernel.processors[index].isIdle {
      kernel.processors[index].isIdle = false
      kick(index)
    }
    index += 1
  }
}

/// Lets waiting interrupts, and other CPUs, in between two bounded pieces of work.
func takeBreath() {
  if kernel.processors.count > 1 { leaveAddressSpace() }
  apus_release_lock()
  apus_take_interrupts()
  apus_take_lock()
}

/// Halts this CPU until an interrupt.
func halt() {
  if kernel.processors.count > 1 { leaveAddressSpace() }
  apus_release_lock()
  apus_halt_until_interrupt()
  apus_take_lock()
}

// MARK: Starting

/// Tells Transfer.S, on the CPU that runs this, where the environments are.
func prepareTransfers() {
  let own = ThisProcessor.record
  own.value.environments = kernel.environments.environments.record(0).kernelAddress
  own.value.environment_count = UInt64(kernel.environments.environments.count)
  own.value.initial_vectors = kernel.initialVectors.address
}

/// Starts the other CPUs.
func startProcessors(_ list: ProcessorList) {
  guard kernel.processors.count > 1 else { return }
  let starter = ProcessorStarter(interrupts: kernel.interrupts)
  var index: UInt32 = 1
  while index < kernel.processors.count {
    kernel.processors[index].identifier = list.identifier(index)
    let memory = kernel.processorMemory &+ UInt64(index) &* ThisProcessor.memoryByteCount
    // The record's own address is the first thing that the new CPU writes, its tick the last.
    let started = starter.start(index, identifier: list.identifier(index), memory: memory) {
      PhysicalMemory.shared32(memory &+ UInt64(APUS_CPU_STARTED)) != 0
    }
    guard started else { panic("boot: a processor did not start", UInt64(index)) }
    index += 1
  }
  starter.finish()
}

/// Where another CPU enters, on its own stack; boot holds the lock until the first environment runs.
@c @used func apus_processor_main(_ index: UInt32) {
  var processor = kernel.processor
  processor.enable()
  let memory = kernel.processorMemory &+ UInt64(index) &* ThisProcessor.memoryByteCount
  ThisProcessor.start(memory: memory, state: kernel.processors.record(index).kernelAddress)
  kernel.interrupts.startHere()
  prepareTransfers()
  PhysicalMemory.setShared32(memory &+ UInt64(APUS_CPU_STARTED), 1)
  apus_take_lock()
  leaveAddressSpace()
  runNext()
}
