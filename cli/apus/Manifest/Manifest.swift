// SPDX-License-Identifier: Apache-2.0
// Manifest.swift: what `apus run --manifest` reads: a machine, and programs with what each may have.

/// When a program that has ended starts again.
struct RestartRule: Equatable {
  enum Condition: String, CaseIterable {
    case never
    case onFailure = "on-failure"
    case always
  }

  var condition = Condition.never
  /// How often at most.
  var limit = 5
  /// How long before the first time; twice as long each time after that, 64 times as long at most.
  var backOffNanoseconds: UInt64 = 100_000_000
}

/// What a program asks for; what is nil is decided with all others in view.
struct ProgramWishes: Equatable {
  var memory: Memory?
  /// Slices of its CPU's timeline.
  var slices: Int?
  /// Environments of its family: processes, threads, and a few of the LibOS's own.
  var processes: Int?
  /// Period in nanoseconds and share in millionths of its CPU, guaranteed.
  var contract: (period: UInt64, share: UInt64)?
  var restart: RestartRule?

  static let keys = ["memory", "slices", "processes", "contract", "restart"]

  static func == (one: ProgramWishes, other: ProgramWishes) -> Bool {
    one.memory == other.memory && one.slices == other.slices && one.processes == other.processes
      && one.contract?.period == other.contract?.period && one.contract?.share == other.contract?.share
      && one.restart == other.restart
  }

  init() {}

  /// Reads the keys of a mapping that are wishes.
  init(_ values: [String: ManifestNode]) throws(Failure) {
    memory = try values["memory"]?.memory()
    slices = try values["slices"]?.number(0...64)
    processes = try values["processes"]?.number(1...500)
    if let node = values["contract"] {
      let parts = try node.mapping(["period", "share"])
      guard let period = parts["period"], let share = parts["share"] else {
        throw node.failure("a contract has a period and a share, such as {period: 10ms, share: 20%}")
      }
      let contract = (period: try period.duration(500_000...400_000_000), share: try share.share())
      guard contract.period * contract.share / 1_000_000 >= 25_000 else {
        throw share.failure("the share comes to less than 25us in a period; take a longer period or a larger share")
      }
      self.contract = contract
    }
    if slices == 0, contract == nil {
      throw values["slices"].map { $0.failure("without slices it needs a contract") }
        ?? Failure(sentence: "without slices a program needs a contract", status: Status.usage)
    }
    if let node = values["restart"] { restart = try Self.restart(node) }
  }

  private static func restart(_ node: ManifestNode) throws(Failure) -> RestartRule {
    var rule = RestartRule()
    func condition(_ node: ManifestNode) throws(Failure) -> RestartRule.Condition {
      guard let condition = RestartRule.Condition(rawValue: try node.text()) else {
        throw node.failure("here stands never, on-failure or always")
      }
      return condition
    }
    guard node.isMapping else {
      rule.condition = try condition(node)
      return rule
    }
    let parts = try node.mapping(["rule", "limit", "backoff"])
    guard let name = parts["rule"] else { throw node.failure("it lacks the key rule: never, on-failure or always") }
    rule.condition = try condition(name)
    if let limit = try parts["limit"]?.number(0...250) { rule.limit = limit }
    if let time = try parts["backoff"]?.duration(0...60_000_000_000) { rule.backOffNanoseconds = time }
    return rule
  }

  /// The same, with another's wishes where there are none here.
  func completed(by other: ProgramWishes) -> ProgramWishes {
    var result = self
    result.memory = memory ?? other.memory
    result.slices = slices ?? other.slices
    result.processes = processes ?? other.processes
    result.contract = contract ?? other.contract
    result.restart = restart ?? other.restart
    return result
  }
}

