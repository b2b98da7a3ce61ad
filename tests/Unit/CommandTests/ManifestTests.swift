// SPDX-License-Identifier: Apache-2.0
// ManifestTests.swift: manifests: what they say, what is wrong with them, and how they share a machine out.

import Foundation
import Testing

@testable import apus

private func failure(_ body: () throws(Failure) -> Void) -> String? {
  do {
    try body()
    return nil
  } catch {
    return error.sentence
  }
}

/// A bad manifest, and what is said of it.
struct BadManifest: CustomTestStringConvertible, Sendable {
  let text: String
  let sentence: String
  var testDescription: String { sentence }

  static let all = [
    BadManifest(text: "", sentence: "m.yaml: it is empty; it lacks the key programs"),
    BadManifest(text: "machine: {cpus: 1}\n", sentence: "m.yaml:1: the key programs is missing"),
    BadManifest(text: "programs: []\n", sentence: "m.yaml:1: programs: there is no program in it"),
    BadManifest(text: "programs: 3\n", sentence: "m.yaml:1: programs: here stands a list"),
    BadManifest(text: "- 1\n", sentence: "m.yaml:1: here stand keys and values, such as machine: ..."),
    BadManifest(
      text: "machine:\n  memroy: 1G\nprograms: [{name: a, run: b}]\n",
      sentence: "m.yaml:2: machine.memroy: this key is not known; there are: name, memory, cpus, kind"),
    BadManifest(
      text: "programs:\n  - name: a\n    run: b\n    colour: red\n",
      sentence: "m.yaml:4: programs[1].colour: this key is not known; there are: name, run, root, files, workdir, "
        + "env, cpu, background, memory, slices, processes, contract, restart"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b}\n  - {name: a, run: c}\n",
      sentence: "m.yaml:3: programs[2]: there is a program called a above already"),
    BadManifest(
      text: "programs:\n  - name: a\n    run: b\n    run: c\n", sentence: "m.yaml:3: the key run stands here twice"),
    BadManifest(text: "programs:\n  - run: b\n", sentence: "m.yaml:2: programs[1]: this program lacks the key name"),
    BadManifest(text: "programs:\n  - name: a\n", sentence: "m.yaml:2: programs[1]: the program a lacks the key run"),
    BadManifest(
      text: "programs:\n  - name: a/b\n    run: c\n",
      sentence: "m.yaml:2: programs[1].name: a name has at most 32 letters, digits, dots, dashes and underscores, "
        + "not 'a/b'"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, memory: lots}\n",
      sentence: "m.yaml:2: programs[1].memory: here stands an amount of memory, such as 32M"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, slices: 65}\n",
      sentence: "m.yaml:2: programs[1].slices: here stands a number from 0 to 64"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, slices: 0}\n",
      sentence: "m.yaml:2: programs[1].slices: without slices it needs a contract"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, contract: {period: 10ms}}\n",
      sentence: "m.yaml:2: programs[1].contract: a contract has a period and a share, such as "
        + "{period: 10ms, share: 20%}"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, contract: {period: 10, share: 20%}}\n",
      sentence: "m.yaml:2: programs[1].contract.period: here stands a time with its unit, such as 10ms"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, contract: {period: 2s, share: 20%}}\n",
      sentence: "m.yaml:2: programs[1].contract.period: here stands a time from 500us to 400ms"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, contract: {period: 1ms, share: 95%}}\n",
      sentence: "m.yaml:2: programs[1].contract.share: here stands a part of a CPU above 0 % and up to 90 %, "
        + "such as 20%"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, contract: {period: 1ms, share: 1%}}\n",
      sentence: "m.yaml:2: programs[1].contract.share: the share comes to less than 25us in a period; take a longer "
        + "period or a larger share"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, restart: maybe}\n",
      sentence: "m.yaml:2: programs[1].restart: here stands never, on-failure or always"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, background: 3}\n",
      sentence: "m.yaml:2: programs[1].background: here stands true or false"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b, files: {x: y}}\n",
      sentence: "m.yaml:2: programs[1].files.x: a path in the guest starts with a slash"),
    BadManifest(
      text: "programs:\n  - {name: a, run: b\n",
      sentence: "m.yaml:3: this is no YAML: while parsing a flow mapping did not find expected ',' or '}'"),
  ]
}

