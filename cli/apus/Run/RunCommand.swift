// SPDX-License-Identifier: Apache-2.0
// RunCommand.swift: `apus run`, from the user's words to the program's exit status.

import ApusImage
import ArgumentParser
import CHost
import Glibc

extension MachineType: ExpressibleByArgument {}
extension ConsoleDevice: ExpressibleByArgument {}
extension Accelerator: ExpressibleByArgument {}

extension Memory: ExpressibleByArgument {
  init?(argument: String) { self.init(argument) }
}

extension MachineNetwork: ExpressibleByArgument {
  init?(argument: String) { self.init(argument) }
}

extension PublishedPort: ExpressibleByArgument {
  init?(argument: String) { self.init(argument) }
}

/// What a machine is to be like; shared by the commands that start one.
struct MachineOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The machine's memory: 256M, 1G.", valueName: "size"))
  var memory = Memory(bytes: 256 << 20)

  @Option(help: "The kind of machine.")
  var machine = MachineType.microvm

  @Option(help: .hidden)
  var console = ConsoleDevice.standard

  @Option(help: .hidden)
  var accel = Accelerator.tcg

  @Option(help: ArgumentHelp("How many processors the machine has.", valueName: "count"))
  var cpus = 1

  @Flag(
    help: """
      Virtual time: the machine's clock counts instructions, one a nanosecond, wall clock and random seed start the \
      same each time, and nothing depends on the host's speed.
      """)
  var icount = false

  @Option(
    help: ArgumentHelp(
      "Words for the kernel, such as slice-milliseconds=2; may be repeated.", valueName: "words"))
  var append: [String] = []

  @Option(help: ArgumentHelp("Stop after so many seconds, with status 124.", valueName: "seconds"))
  var timeout: Double?

  func validate() throws {
    if let timeout, !(timeout > 0 && timeout < 1e8) {
      throw ValidationError("--timeout takes a number of seconds above 0")
    }
    guard (1...255).contains(cpus) else { throw ValidationError("--cpus takes a number from 1 to 255") }
    if icount, accel == .kvm { throw ValidationError("--icount counts what tcg executes, not kvm") }
  }
}