/// A program of a manifest.
struct ManifestProgram {
  var name = ""
  /// Where it stands, for what is found wrong later.
  let place: ManifestNode
  /// argv; the first word is the program.
  var command: [String] = []
  var root: String?
  var workdir: String?
  /// Files of the host, by their paths in the guest.
  var files: [(guest: String, host: String, place: ManifestNode)] = []
  var environment: [String] = []
  /// The CPU that it is to run on.
  var processor: Int?
  /// The machine does not wait for its end.
  var isBackground = false
  var wishes = ProgramWishes()

  private static let keys =
    ["name", "run", "root", "files", "workdir", "env", "cpu", "background"] + ProgramWishes.keys

  init(_ node: ManifestNode) throws(Failure) {
    place = node
    let values = try node.mapping(Self.keys)
    guard let nameNode = values["name"] else { throw node.failure("this program lacks the key name") }
    name = try nameNode.text()
    guard MachineRegistration.isName(name) else {
      throw nameNode.failure("a name has at most 32 letters, digits, dots, dashes and underscores, not '\(name)'")
    }
    guard let run = values["run"] else { throw node.failure("the program \(name) lacks the key run") }
    if run.isList {
      for word in try run.list() { command.append(try word.anyText()) }
    } else {
      command = try run.text().split(separator: " ").map(String.init)
    }
    guard let first = command.first, !first.isEmpty else {
      throw run.failure("here stands a program, with its arguments")
    }
    root = try values["root"]?.text()
    workdir = try values["workdir"]?.text()
    if let node = values["files"] {
      for (guest, host) in try node.pairs() {
        guard guest.hasPrefix("/") else { throw host.failure("a path in the guest starts with a slash") }
        files.append((guest, try host.text(), host))
      }
    }
    if let node = values["env"] {
      for (name, value) in try node.pairs() {
        guard !name.isEmpty, !name.contains("=") else { throw value.failure("a variable's name has no equals sign") }
        environment.append("\(name)=\(try value.anyText())")
      }
    }
    processor = try values["cpu"]?.number(0...254)
    isBackground = try values["background"]?.flag() ?? false
    wishes = try ProgramWishes(values)
  }
}

/// A machine and its programs.
struct Manifest {
  let file: String
  var name: String?
  var memory: Memory?
  var processors: Int?
  var machine: MachineType?
  var programs: [ManifestProgram] = []
  let place: ManifestNode

  /// How many programs a machine runs at most.
  static let programLimit = 64

  /// Reads a manifest.
  ///
  /// - Parameters:
  ///   - text: Its text.
  ///   - file: Its name, as told in sentences.
  /// - Throws: What is wrong, with file, line and key.
  init(_ text: String, file: String) throws(Failure) {
    guard let top = try ManifestNode(text, file: file) else {
      throw Failure(sentence: "\(file): it is empty; it lacks the key programs", status: Status.usage)
    }
    self.file = file
    place = top
    let values = try top.mapping(["machine", "programs"])
    if let node = values["machine"] {
      let parts = try node.mapping(["name", "memory", "cpus", "kind"])
      name = try parts["name"]?.text()
      if let name, let node = parts["name"], !MachineRegistration.isName(name) {
        throw node.failure("a name has at most 32 letters, digits, dots, dashes and underscores, not '\(name)'")
      }
      memory = try parts["memory"]?.memory()
      processors = try parts["cpus"]?.number(1...255)
      if let kind = parts["kind"] {
        guard let known = MachineType(rawValue: try kind.text()) else {
          throw kind.failure("here stands \(MachineType.allCases.map(\.rawValue).joined(separator: " or "))")
        }
        machine = known
      }
    }
    guard let list = values["programs"] else { throw top.failure("the key programs is missing") }
    for node in try list.list() {
      let program = try ManifestProgram(node)
      guard !programs.contains(where: { $0.name == program.name }) else {
        throw node.failure("there is a program called \(program.name) above already")
      }
      programs.append(program)
    }
    guard !programs.isEmpty else { throw list.failure("there is no program in it") }
    guard programs.count <= Self.programLimit else {
      throw list.failure("there are \(programs.count) programs, and a machine runs at most \(Self.programLimit)")
    }
  }
}
