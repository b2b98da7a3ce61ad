// SPDX-License-Identifier: Apache-2.0
// ServeCommand.swift: `apus serve DIR`: a machine that serves a directory to browsers of this host.

import ArgumentParser
import CHost
import Glibc

struct Serve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Serve a directory by HTTP from a machine of its own.",
    discussion: """
      The directory is packed as it is now; what changes in it later is not seen. The server runs on the bare kernel, \
      without a UNIX, and shows the machine at /.apus. It ends with Ctrl-C.
      """)

  @Argument(help: ArgumentHelp("The directory.", valueName: "dir"))
  var directory: String

  @Option(help: ArgumentHelp("The port on 127.0.0.1 of this host.", valueName: "number"))
  var port: UInt16 = 8080

  @Option(
    help: ArgumentHelp(
      "Instead of this host's port: a TAP device, on which the machine has the address of --ip.",
      valueName: "tap:NAME"))
  var net: MachineNetwork = .user

  @Option(
    help: ArgumentHelp(
      "The machine's own address; otherwise it asks for one by DHCP.", valueName: "address/prefix[,router]"))
  var ip: String?

  @Flag(help: "Show the exact QEMU command and keep its boot image.")
  var print = false

  @Option(help: ArgumentHelp("What ps, stop and logs call the machine.", valueName: "name"))
  var name: String?

  @OptionGroup var options: MachineOptions

  func validate() throws {
    guard port != 0 else { throw ValidationError("--port takes a number from 1 to 65535") }
    if net == .none { throw ValidationError("a server needs a network: --net user or --net tap:NAME") }
    if let name, !MachineRegistration.isName(name) {
      throw ValidationError("--name takes at most 32 letters, digits, dots, dashes and underscores, not '\(name)'")
    }
  }

  func run() throws { throw ExitCode(try execute()) }

  private func execute() throws(Failure) -> Int32 {
    let home = try Home()
    var launch = Launch(home: home, options: options)
    launch.isPrinted = print
    launch.name = name
    try net.check()
    launch.network = net
    var words = ["cheetah"]
    if net == .user {
      try Self.check(port: port)
      guard let published = PublishedPort("\(port):80") else {
        throw Failure(sentence: "\(port) is no port", status: Status.usage)
      }
      launch.publishedPorts = [published]
      words += ["--url", "http://127.0.0.1:\(port)/"]
    }
    if let ip { words += ["--ip", ip] }
    var program = GuestProgram(words: words.map { Array($0.utf8) })
    program.libos = try home.built("cheetah.elf")
    program.isBare = true
    program.root = try GuestProgram.directory(directory, called: directory)
    return try launch.run(program)
  }

  /// Whether a port of this host can be listened on.
  private static func check(port: UInt16) throws(Failure) {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    var yes: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result != 0 else { return }
    throw Failure(
      sentence: errno == EACCES
        ? "port \(port) of this host may not be opened by this user; take one above 1023 with --port"
        : "port \(port) of this host is in use; take another with --port",
      status: Status.machine)
  }
}
