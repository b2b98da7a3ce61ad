// SPDX-License-Identifier: Apache-2.0
// BenchMachine.swift: the one machine that Apus and its Linux twin are measured on.

/// The machine and the configuration of a bench run; the same for both systems.
struct BenchMachine {
  let configuration: BenchConfiguration
  let emulator: String
  /// Speed of the host's time stamp counter, which is the guest's by the wall clock; nil when unknown.
  let ticksPerSecond: Double?

  /// Which clock a boot runs by.
  enum Counting {
    /// Every guest instruction is one tick of the counter (QEMU's -icount shift=0).
    case instructions
    /// The host's time.
    case wall
  }

  /// 5-level paging, protection keys and the fast-string hints cost Linux time under TCG: without them it is at
  /// its best (bench/README.md).
  var processor: String { configuration == .stock ? "max" : "max,-erms,-fsrm,-la57,-pku" }

  /// Linux's command line, before the words for its first process.
  ///
  /// At its best, Linux leaves out the self-tests of its ciphers, more than half of its way to the first process.
  /// By the wall clock a busy host can keep Linux from finding the counter's speed, and then it hangs: it is told.
  func linuxOptions(_ counting: Counting) -> [String] {
    var words = ["console=ttyS0", "quiet", "panic=-1", "norandmaps"]
    if configuration == .tuned { words += ["mitigations=off", "cryptomgr.notests"] }
    if counting == .wall, let ticksPerSecond {
      words.append("tsc_early_khz=\(Int64(ticksPerSecond / 1000))")
    }
    return words
  }

  /// The machine for Apus.
  func apus(kernel: Path, image: String, counting: Counting, events: BenchEventCounter?) -> MachineLine {
    var line = MachineLine(emulator: emulator, kernel: shown(kernel), image: image)
    line.extra = extra(counting, events)
    return line
  }

  /// The machine for Linux: its console is the serial port, which its kernel has built in.
  ///
  /// The device that carries Apus's console is there too, unused.
  func linux(
    kernel: String, image: String, words: [String], counting: Counting, events: BenchEventCounter?
  ) -> MachineLine {
    var line = MachineLine(emulator: emulator, kernel: kernel, image: image)
    line.console = .serial
    line.kernelOptions = linuxOptions(counting) + words
    line.extra =
      ["-global", "virtio-mmio.force-legacy=false", "-device", "virtio-serial-device"]
      + extra(counting, events)
    return line
  }

  /// QEMU takes the last processor that it is given.
  private func extra(_ counting: Counting, _ events: BenchEventCounter?) -> [String] {
    ["-cpu", processor] + (counting == .instructions ? ["-icount", "shift=0,sleep=off"] : [])
      + (events?.options ?? [])
  }
}