@Suite struct ManifestTests {
  @Test func `a manifest is read as it stands`() throws {
    let manifest = try Manifest(
      """
      machine: {name: pair, memory: 128M, cpus: 2, kind: q35}
      programs:
        - name: first
          run: /bin/busybox sh -c
          env: {A: b, EMPTY: ""}
          files: {/data: numbers.txt}
          workdir: /tmp
        - name: second
          run: ["./prog", "two words", ""]
          memory: 16M
          slices: 3
          processes: 12
          contract: {period: 2.5ms, share: 12.5%}
          restart: {rule: always, limit: 7, backoff: 1s}
          cpu: 1
          background: true
      """, file: "m.yaml")
    #expect(manifest.name == "pair" && manifest.memory == Memory(bytes: 128 << 20))
    #expect(manifest.processors == 2 && manifest.machine == .q35)
    let (first, second) = (manifest.programs[0], manifest.programs[1])
    #expect(first.command == ["/bin/busybox", "sh", "-c"] && first.environment == ["A=b", "EMPTY="])
    #expect(first.files.map(\.guest) == ["/data"] && first.workdir == "/tmp" && !first.isBackground)
    #expect(second.command == ["./prog", "two words", ""])
    #expect(second.wishes.memory == Memory(bytes: 16 << 20) && second.wishes.slices == 3)
    #expect(second.wishes.processes == 12 && second.processor == 1 && second.isBackground)
    #expect(second.wishes.contract?.period == 2_500_000 && second.wishes.contract?.share == 125_000)
    #expect(
      second.wishes.restart == RestartRule(condition: .always, limit: 7, backOffNanoseconds: 1_000_000_000))
  }

  @Test(arguments: BadManifest.all)
  func `what is wrong is told with file, line and key`(_ bad: BadManifest) {
    let sentence = failure { () throws(Failure) in _ = try Manifest(bad.text, file: "m.yaml") }
    #expect(sentence.map { $0 == bad.sentence || $0.hasPrefix(bad.sentence) } == true, "\(sentence ?? "accepted")")
  }

  @Test func `the manifest of the book and those of the machine tests are good`() throws {
    let home = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../..")
    for name in ["apps/steward/shells.yaml", "tests/Machine/families.yaml", "tests/Machine/families-whole.yaml"] {
      let text = try String(contentsOf: home.appendingPathComponent(name), encoding: .utf8)
      #expect(try Manifest(text, file: name).programs.count >= 5)
    }
  }

  // MARK: Budgets

  private func plan(_ text: String, memory: UInt64 = 256, processors: Int = 2) throws(Failure) -> [ProgramBudget] {
    let manifest = try Manifest(text, file: "m.yaml")
    let requests = manifest.programs.map {
      BudgetPlan.Request(
        place: $0.place, name: $0.name, wishes: $0.wishes, processor: $0.processor, leastMemory: 8 << 20)
    }
    return try BudgetPlan.make(
      requests,
      of: MachineCapacity(
        memory: Memory(bytes: memory << 20), processors: processors, kernelSize: 2 << 20, imageSize: 16 << 20))
  }

  @Test func `what nobody asks for is shared out`() throws {
    let budgets = try plan("programs: [{name: a, run: x, memory: 32M}, {name: b, run: x}, {name: c, run: x}]")
    #expect(budgets[0].memory == 32 << 20)
    #expect(budgets[1].memory == budgets[2].memory && budgets[1].memory > 60 << 20)
    #expect(budgets.map(\.slices) == [1, 1, 1] && Set(budgets.map(\.processor)) == [0, 1])
    #expect(budgets.allSatisfy { $0.environments == 68 })
  }

  @Test func `CPUs are filled by what is promised on them`() throws {
    let contract = "contract: {period: 10ms, share: 40%}"
    let budgets = try plan(
      """
      programs:
        - {name: a, run: x, \(contract)}
        - {name: b, run: x, \(contract)}
        - {name: c, run: x, cpu: 1, \(contract)}
        - {name: d, run: x}
        - {name: e, run: x, \(contract)}
      """)
    #expect(budgets.map(\.processor) == [0, 0, 1, 0, 1])
    #expect(budgets[0].share == 400_500)
  }

  @Test func `more memory than there is is refused with the sum`() {
    let sentence = failure { () throws(Failure) in
      _ = try plan("programs:\n  - {name: a, run: x, memory: 200M}\n  - {name: b, run: x, memory: 100M}\n")
    }
    #expect(
      sentence?.hasPrefix(
        "m.yaml:2: programs[1]: the programs' memory comes to 300 MiB (a 200 MiB, b 100 MiB), and a machine of 256 MiB "
          + "has ") == true, "\(sentence ?? "accepted")")
  }

  @Test func `more time than there is is refused with the sum`() {
    let sentence = failure { () throws(Failure) in
      _ = try plan(
        """
        programs:
          - {name: a, run: x, cpu: 0, contract: {period: 10ms, share: 50%}}
          - {name: b, run: x, cpu: 0, contract: {period: 10ms, share: 45%}}
        """)
    }
    #expect(
      sentence
        == "m.yaml:3: programs[2]: the contracts on CPU 0 come to 95.1 % of it (a 50.1 %, b 45.1 %), and 16 contracts of "
        + "90 % together are what a CPU can promise")
  }

  @Test func `too many processes, a CPU that is not there, too little memory`() {
    #expect(
      failure { () throws(Failure) in
        _ = try plan("programs: [{name: a, run: x, processes: 300}, {name: b, run: x, processes: 300}]")
      }?.contains("the programs' processes come to 600, and a machine of 256 MiB has room for 503") == true)
    #expect(
      failure { () throws(Failure) in _ = try plan("programs: [{name: a, run: x, cpu: 2}]") }
        == "m.yaml:1: programs[1]: there is no CPU 2: the machine has 2, numbered from 0")
    #expect(
      failure { () throws(Failure) in _ = try plan("programs: [{name: a, run: x, memory: 1M}]") }
        == "m.yaml:1: programs[1]: the memory of a, 1 MiB, is too little: it needs 8 MiB to start")
  }

  // MARK: Notes

  @Test func `a note's wishes are found among others, and overridden`() throws {
    func note(_ name: String, _ type: UInt8, _ text: String) -> [UInt8] {
      func word(_ count: Int) -> [UInt8] { [UInt8(count & 255), UInt8(count >> 8), 0, 0] }
      func padded(_ bytes: [UInt8]) -> [UInt8] { bytes + [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4) }
      let name = Array(name.utf8) + [0]
      return word(name.count) + word(text.utf8.count) + [type, 0, 0, 0] + padded(name) + padded(Array(text.utf8))
    }
    let notes = note("GNU", 1, "x") + note("Apus", 2, "no") + note("Apus", 1, "memory: 8M\nslices: 2\n")
    let found = try #require(ProgramNote.descriptor(in: notes))
    #expect(String(decoding: found, as: UTF8.self) == "memory: 8M\nslices: 2\n")
    #expect(ProgramNote.descriptor(in: Array(notes.dropLast(4))) == nil)
    #expect(ProgramNote.descriptor(in: note("GNU", 1, "x")) == nil)
    var wishes = ProgramWishes()
    wishes.memory = Memory(bytes: 1 << 20)
    var other = ProgramWishes()
    other.memory = Memory(bytes: 8 << 20)
    other.slices = 2
    #expect(wishes.completed(by: other).memory == wishes.memory && wishes.completed(by: other).slices == 2)
  }

  // MARK: Lines

  @Test func `lines of several programs are labelled and never mixed`() {
    var lines = ProgramLines(["one", "two"])
    var text: [UInt8] = []
    func add(_ piece: String, _ account: UInt8, error: Bool = false) {
      text += lines.add(Array(piece.utf8)[...], of: account, error: error)
    }
    add("a", 2)
    add("x\ny", 3)
    add("e\n", 2, error: true)
    add("b\n\n", 2)
    add("nobody's\n", 9)
    #expect(String(decoding: text, as: UTF8.self) == "two | x\none | e\none | ab\none | \n")
    #expect(String(decoding: lines.flush(3, error: false), as: UTF8.self) == "two | y\n")
    #expect(lines.flushAll(error: false).isEmpty)
    #expect(lines.take([3, 3, 139, 1])?.sentence == "two ended with status 139")
    #expect(lines.take([2, 2, 1, 2])?.sentence == "one ended with status 1; it starts again")
    #expect(lines.take([2, 3, 0, 2]).map { $0.sentence == nil } == true)
    #expect(lines.take([9, 3, 0, 2]) == nil && lines.take([2, 9, 0, 2]) == nil && lines.take([2]) == nil)
    #expect(lines.states == "one ended with status 0\ntwo ended with status 139\n")
    #expect(lines.account(of: "two") == 3 && lines.name(2) == "one")
  }

  // MARK: From outside

  @Test func `missing files and programs are told with their place`() throws {
    let workshop = try Workshop()
    func says(_ text: String) throws -> (Int32, String) {
      let result = try workshop.apus("run", "--manifest", workshop.file("m.yaml", Array(text.utf8)))
      return (result.status, result.error.replacingOccurrences(of: workshop.folder.path + "/", with: ""))
    }
    _ = try workshop.program()
    #expect(
      try says("programs:\n  - {name: a, run: ./nothing}\n")
        == (127, "apus: m.yaml:2: programs[1]: nothing does not exist\n"))
    #expect(
      try says("programs:\n  - {name: a, run: ./program, files: {/x: none}}\n")
        == (64, "apus: m.yaml:2: programs[1].files./x: there is no file none\n"))
    #expect(
      try says("programs:\n  - {name: a, run: x, root: none}\n")
        == (64, "apus: m.yaml:2: programs[1]: the root none is no directory\n"))
    #expect(
      try workshop.apus("run", "--manifest", "none.yaml").error
        == "apus: the manifest none.yaml cannot be read: No such file or directory\n")
    #expect(try workshop.apus("run", "--manifest", "none.yaml", "/bin/true").status == 64)
  }
}
