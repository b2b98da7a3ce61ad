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
    abstract: "Run a static Linux program on Apus, or several by a manifest.",
    discussion: """
      The program's standard streams are this command's, and so is its exit status. Only the program itself \
      appears in its file system, at its absolute path, unless --root gives it a tree.
      """)

  @Option(help: ArgumentHelp("Run the programs of a YAML file, each with a budget of its own.", valueName: "file"))
  var manifest: String?

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

  @Option(help: ArgumentHelp("Keep a core of what fails, for a debugger.", valueName: "file"))
  var core: String?

  @Flag(help: "Show each Linux system call with its arguments and result.")
  var trace = false

  @Flag(help: "Show the exact QEMU command and keep its boot image.")
  var print = false

  @Flag(help: "Show the messages of the kernel and the LibOS.")
  var verbose = false

  @Option(
    help: ArgumentHelp("What ps, stop and logs call the machine; its program's name otherwise.", valueName: "name"))
  var name: String?

  @Option(
    help: ArgumentHelp(
      "Run another LibOS than Linux's, such as one that `apus new` began; the words behind it are its own.",
      valueName: "file"))
  var libos: String?

  /// The first word is no program: the LibOS makes of the words what it likes.
  @Flag(help: .hidden)
  var bare = false

  @Argument(
    parsing: .captureForPassthrough,
    help: ArgumentHelp("The program and its arguments.", valueName: "program"))
  var command: [String] = []

  func validate() throws {
    if manifest != nil {
      guard command.isEmpty, root == nil, workdir == nil, environment.isEmpty, pager == nil, libos == nil, core == nil,
        !`guard`
      else {
        throw ValidationError("with --manifest, programs and what they get stand in that file")
      }
      try validateName()
      return
    }
    guard let first = command.first(where: { $0 != "--" }) else {
      // A LibOS by itself.
      if libos != nil { return try validateName() }
      throw ValidationError("which program? For example: apus run /bin/busybox sh")
    }
    if command.first == first, first == "--help" || first == "-h" { throw CleanExit.helpRequest(self) }
    if command.first == first, first.hasPrefix("-") { throw ValidationError("unknown option '\(first)'") }
    try validateName()
    if !publish.isEmpty, net != .user { throw ValidationError("--publish goes with --net user") }
    for (index, port) in publish.enumerated() where publish[..<index].contains(where: { $0.host == port.host }) {
      throw ValidationError("--publish names port \(port.host) of this host twice")
    }
    for setting in environment where setting.hasPrefix("=") || !setting.contains("=") {
      throw ValidationError("--env takes NAME=VALUE, not '\(setting)'")
    }
  }

  private func validateName() throws {
    guard let name, !MachineRegistration.isName(name) else { return }
    throw ValidationError("--name takes at most 32 letters, digits, dots, dashes and underscores, not '\(name)'")
  }

  func run() throws {
    throw ExitCode(try execute())
  }

  private func execute() throws(Failure) -> Int32 {
    let home = try Home()
    var launch = Launch(home: home, options: options)
    launch.isVerbose = verbose
    launch.isPrinted = print
    launch.name = name
    launch.withheldFeatures = without
    try net.check()
    launch.network = net
    launch.publishedPorts = publish
    if let core { try CoreKeeper.check(core) }
    launch.core = core
    if `guard` { launch.options.append.append("protection-keys=1") }
    if let manifest { return try launch.run(manifest: Path(manifest.utf8)) }
    var words = rawTail(count: command.count)
    if words.first == Array("--".utf8) { words.removeFirst() }
    let isAlone = words.isEmpty
    if isAlone, let libos { words = [PathWalk.components(Path(libos.utf8)).last ?? []] }
    var program = GuestProgram(words: words)
    if let libos { program.libos = Path(libos.utf8) } else { program.libos = try home.libos() }
    program.isBare = bare || isAlone
    if let root { program.root = try GuestProgram.directory(root, called: "--root \(root)") }
    program.workdir = workdir
    program.environment = environment
    if Terminal.bits() != 0, let terminal = getenv("TERM") { program.terminalType = String(cString: terminal) }
    program.settings = settings()
    return try launch.run(program)
  }

  private func settings() -> [(String, String)] {
    var settings: [(String, String)] = []
    if trace { settings.append(("trace", "1")) }
    if verbose { settings.append(("verbose", "1")) }
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
    return settings
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
