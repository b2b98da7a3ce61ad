// SPDX-License-Identifier: Apache-2.0
// MachineLine.swift: the machine that Apus runs on, as a QEMU command line.

/// The kind of machine.
enum MachineType: String, CaseIterable {
  case microvm
  case q35
}

/// The device that carries the console records.
enum ConsoleDevice: String, CaseIterable {
  /// A 16550 serial port.
  case serial
  /// A virtio console.
  case virtio

  /// The device unless something else is asked for.
  static let standard = ConsoleDevice.virtio

  /// The QEMU options that put this device on a machine, connected to character device "console".
  func options(on machine: MachineType) -> [String] {
    switch (self, machine) {
    case (.serial, _): ["-serial", "chardev:console"]
    // The serial port then carries the kernel's last words only: they join QEMU's own on its standard error.
    // A virtserialport, as QEMU drops what a virtconsole sends when the host is slow to read.
    case (.virtio, .microvm):
      [
        "-serial", "file:/dev/stderr", "-global", "virtio-mmio.force-legacy=false",
        "-device", "virtio-serial-device", "-device", "virtserialport,chardev=console",
      ]
    case (.virtio, .q35):
      [
        "-serial", "file:/dev/stderr", "-device", "virtio-serial-pci,disable-legacy=on,ioeventfd=off",
        "-device", "virtserialport,chardev=console",
      ]
    }
  }
}

/// What executes the guest's instructions.
enum Accelerator: String, CaseIterable {
  case tcg
  case kvm
}

/// One machine.
struct MachineLine {
  var emulator: String
  var kernel: String
  var image: String
  var machine = MachineType.microvm
  var console = ConsoleDevice.standard
  var accelerator = Accelerator.tcg
  var memory = Memory(bytes: 256 << 20)
  /// How many processors it has.
  var processors = 1
  /// Whether its clock counts instructions, one a nanosecond, instead of following the host's.
  var countsInstructions = false
  /// Whether other processes of the same user may read its memory while it runs: `apus map`, `top`, `trace`.
  var sharesMemory = false
  /// Where the emulator takes requests (QMP); empty for nowhere.
  var monitor: Path = []
  var network = MachineNetwork.none
  var publishedPorts: [PublishedPort] = []
  var kernelOptions: [String] = []
  /// Features of the processor that the machine is not to have, by QEMU's names.
  var withheldFeatures: [String] = []
  var extra: [String] = []

  /// The command, program first.
  var arguments: [String] {
    var model =
      switch machine {
      case .microvm: "microvm,pit=on,pic=on,rtc=on"
      case .q35: "q35"
      }
    if sharesMemory { model += ",memory-backend=memory" }
    let processor = ([accelerator == .kvm ? "host" : "max"] + withheldFeatures.map { "-\($0)" }).joined(separator: ",")
    var line = [
      emulator, "-accel", accelerator.rawValue, "-cpu", processor,
      "-machine", model, "-m", memory.text, "-smp", String(processors), "-kernel", kernel, "-initrd", image,
      "-display", "none", "-nodefaults", "-no-reboot",
      "-chardev", "stdio,id=console,signal=off",
    ]
    // A file in memory that has no name: it goes when the emulator does, however that ends.
    if sharesMemory { line += ["-object", "memory-backend-memfd,id=memory,size=\(memory.text),share=on"] }
    line += console.options(on: machine)
    line += network.options(on: machine, ports: publishedPorts)
    line += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    if !monitor.isEmpty { line += ["-qmp", "unix:\(shown(monitor)),server=on,wait=off"] }
    // Idle processors do not wait: the clock jumps to the next timer.
    if countsInstructions { line += ["-icount", "shift=0,sleep=off"] }
    if !kernelOptions.isEmpty { line += ["-append", kernelOptions.joined(separator: " ")] }
    return line + extra
  }

  /// The command as a shell takes it.
  var shellText: String {
    let harmless = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,:=+@%".utf8)
    return arguments.map { word in
      guard word.isEmpty || !word.utf8.allSatisfy(harmless.contains) else { return word }
      let parts = word.split(separator: "'", omittingEmptySubsequences: false)
      return "'" + parts.joined(separator: "'\\''") + "'"
    }.joined(separator: " ")
  }
}

/// An amount of memory.
struct Memory: Equatable {
  let bytes: UInt64

  init(bytes: UInt64) { self.bytes = bytes }

  /// Reads "256M", "1G", "65536K" or "256" (MiB).
  init?(_ text: String) {
    let units: [Character: UInt64] = ["k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40]
    var digits = text.lowercased()
    if digits.hasSuffix("ib") { digits.removeLast(2) } else if digits.hasSuffix("b") { digits.removeLast() }
    var unit: UInt64 = 1 << 20
    if let last = digits.last, let known = units[last] {
      unit = known
      digits.removeLast()
    }
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let count = UInt64(digits), count > 0
    else { return nil }
    let (bytes, overflow) = count.multipliedReportingOverflow(by: unit)
    guard !overflow, bytes <= 1 << 42 else { return nil }
    self.bytes = bytes
  }

  /// As QEMU takes it.
  var text: String { bytes % (1 << 20) == 0 ? "\(bytes >> 20)M" : "\((bytes + 1023) >> 10)K" }

  /// As a person reads it, rounded up.
  var inMebibytes: String { "\((bytes + (1 << 20) - 1) >> 20) MiB" }
}
