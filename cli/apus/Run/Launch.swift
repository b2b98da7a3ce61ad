// SPDX-License-Identifier: Apache-2.0
// Launch.swift: from boot images to a machine, and from its end to a status: for one program as for several.

import CHost
import Glibc

struct Launch {
  let home: Home
  var options: MachineOptions
  var isVerbose = false
  /// Whether the QEMU command is shown, and its image kept.
  var isPrinted = false
  /// Features that the processor is not to have.
  var withheldFeatures: [String] = []
  /// Its network card, and the ports of this host that lead to it.
  var network = MachineNetwork.none
  var publishedPorts: [PublishedPort] = []
  /// Where the core of what fails is kept.
  var core: String?
  /// What the machine has to be called.
  var name: String?

  /// Runs one program as the machine's only family.
  ///
  /// - Returns: The status to end with.
  func run(_ program: GuestProgram) throws(Failure) -> Int32 {
    let image = try program.pack(keptAt: keptAt, limit: options.memory, isRepeatable: options.icount)
    try checkMemory(image.size)
    let short = MachineRegistration.name(for: program.words[0])
    return try run(
      image, CodeFiles(libos: program.libos, root: program.root), shown(program.words[0]), called: name ?? short,
      [short], labels: nil)
  }

  /// Runs what a manifest says.
  func run(manifest path: Path) throws(Failure) -> Int32 {
    let plan = try ManifestPlan(path, home, options)
    var launch = self
    launch.options = plan.options
    launch.name = name ?? plan.manifest.name
    let folder = PathWalk.components(PathWalk.tidied(path)).last ?? []
    let image = try plan.pack(keptAt: keptAt)
    let short = MachineRegistration.name(for: folder.split(separator: 0x2e).first.map(Array.init) ?? folder)
    return try launch.run(
      image, try plan.code(), shown(path), called: launch.name ?? short,
      plan.manifest.programs.map(\.name),
      labels: plan.manifest.programs.map(\.name))
  }

  private var keptAt: Path? { isPrinted ? Self.keptImagePath() : nil }

  private func run(
    _ image: ImageFile, _ code: CodeFiles, _ programName: String, called short: String, _ programs: [String],
    labels: [String]?
  ) throws(Failure) -> Int32 {
    let kernel = try home.kernel()
    var line = MachineLine(emulator: try home.emulator(), kernel: shown(kernel), image: image.path)
    line.machine = options.machine
    line.console = options.console
    line.accelerator = options.accel
    line.memory = options.memory
    line.processors = options.cpus
    line.countsInstructions = options.icount
    line.kernelOptions = options.append
    line.withheldFeatures = withheldFeatures
    line.network = network
    line.publishedPorts = publishedPorts
    line.sharesMemory = true
    if isPrinted { Diagnostics.write(line.shellText) }

    var machine = RunningMachine()
    machine.name = short
    machine.process = getpid()
    machine.started = Int64(time(nil))
    machine.memory = options.memory
    machine.processors = options.cpus
    machine.kernel = kernel
    machine.libos = code.libos
    machine.programs = programs
    if labels != nil { machine.firstAccount = ManifestPlan.firstAccount }
    let registration = try MachineRegistration(machine, isNamed: name != nil)
    // A command that is shown has to work by itself, without this machine's folder.
    if !isPrinted, let registration { line.monitor = MachineRegistry.monitor(of: registration.machine.name) }
    var session = try Session(
      line,
      SessionOptions(
        programName: programName, isVerbose: isVerbose, timeoutSeconds: options.timeout, code: code, core: core,
        registration: registration, labels: labels))
    switch session.run() {
    case .exited(let status): return status
    case .timedOut:
      let time = Self.seconds(options.timeout ?? 0)
      Diagnostics.say("\(programName) did not end within \(time); the machine was stopped")
      return Status.timeout
    case .died(let explanation):
      Diagnostics.say(explanation)
      return Status.machine
    case .interrupted(let signal):
      chost_take_signal(signal)
      return 128 + signal
    case .outputClosed: return 128 + SIGPIPE
    }
  }

  /// What the kernel, its ledgers and a first program's pages need beside the image.
  private static let leastFreeMemory: UInt64 = 2 << 20

  private func checkMemory(_ imageSize: UInt64) throws(Failure) {
    let kernelSize = (try? HostFile.facts(home.kernel()).size) ?? 0
    // A frame's record is 24 bytes of every 4096.
    let needed = (imageSize + kernelSize + Self.leastFreeMemory) / 4096 * (4096 + 24)
    guard needed <= options.memory.bytes else {
      throw Failure(
        sentence: "too little memory: \(options.memory.inMebibytes), but the program and its files alone need "
          + "\(Memory(bytes: needed).inMebibytes); give more with --memory",
        status: Status.machine)
    }
  }

  private static func keptImagePath() -> Path {
    var folder = "/tmp"
    if let value = getenv("TMPDIR"), value.pointee != 0 { folder = String(cString: value) }
    return Path("\(folder)/apus-\(getpid()).image".utf8)
  }

  private static func seconds(_ value: Double) -> String {
    let text = value == value.rounded() ? String(Int64(value)) : String(value)
    return text == "1" ? "1 second" : "\(text) seconds"
  }
}
