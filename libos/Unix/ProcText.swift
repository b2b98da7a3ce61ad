// SPDX-License-Identifier: Apache-2.0
// ProcText.swift: the text of each file of /proc, in the shapes of proc(5).

import ApusRuntime

/// A file of /proc, by what it says.
enum ProcText {
  case stat, status, statm, commandLine, name, environment, auxiliaryVector, maps, limits
  case mounts, mountInformation, controlGroups
  case descriptor(Int)
  case memory, uptime, systemStat, version, processor, loadAverage, fileSystems, bootCommand
  case devices, partitions, swaps, virtualMemory, interrupts
  case systemType, release, systemVersion, hostName, domainName
  case uniqueIdentifier
  case number(Int)
  case zero, zeroWithoutNewline, noIdentifier, empty

  var permissions: UInt32 {
    switch self {
    case .environment, .auxiliaryVector: 0o400
    case .zero, .number: 0o644
    default: 0o444
    }
  }

  /// Whether a write says yes and does nothing, as for settings that mean nothing here.
  var ignoresWrites: Bool {
    switch self {
    case .zero, .number, .noIdentifier: true
    default: false
    }
  }

  /// The text; nil if the process is gone.
  func contents(_ information: any ProcessInformation, _ process: Int) -> [UInt8]? {
    switch self {
    case .stat, .status, .statm, .name:
      guard let status = information.status(of: process) else { return nil }
      return processText(status)
    case .commandLine: return information.commandLine(of: process)
    case .environment: return information.environment(of: process)
    case .auxiliaryVector: return information.auxiliaryVector(of: process)
    case .maps: return information.maps(of: process)
    case .limits: return information.limits(of: process)
    case .descriptor(let descriptor): return descriptorText(information.descriptors(of: process), descriptor)
    default: return systemText(information)
    }
  }

  private func processText(_ status: ProcessStatus) -> [UInt8] {
    switch self {
    case .stat: statLine(status)
    case .status: statusText(status)
    case .statm: statmLine(status)
    default: status.name + [10]
    }
  }

  private func descriptorText(_ table: DescriptorTable?, _ descriptor: Int) -> [UInt8]? {
    guard let table, table.isOpen(descriptor) else { return nil }
    var text = TextBuilder()
    do throws(Errno) {
      let file = try table.file(descriptor)
      text.add("pos:\t")
      text.add(UInt64(max(0, file.offset)))
      text.add("\nflags:\t0")
      var octal: [UInt8] = []
      var rest = file.flags.rawValue
      while rest > 0 {
        octal.append(UInt8(ascii: "0") + UInt8(rest & 7))
        rest >>= 3
      }
      octal.reverse()
      text.add(octal)
      text.add("\nmnt_id:\t1\nino:\t")
      text.add(file.node.number)
      text.add("\n")
    } catch { return nil }
    return text.bytes
  }

  private func line(_ value: [UInt8]) -> [UInt8] { value + [10] }

  private func systemText(_ information: any ProcessInformation) -> [UInt8] {
    switch self {
    case .memory: return memoryText()
    case .mounts: return ProcText.mountLines()
    case .mountInformation: return ProcText.mountInformationLines()
    case .controlGroups: return bytes("0::/\n")
    case .fileSystems: return bytes("nodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tpipefs\n")
    case .bootCommand: return bytes("apus\n")
    case .devices:
      return bytes("Character devices:\n  1 mem\n  4 tty\n  5 /dev/tty\n  5 /dev/console\n\nBlock devices:\n")
    case .partitions: return bytes("major minor  #blocks  name\n\n")
    case .swaps: return bytes("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
    case .interrupts: return bytes("           CPU0\n")
    case .virtualMemory: return line(bytes("nr_free_pages ") + decimal(UInt64(Page.freeCount)))
    case .systemType: return bytes("Linux\n")
    case .zero: return bytes("0\n")
    case .zeroWithoutNewline: return bytes("0")
    case .noIdentifier: return bytes("4294967295")
    case .empty: return []
    case .number(let value): return line(decimal(UInt64(value)))
    case .uniqueIdentifier: return uniqueIdentifier()
    default: return ProcText.systemText(self, information.systemStatus())
    }
  }

  /// A random identifier (RFC 9562, 5.4).
  private func uniqueIdentifier() -> [UInt8] {
    var random = [UInt8](repeating: 0, count: 16)
    Bytes.withArray(&random) { Random.fill($0) }
    random[6] = random[6] & 0x0f | 0x40
    random[8] = random[8] & 0x3f | 0x80
    var text: [UInt8] = []
    for index in 0..<16 {
      if index == 4 || index == 6 || index == 8 || index == 10 { text.append(UInt8(ascii: "-")) }
      for digit in [random[index] >> 4, random[index] & 15] {
        text.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
      }
    }
    return line(text)
  }
}
