// SPDX-License-Identifier: Apache-2.0
// NetHost.swift: runs libos/Net on a TAP device against the host's own TCP, perhaps over a bad line.

import ApusNet
import ArgumentParser
import CTap
import Glibc

@main
struct NetHost: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "NetHost",
    abstract: "Exchange bytes between libos/Net and the host's TCP, and check them.",
    discussion: "It makes a TAP device: run it as `unshare -Urn NetHost ...`, in a network namespace of its own.")

  @Option(help: "What decides every random choice.") var seed: UInt64 = 1
  @Option(help: "Bytes to Linux in each connection.") var up = 1 << 20
  @Option(help: "Bytes from Linux in each connection.") var down = 1 << 20
  @Option(help: "Connections that the stack begins.") var fromStack = 1
  @Option(help: "Connections that Linux begins.") var fromLinux = 1
  @Option(help: "Frames lost, in hundredths of a percent, each way.") var loss = 0
  @Option(help: "Frames that others overtake, likewise.") var reordering = 0
  @Option(help: "Frames that come twice, likewise.") var duplication = 0
  @Option(help: "Frames with a wrong bit, likewise.") var corruption = 0
  @Option(help: "Microseconds that each way takes.") var delay = 0
  @Option(help: "The link's MTU.") var mtu = 1500
  @Option(help: "Seconds after which it has failed.") var timeout = 300
  @Option(help: "The congestion controller: cubic or newreno.") var congestion = "cubic"
  @Option(help: "Milliseconds of the stack's longest retransmission timeout.") var longestTimeout = 60_000
  @Flag(help: "No timestamps, SACK or window scale.") var plain = false
  @Option(help: ArgumentHelp("A capture of the TAP device's frames to write.", valueName: "file")) var capture: String?
  @Flag(help: .hidden) var asLinux = false

  static let linuxAddress: UInt32 = 0x0a63_0001
  static let stackAddress: UInt32 = 0x0a63_0002

  private var plan: ExchangePlan {
    ExchangePlan(seed: seed, up: up, down: down, fromStack: fromStack, fromLinux: fromLinux)
  }

  func validate() throws {
    guard congestion == "cubic" || congestion == "newreno" else {
      throw ValidationError("There is no congestion controller \(congestion): say cubic or newreno.")
    }
    for number in [up, down, fromStack, fromLinux, delay, timeout, longestTimeout] where number < 0 {
      throw ValidationError("\(number) is no amount: give a number of 0 or more.")
    }
    for chance in [loss, reordering, duplication, corruption] where !(0...10_000).contains(chance) {
      throw ValidationError("\(chance) is no chance: give hundredths of a percent, 0 to 10000.")
    }
    guard (576...65_535).contains(mtu) else { throw ValidationError("The MTU \(mtu) is not within 576 to 65535.") }
  }

  func run() throws {
    do throws(Mismatch) {
      if asLinux { try runLinux() } else { try runStack() }
    } catch {
      let sentence = Array("NetHost: \(error.sentence)\n".utf8)
      _ = write(2, sentence, sentence.count)
      throw ExitCode(1)
    }
  }

  private func runLinux() throws(Mismatch) {
    ctap_end_with_parent()
    let listener = ctap_listen(7001)
    if listener < 0 { throw Mismatch(sentence: "Linux cannot listen: error \(-listener)") }
    // The listener is there: the stack may begin.
    _ = write(1, "!", 1)
    var side = LinuxSide(plan, stackAddress: Self.stackAddress)
    try side.run(listener: listener)
  }

  private func runStack() throws(Mismatch) {
    let device = ctap_open("apus0", Self.linuxAddress, Int32(mtu))
    if device < 0 {
      throw Mismatch(
        sentence: "the TAP device cannot be made (error \(-device)): run it as `unshare -Urn NetHost ...`")
    }
    let linux = try Child(arguments: Array(CommandLine.arguments.dropFirst()) + ["--as-linux"])
    var line = Line(
      device: device,
      quality: LineQuality(
        loss: loss, reordering: reordering, duplication: duplication, corruption: corruption,
        delay: .microseconds(Int64(delay))), seed: seed, capture: capture)
    let stack = NetworkStack(stackConfiguration)
    stack.configure(IPv4Configuration(IPv4Address(Self.stackAddress), prefixLength: 24))
    let side: StackSide
    do throws(TCPError) { side = try StackSide(stack, plan) } catch {
      throw Mismatch(sentence: "no listener: \(error)")
    }
    try exchange(stack, side, &line, linux)
  }

  private var stackConfiguration: StackConfiguration {
    var configuration = StackConfiguration(
      hardwareAddress: MACAddress(0x0200_0000_0063), secret: Secret(low: seed, high: ~seed))
    configuration.maximumPacket = mtu
    configuration.tcp.sendBuffer = 1 << 20
    configuration.tcp.receiveBuffer = 1 << 20
    configuration.tcp.maximumTimeout = .milliseconds(Int64(longestTimeout))
    configuration.tcp.retries = 100
    configuration.memoryLimit = 1 << 28
    if congestion == "newreno" { configuration.tcp.makeController = { NewReno() } }
    if plain {
      configuration.tcp.usesTimestamps = false
      configuration.tcp.usesSelectiveAcknowledgement = false
      configuration.tcp.usesWindowScaling = false
    }
    return configuration
  }

  private func exchange(
    _ stack: NetworkStack, _ side: StackSide, _ line: inout Line, _ linux: Child
  ) throws(Mismatch) {
    var side = side
    let start = Line.now
    let destination = Endpoint(.v4(IPv4Address(Self.linuxAddress)), 7001)
    var linuxIsDone = false
    while !side.isDone || !linuxIsDone {
      let now = Line.now
      if now - start > .seconds(Int64(timeout)) {
        linux.end()
        throw Mismatch(
          sentence: "after \(timeout) seconds \(side.openCount) connections are open, \(side.missing) have not begun"
            + (linuxIsDone ? "" : "; Linux's side is not done"))
      }
      line.receive(stack, now)
      try side.act(destination, now)
      stack.poll(now)
      line.send(stack, now)
      if !linuxIsDone, let status = linux.status() {
        linuxIsDone = true
        if status != 0 { throw Mismatch(sentence: "Linux's side failed") }
      }
      line.wait(earliest(stack.deadline, now + .milliseconds(50)), now)
    }
    let milliseconds = (Line.now - start).wholeMilliseconds
    let counts = stack.counts
    print(
      "all \(plan.fromStack + plan.fromLinux) connections whole after \(milliseconds) ms;",
      "\(counts.framesReceived) frames received, \(counts.framesSent) sent, \(line.lost) lost on the line,",
      "\(counts.malformed + counts.badChecksums) damaged")
  }

  private func earliest(_ deadline: Instant?, _ other: Instant) -> Instant { deadline.map { min($0, other) } ?? other }
}
