// SPDX-License-Identifier: Apache-2.0
// ProcText+System.swift: what /proc says of the whole system.

import ApusRuntime

extension ProcText {
  /// The text of /proc/meminfo.
  ///
  /// The pool's pages are all the memory that the family knows of.
  func memoryText() -> [UInt8] {
    let total = UInt64(max(0, Page.totalCount)) * 4
    let free = min(total, UInt64(max(0, Page.freeCount)) * 4)
    var text = TextBuilder()
    for (label, value) in [
      ("MemTotal", total), ("MemFree", free), ("MemAvailable", free), ("Buffers", 0), ("Cached", 0),
      ("SwapCached", 0), ("Active", total - free), ("Inactive", 0), ("SwapTotal", 0), ("SwapFree", 0),
      ("Dirty", 0), ("Writeback", 0), ("AnonPages", total - free), ("Mapped", 0), ("Shmem", 0), ("Slab", 0),
      ("SReclaimable", 0), ("SUnreclaim", 0), ("PageTables", 0), ("CommitLimit", total), ("Committed_AS", 0),
      ("VmallocTotal", 0), ("VmallocUsed", 0),
    ] {
      text.add(label, kilobytes: value)
    }
    return text.bytes
  }

  /// What is mounted where: the same for every family.
  private static var mountTable: [(type: String, path: String)] {
    [("tmpfs", "/"), ("devtmpfs", "/dev"), ("proc", "/proc")]
  }

  static func mountLines() -> [UInt8] {
    var text = TextBuilder()
    for mount in mountTable {
      text.add(mount.type)
      text.add(" ")
      text.add(mount.path)
      text.add(" ")
      text.add(mount.type)
      text.add(" rw,relatime 0 0\n")
    }
    return text.bytes
  }

  static func mountInformationLines() -> [UInt8] {
    var text = TextBuilder()
    var identifier = 1
    for mount in mountTable {
      text.add(identifier)
      text.add(identifier == 1 ? " 0 0:" : " 1 0:")
      text.add(identifier)
      text.add(" / ")
      text.add(mount.path)
      text.add(" rw,relatime - ")
      text.add(mount.type)
      text.add(" ")
      text.add(mount.type)
      text.add(" rw\n")
      identifier += 1
    }
    return text.bytes
  }

  static func systemText(_ kind: ProcText, _ status: SystemStatus) -> [UInt8] {
    var text = TextBuilder()
    switch kind {
    case .uptime:
      text.add(hundredths: status.uptimeNanoseconds)
      text.add(" ")
      text.add(hundredths: status.idleNanoseconds)
    case .loadAverage:
      text.add("0.00 0.00 0.00 ")
      text.add(status.runnableCount)
      text.add("/")
      text.add(status.taskCount)
      text.add(" ")
      text.add(status.lastIdentifier)
    case .version:
      text.add("Linux version ")
      text.add(status.release)
      text.add(" ")
      text.add(status.version)
    case .release: text.add(status.release)
    case .systemVersion: text.add(status.version)
    case .hostName: text.add(status.hostName)
    case .domainName: text.add(status.domainName)
    case .systemStat: return statText(status)
    case .processor: return processorText(status)
    default: return []
    }
    text.add("\n")
    return text.bytes
  }

  private static func statText(_ status: SystemStatus) -> [UInt8] {
    var text = TextBuilder()
    let idle = clockTicks(min(status.idleNanoseconds, status.uptimeNanoseconds))
    let busy = clockTicks(status.uptimeNanoseconds) - idle
    for label in ["cpu  ", "cpu0 "] {
      text.add(label)
      text.add(busy)
      text.add(" 0 0 ")
      text.add(idle)
      text.add(" 0 0 0 0 0 0\n")
    }
    text.add("intr 0\nctxt 0\nbtime ")
    text.add((UInt64(Clock.realtimeNanoseconds) &- status.uptimeNanoseconds) / 1_000_000_000)
    text.add("\nprocesses ")
    text.add(status.startedCount)
    text.add("\nprocs_running ")
    text.add(status.runnableCount)
    text.add("\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n")
    return text.bytes
  }

  private static func processorText(_ status: SystemStatus) -> [UInt8] {
    var text = TextBuilder()
    text.add("processor\t: 0\nvendor_id\t: ")
    text.add(status.processorVendor)
    text.add("\nmodel name\t: ")
    text.add(status.processorName)
    text.add("\ncpu MHz\t\t: ")
    text.add(status.ticksPerSecond / 1_000_000)
    text.add(".000\nphysical id\t: 0\nsiblings\t: 1\ncore id\t\t: 0\ncpu cores\t: 1\nfpu\t\t: yes\nflags\t\t: ")
    text.add(status.processorFlags)
    text.add("\naddress sizes\t: 40 bits physical, 48 bits virtual\n\n")
    return text.bytes
  }
}
