// SPDX-License-Identifier: Apache-2.0
// LinuxPeerTests.swift: the stack against the host's own TCP, through a TAP device in a network namespace of its own.

import Foundation
import Testing

/// Runs cli/NetHost, which the tests are built with.
enum LinuxPeer {
  private static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("NetHost").path

  /// Whether this machine lets us make a network namespace and a TAP device in it.
  static let isPossible = (try? run(["sh", "-c", "test -w /dev/net/tun"]).status) == 0

  static func run(_ command: [String]) throws -> (status: Int32, text: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["unshare", "-Urn"] + command
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: output, as: UTF8.self))
  }

  /// Exchanges bytes as the options say; what it said, unless all is well.
  static func exchange(_ options: String) throws -> String? {
    let result = try run([program] + options.split(separator: " ").map(String.init))
    return result.status == 0 && result.text.contains("whole") ? nil : "status \(result.status): \(result.text)"
  }
}

@Suite(
  "The host's TCP", .serialized,
  .enabled(if: LinuxPeer.isPossible, "no network namespace with a TAP device can be made here"))
struct LinuxPeerTests {
  private static let short = [
    "--up 16777216 --down 16777216",
    "--loss 100 --reordering 1000 --duplication 200 --corruption 100 --delay 300 --seed 1",
    "--loss 100 --reordering 1000 --delay 300 --seed 2 --congestion newreno",
    "--plain --loss 100 --delay 300 --up 524288 --down 524288 --seed 3",
    "--loss 3000 --delay 300 --up 16384 --down 16384 --longest-timeout 400 --seed 4",
    "--from-stack 200 --from-linux 200 --up 3000 --down 5000",
    "--mtu 576 --up 300000 --down 300000", "--mtu 9000 --loss 100 --seed 5",
  ]
  private static let long = [
    "--up 1073741824 --down 1073741824 --timeout 500",
    "--up 67108864 --down 67108864 --loss 100 --reordering 1000 --duplication 200 --delay 300 --timeout 500",
    "--up 1048576 --down 1048576 --loss 3000 --reordering 1000 --delay 300 --longest-timeout 400 --timeout 1000",
    "--from-stack 1000 --from-linux 1000 --up 20000 --down 20000",
    "--from-stack 200 --from-linux 200 --up 20000 --down 20000 --loss 100 --duplication 500 --corruption 100",
  ]

  @Test(arguments: short + (Extent.factor > 1 ? long : []))
  func bytesAreWholeBothWays(_ options: String) throws {
    let complaint = try LinuxPeer.exchange(options)
    #expect(complaint == nil)
  }

  @Test func badOptionsAreOneSentence() throws {
    let complaint = try LinuxPeer.exchange("--loss 20000")
    #expect(complaint?.contains("is no chance") == true)
  }
}
