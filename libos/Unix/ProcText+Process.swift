// SPDX-License-Identifier: Apache-2.0
// ProcText+Process.swift: stat, status and statm of a process (proc_pid_stat(5), proc_pid_status(5)).

extension ProcText {
  /// Ticks of 1/100 second, which programs take times in /proc to be in (sysconf(3), _SC_CLK_TCK).
  static func clockTicks(_ nanoseconds: UInt64) -> UInt64 { nanoseconds / 10_000_000 }

  /// The 52 fields of /proc/PID/stat.
  func statLine(_ status: ProcessStatus) -> [UInt8] {
    var text = TextBuilder()
    text.add(status.identifier)
    text.add(" (")
    text.add(status.name)
    text.add(") ")
    text.bytes.append(status.state)
    let terminal = status.hasTerminal ? 0x501 : 0  // the console's device number
    for value in [
      status.parent, status.group, status.session, terminal, status.hasTerminal ? status.foregroundGroup : -1,
    ] {
      text.add(" ")
      text.add(value)
    }
    text.add(" 4194304 ")  // flags: PF_RANDOMIZE
    text.add(status.minorFaults)
    text.add(" 0 0 0 ")
    text.add(ProcText.clockTicks(status.usedNanoseconds))
    text.add(" 0 ")
    text.add(ProcText.clockTicks(status.childrenNanoseconds))
    text.add(" 0 20 0 ")
    text.add(status.threadCount)
    text.add(" 0 ")
    text.add(ProcText.clockTicks(status.startNanoseconds))
    text.add(" ")
    text.add(status.virtualBytes)
    text.add(" ")
    text.add(status.residentPages)
    text.add(" 18446744073709551615 0 0 0 0 0 ")
    for set in [status.pendingSignals, status.blockedSignals, status.ignoredSignals, status.caughtSignals] {
      text.add(set & 0x7fff_ffff)
      text.add(" ")
    }
    text.add("0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 ")
    text.add(status.exitStatus)
    text.add("\n")
    return text.bytes
  }

  /// /proc/PID/statm: sizes in pages.
  func statmLine(_ status: ProcessStatus) -> [UInt8] {
    var text = TextBuilder()
    text.add(status.virtualBytes / 4096)
    text.add(" ")
    text.add(status.residentPages)
    text.add(" 0 0 0 ")
    text.add(status.residentPages)
    text.add(" 0\n")
    return text.bytes
  }

  /// /proc/PID/status.
  func statusText(_ status: ProcessStatus) -> [UInt8] {
    var text = TextBuilder()
    text.add("Name:\t")
    text.add(status.name)
    text.add("\nState:\t")
    text.bytes.append(status.state)
    switch status.state {
    case UInt8(ascii: "R"): text.add(" (running)")
    case UInt8(ascii: "T"): text.add(" (stopped)")
    case UInt8(ascii: "Z"): text.add(" (zombie)")
    default: text.add(" (sleeping)")
    }
    for (label, value) in [
      ("\nTgid:\t", status.identifier), ("\nNgid:\t", 0), ("\nPid:\t", status.identifier),
      ("\nPPid:\t", status.parent), ("\nTracerPid:\t", 0),
    ] {
      text.add(label)
      text.add(value)
    }
    add("\nUid:", status.users, &text)
    add("\nGid:", status.groups, &text)
    text.add("\nGroups:\t")
    for group in status.supplementaryGroups {
      text.add(UInt64(group))
      text.add(" ")
    }
    if status.state != UInt8(ascii: "Z") {
      for (label, kilobytes) in [
        ("\nVmSize:\t", status.virtualBytes / 1024), ("\nVmLck:\t", 0),
        ("\nVmRSS:\t", UInt64(status.residentPages) * 4), ("\nVmSwap:\t", 0),
      ] {
        text.add(label)
        text.add(kilobytes, width: 8)
        text.add(" kB")
      }
    }
    text.add("\nThreads:\t")
    text.add(status.threadCount)
    for (label, set) in [
      ("\nSigPnd:\t", 0), ("\nShdPnd:\t", status.pendingSignals), ("\nSigBlk:\t", status.blockedSignals),
      ("\nSigIgn:\t", status.ignoredSignals), ("\nSigCgt:\t", status.caughtSignals),
      ("\nCapInh:\t", 0), ("\nCapPrm:\t", status.users[1] == 0 ? 0x1ff_ffff_ffff : 0),
      ("\nCapEff:\t", status.users[1] == 0 ? 0x1ff_ffff_ffff : 0), ("\nCapBnd:\t", 0x1ff_ffff_ffff),
    ] {
      text.add(label)
      text.add(hexadecimal: set)
    }
    text.add("\nNoNewPrivs:\t0\nSeccomp:\t0\nCpus_allowed:\t1\nCpus_allowed_list:\t0\n")
    text.add("voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n")
    return text.bytes
  }

  private func add(_ label: String, _ identifiers: [UInt32], _ text: inout TextBuilder) {
    text.add(label)
    for identifier in identifiers {
      text.add("\t")
      text.add(UInt64(identifier))
    }
  }
}
