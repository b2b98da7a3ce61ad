// SPDX-License-Identifier: Apache-2.0
// ManifestMachineTests.swift: the programs of a manifest on a machine that runs: stopped one by one, asked what they
// wrote, started again by their rules.

import Foundation
import Testing

@testable import apus

@Suite(.serialized, .enabled(if: Built.isComplete, "build/ is not complete")) struct ManifestMachineTests {
  private static let manifest = """
    machine: {name: several, memory: 192M}
    programs:
      - {name: one, run: [/bin/busybox, sh, -c, "echo one is here; exec /bin/busybox sleep 1000"], memory: 20M}
      - {name: two, run: [/bin/busybox, sh, -c, "echo two is here; exec /bin/busybox sleep 1000"], memory: 20M}
      - name: failing
        run: [/bin/busybox, sh, -c, "echo once more; exit 3"]
        memory: 20M
        background: true
        restart: {rule: on-failure, limit: 2, backoff: 10ms}
      - name: succeeding
        run: [/bin/busybox, sh, -c, "echo it worked; exit 0"]
        memory: 20M
        background: true
        restart: {rule: on-failure, limit: 2, backoff: 10ms}
      - name: always
        run: [/bin/busybox, sh, -c, "echo again and again; exit 0"]
        memory: 20M
        background: true
        restart: {rule: always, limit: 3, backoff: 10ms}
    """

  @Test func `one program is stopped, its words are its own, and restarts follow the rules`() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "apus-many-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(
      at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    let file = folder.appendingPathComponent("several.yaml")
    try Self.manifest.write(to: file, atomically: true, encoding: .utf8)
    let machine = try LiveMachine(["--manifest", file.path], folder: folder)
    defer { machine.end() }
    try machine.expect("one | one is here\n")
    try machine.expect("two | two is here\n")
    try machine.expect("failing ended with status 3; it starts again\n", times: 2)
    try machine.expect("failing | once more\n", times: 3)
    try machine.expect("failing ended with status 3\n")
    try machine.expect("always | again and again\n", times: 4)
    try machine.expect("always ended with status 0; it starts again\n", times: 3)
    try machine.expect("succeeding | it worked\n")

    #expect(try machine.apus("logs", "several/one").output == "one | one is here\n")
    #expect(
      try machine.apus("logs", "several/failing").output == String(repeating: "failing | once more\n", count: 3))
    #expect(try machine.apus("logs", "several").output.contains("two | two is here\n"))
    let nobody = try machine.apus("stop", "several/three")
    #expect(nobody.status == 64)
    #expect(nobody.error.contains("has no program called three; its programs: one, two, failing, succeeding, always"))
    var states = ""
    for _ in 0..<1000 {
      states = try machine.apus("ps").output
      if states.contains("always ended with status 0\n") { break }
      usleep(10_000)
    }
    for line in [
      "  one runs\n", "  two runs\n", "  failing ended with status 3\n", "  succeeding ended with status 0\n",
      "  always ended with status 0\n",
    ] { #expect(states.contains(line), "\(states)") }

    #expect(try machine.apus("stop", "several/one").status == 0)
    try machine.expect("one ended with status 143\n")
    #expect(try machine.apus("ps").output.contains("  one ended with status 143\n  two runs\n"))
    #expect(try machine.apus("stop", "several/two").status == 0)
    let text = machine.finish()
    #expect(machine.status == 143, "the first in the list that did not end with 0")
    #expect(text.components(separatedBy: "failing | once more\n").count == 4)
    #expect(text.components(separatedBy: "succeeding | it worked\n").count == 2)
    #expect(text.components(separatedBy: "always | again and again\n").count == 5)
  }
}