/// How LibUnix chooses which pages go.
enum PagerPolicy: String, ExpressibleByArgument, CaseIterable {
  case clock
  case fifo
}

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a static Linux program on Apus.",
    discussion: """
      The program's standard streams are this command's, and so is its exit status. Only the program itself \
      appears in its file system, at its absolute path, unless --root gives it a tree.
      """)

  @Option(help: ArgumentHelp("Pack this directory as the program's file system.", valueName: "dir"))
  var root: String?

  @OptionGroup var options: MachineOptions

  @Option(
    name: .customLong("env"),
    help: ArgumentHelp("Set an environment variable; may be repeated.", valueName: "name=value"))
  var environment: [String] = []

  @Option(help: ArgumentHelp("The directory that the program starts in.", valueName: "dir"))
  var workdir: String?

  @Option(
    help: ArgumentHelp(
      "Give pages back when the kernel asks, chosen by clock or fifo; what must be kept goes to a page server.",
      valueName: "policy"))
  var pager: PagerPolicy?

  /// A feature that the machine's processor is not to have, by QEMU's name; for tests of what is said then.
  @Option(help: .hidden)
  var without: [String] = []

  /// How many pages the page server may keep.
  @Option(help: .hidden)
  var swap: Int?

  /// FRAMES/MILLISECONDS: so many frames are asked back every so often; the pager's tests.
  @Option(help: .hidden)
  var revoke: String?

  @Flag(
    help: """
      Guard the LibOS against wild writes of the programs that it runs, by a protection key; refused where the \
      processor has none.
      """)
  var `guard` = false

  @Option(
    help: ArgumentHelp(
      "The network card: none, user (QEMU's own network), or tap:NAME (a TAP device of this host).",
      valueName: "none|user|tap:NAME"))
  var net = MachineNetwork.none

  @Option(
    help: ArgumentHelp(
      "With --net user: this host's port on 127.0.0.1 leads to the machine's, UDP and TCP; may be repeated.",
      valueName: "host:guest"))
  var publish: [PublishedPort] = []

  @Flag(help: "Show each Linux system call with its arguments and result.")
  var trace = false

  @Flag(help: "Show the exact QEMU command and keep its boot image.")
  var print = false

  @Flag(help: "Show the messages of the kernel and the LibOS.")
  var verbose = false

  @Option(
    help: ArgumentHelp("What ps, stop and logs call the machine; its program's name otherwise.", valueName: "name"))
  var name: String?

  /// Another LibOS than build/libos.elf; the machine tests bring their own.
  @Option(help: .hidden)
  var libos: String?

  /// The first word is no program: the LibOS makes of the words what it likes.
  @Flag(help: .hidden)
  var bare = false

  @Argument(
    parsing: .captureForPassthrough,
    help: ArgumentHelp("The program and its arguments.", valueName: "program"))
  var command: [String] = []

  func validate() throws {
    guard let first = command.first(where: { $0 != "--" }) else {
      throw ValidationError("which program? For example: apus run /bin/busybox sh")
    }
    if command.first == first, first == "--help" || first == "-h" { throw CleanExit.helpRequest(self) }
    if command.first == first, first.hasPrefix("-") { throw ValidationError("unknown option '\(first)'") }
    if let name, !MachineRegistration.isName(name) {
      throw ValidationError("--name takes at most 32 letters, digits, dots, dashes and underscores, not '\(name)'")
    }
    if !publish.isEmpty, net != .user { throw ValidationError("--publish goes with --net user") }
    for (index, port) in publish.enumerated() where publish[..<index].contains(where: { $0.host == port.host }) {
      throw ValidationError("--publish names port \(port.host) of this host twice")
    }
    for setting in environment where setting.hasPrefix("=") || !setting.contains("=") {
      throw ValidationError("--env takes NAME=VALUE, not '\(setting)'")
    }
  }

  func run() throws {
    throw ExitCode(try execute())
  }

  private func execute() throws(Failure) -> Int32 {
    let home = try Home()
    var words = rawTail(count: command.count)
    if words.first == Array("--".utf8) { words.removeFirst() }
    let programName = words[0]

    let rootPath = try rootDirectory()
    let program = bare ? nil : try Program(named: programName, root: rootPath)
    let tree = try fileTree(program, rootPath)
    let kernel = try home.kernel()
    let system: Path
    if let libos { system = Path(libos.utf8) } else { system = try home.libos() }
    let start = StartCommand(
      settings: settings(), program: program?.path ?? programName, arguments: words,
      environment: guestEnvironment())
    let image = try ImageFile(
      libos: system, tree: tree, command: start, keptAt: print ? Self.keptImagePath() : nil)
    try checkMemory(image.size, kernel)
    try net.check()

    var line = MachineLine(
      emulator: try home.emulator(), kernel: shown(kernel), image: image.path)
    line.machine = options.machine
    line.console = options.console
    line.accelerator = options.accel
    line.memory = options.memory
    line.processors = options.cpus
    line.countsInstructions = options.icount
    line.kernelOptions = options.append + (`guard` ? ["protection-keys=1"] : [])
    line.withheldFeatures = without
    line.sharesMemory = true
    line.network = net
    line.publishedPorts = publish
    if print { Diagnostics.write(line.shellText) }

    var machine = RunningMachine()
    machine.name = name ?? MachineRegistration.name(for: programName)
    machine.process = getpid()
    machine.started = Int64(time(nil))
    machine.memory = options.memory
    machine.processors = options.cpus
    machine.kernel = kernel
    machine.libos = system
    machine.programs = [MachineRegistration.name(for: programName)]
    let registration = try MachineRegistration(machine, isNamed: name != nil)
    // A command that is shown has to work by itself, without this machine's folder.
    if !print, let registration { line.monitor = MachineRegistry.monitor(of: registration.machine.name) }
    var session = try Session(
      line,
      SessionOptions(
        programName: shown(programName), isVerbose: verbose, timeoutSeconds: options.timeout,
        code: CodeFiles(libos: system, root: rootPath),
        registration: registration))
    switch session.run() {
    case .exited(let status): return status
    case .timedOut:
      Diagnostics.say(
        "\(shown(programName)) did not end within \(Self.seconds(options.timeout ?? 0)); the machine was stopped")
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

  private func rootDirectory() throws(Failure) -> Path {
    guard let root else { return [] }
    var path = PathWalk.tidied(Path(root.utf8))
    do throws(PathError) {
      let walk = try PathWalk(root: [], path: path)
      guard case .directory? = walk.steps.last else { throw .notDirectory(path) }
      path = walk.resolved
    } catch {
      throw Failure(sentence: "--root \(root) is no directory", status: Status.usage)
    }
    return path
  }

  private func fileTree(_ program: Program?, _ root: Path) throws(Failure) -> FileTree {
    var tree = FileTree()
    if root.isEmpty {
      tree.addSkeleton(withAccounts: true)
      for path in program.map({ [$0.path] + $0.interpreters }) ?? [] {
        do {
          tree.addWalk(try PathWalk(root: [], path: path))
        } catch {
          throw Failure(sentence: "\(shown(path)) went away while it was packed", status: Status.machine)
        }
      }
      if let workdir { tree.addDirectory(PathWalk.tidied([HostFile.slash] + Path(workdir.utf8))) }
    } else {
      try tree.addTree(root, limit: options.memory.bytes)
      tree.addSkeleton(withAccounts: false)
      if let first = tree.skipped.first {
        let others = tree.skipped.count - 1
        Diagnostics.say(
          "not packed, as it is a device, a socket, a pipe or another file system: \(shown(root + first))"
            + (others > 0 ? " and \(others) more like it" : ""))
      }
      if let workdir, !tree.contains(PathWalk.tidied([HostFile.slash] + Path(workdir.utf8))) {
        throw Failure(
          sentence: "--workdir \(workdir): there is no such directory in \(shown(root))", status: Status.usage)
      }
    }
    return tree
  }

  private func settings() -> [StartCommand.Setting] {
    var settings: [(String, String)] = []
    if trace { settings.append(("trace", "1")) }
    if verbose { settings.append(("verbose", "1")) }
    if let workdir {
      settings.append(("workdir", shown(PathWalk.tidied([HostFile.slash] + Path(workdir.utf8)))))
    }
    if `guard` { settings.append(("guard", "1")) }
    if let pager { settings.append(("pager", pager.rawValue)) }
    if let swap { settings.append(("swap", String(swap))) }
    if let revoke { settings.append(("revoke", revoke)) }
    let bits = Terminal.bits()
    settings.append(("terminal", String(bits)))
    if bits != 0, let size = Terminal.size() {
      settings.append(("rows", String(size.rows)))
      settings.append(("columns", String(size.columns)))
    }
    if options.icount {
      settings += Self.repeatable
    } else {
      var time = timespec()
      clock_gettime(CLOCK_REALTIME, &time)
      settings.append(("epoch", String(Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))))
      var generator = SystemRandomNumberGenerator()
      let digits = Array("0123456789abcdef".utf8)
      let seed = (0..<64).map { _ in digits[Int(generator.next() & 15)] }
      settings.append(("seed", shown(seed)))
    }
    return settings.map { .init(key: Array($0.0.utf8), value: Array($0.1.utf8)) }
  }

  /// The wall clock and random bytes of counted runs, which are then the same to the instruction.
  static let repeatable = [("epoch", "1700000000000000000"), ("seed", String(repeating: "5a", count: 32))]

  private func guestEnvironment() -> [[UInt8]] {
    var variables: [(name: String, text: String)] = []
    func set(_ text: String) {
      let name = String(text.prefix { $0 != "=" })
      variables.removeAll { $0.name == name }
      variables.append((name, text))
    }
    set("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    set("HOME=/root")
    if Terminal.bits() != 0, let terminal = getenv("TERM") { set("TERM=" + String(cString: terminal)) }
    for text in environment { set(text) }
    return variables.map { Array($0.text.utf8) }
  }

  /// What the kernel, its ledgers and a first program's pages need beside the image.
  private static let leastFreeMemory: UInt64 = 2 << 20

  private func checkMemory(_ imageSize: UInt64, _ kernel: Path) throws(Failure) {
    let kernelSize = (try? HostFile.facts(kernel).size) ?? 0
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

/// The last arguments of this process as they were given, text or not.
private func rawTail(count: Int) -> [[UInt8]] {
  let all = (0..<Int(CommandLine.argc)).compactMap { index -> [UInt8]? in
    guard let text = CommandLine.unsafeArgv[index] else { return nil }
    return UnsafeBufferPointer(start: text, count: strlen(text)).map { UInt8(bitPattern: $0) }
  }
  return Array(all.suffix(count))
}
