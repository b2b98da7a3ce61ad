// SPDX-License-Identifier: Apache-2.0
// TestPlan.swift: turns a case into the commands that are run, building what they need.

import Glibc

/// A command of a test, started with nothing but the given environment.
struct TestCommand {
  var arguments: [String]
  var environment: [String]
  var directory: Path
  var input: Path?
  var timeoutSeconds: Double
}

/// One way of running a case: on Apus, and perhaps on the host before that.
struct TestRun {
  let name: String
  let testCase: TestCase
  let host: TestCommand?
  let machine: TestCommand
}

/// Why a case is not run.
struct NotRun: Error {
  let reason: String
}

/// Where tests are prepared.
struct TestPlan {
  let home: Home
  let isLong: Bool
  private let folder: Path
  /// A file tree with the static shells and busybox's applets; made once.
  private var tree: Path?

  init(home: Home, isLong: Bool) {
    self.home = home
    self.isLong = isLong
    folder = home.path + Path("/build/tests".utf8)
  }

  private static let guestPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  /// The runs of a case; several when it names several shells.
  mutating func runs(of testCase: TestCase) throws(NotRun) -> [TestRun] {
    if testCase.isSet("long"), !isLong { throw NotRun(reason: "only with --long") }
    for need in testCase.values("needs").flatMap({ Words.split($0) }) {
      let path = need.hasPrefix("/") ? Path(need.utf8) : home.path + Path("/\(need)".utf8)
      let isThere =
        need.contains("/") ? (try? HostFile.facts(path)) != nil : HostFile.findProgram(Path(need.utf8)) != nil
      guard isThere else { throw NotRun(reason: "it needs \(need)") }
    }
    guard testCase.value("libos") != nil || (try? home.libos()) != nil else {
      throw NotRun(reason: "build/libos.elf has not been built")
    }
    switch testCase.kind {
    case .source:
      let program = try build(testCase)
      return [try run(testCase, testCase.name, [shown(program)] + testCase.arguments(long: isLong))]
    case .manifest, .terminal:
      guard let program = testCase.value("program") else { throw NotRun(reason: "it names no program") }
      let words = [program] + testCase.arguments(long: isLong)
      let counts = Words.split(testCase.value("cpus") ?? "")
      if counts.count <= 1 { return [try run(testCase, testCase.name, words, processors: counts.first)] }
      var runs: [TestRun] = []
      for count in counts {
        let name = count == "1" ? testCase.name : "\(testCase.name) (\(count) CPUs)"
        runs.append(try run(testCase, name, words, processors: count))
      }
      return runs
    case .programs: return [try programsRun(testCase)]
    case .script:
      return try scriptRuns(testCase)
    }
  }

  /// A manifest, run in a folder of its own with the programs and files that it names beside it.
  private func programsRun(_ testCase: TestCase) throws(NotRun) -> TestRun {
    let place = folder + Path("/work/\(flat(testCase.name))".utf8)
    guard makeFolder(place, emptied: true) else { throw NotRun(reason: "\(shown(place)) cannot be made") }
    let source = folderOf(testCase.file)
    func bring(_ path: String, as name: String) throws(NotRun) {
      guard copy(path, to: place + Path("/\(name)".utf8)) else { throw NotRun(reason: "\(path) cannot be copied") }
    }
    for name in testCase.values("source").flatMap({ Words.split($0) }) {
      let file = PathWalk.tidied(source + Path("/\(name)".utf8))
      guard let made = try? TestCase(file: file, below: home.path) else {
        throw NotRun(reason: "\(name) is no program")
      }
      try bring(shown(try build(made)), as: lastComponent(made.name))
    }
    for name in testCase.values("file").flatMap({ Words.split($0) }) {
      try bring(shown(PathWalk.tidied(source + Path("/\(name)".utf8))), as: lastComponent(name))
    }
    let manifest = "manifest.yaml"
    try bring(shown(testCase.file), as: manifest)
    var options = ["run", "--verbose", "--timeout", String(testCase.timeoutSeconds), "--manifest", manifest]
    if testCase.isSet("icount") { options.append("--icount") }
    var environment = ["PATH=" + (getenv("PATH").map { String(cString: $0) } ?? Self.guestPath)]
    environment += ["APUS_HOME=" + shown(home.path)]
    for name in ["APUS_QEMU", "TMPDIR", "XDG_RUNTIME_DIR"] {
      if let value = getenv(name) { environment.append("\(name)=\(String(cString: value))") }
    }
    let machine = TestCommand(
      arguments: [shown(home.path) + "/build/apus"] + options, environment: environment, directory: place, input: nil,
      timeoutSeconds: testCase.timeoutSeconds + 30)
    var host: TestCommand?
    if var words = testCase.value("host").map({ Words.split($0) }), !words.isEmpty {
      words[0] = try staticProgram(words[0])
      host = TestCommand(
        arguments: words, environment: ["PATH=/bin", "HOME=/root"] + testCase.values("env"), directory: place,
        input: nil, timeoutSeconds: testCase.timeoutSeconds)
    }
    return TestRun(name: testCase.name, testCase: testCase, host: host, machine: machine)
  }

  private mutating func scriptRuns(_ testCase: TestCase) throws(NotRun) -> [TestRun] {
    guard let script = try? HostFile.contents(testCase.file) else { throw NotRun(reason: "it cannot be read") }
    var runs: [TestRun] = []
    let shells = Words.split(testCase.value("shell") ?? "busybox")
    for shell in shells {
      let words: [String]
      switch shell {
      case "busybox": words = [try staticProgram("busybox"), "sh", "-c"]
      case "bash": words = [try staticProgram("bash-static"), "-c"]
      default: throw NotRun(reason: "no shell is called \(shell)")
      }
      runs.append(
        try run(
          testCase, shells.count > 1 ? "\(testCase.name) (\(shell))" : testCase.name,
          words + [shown(script), "test"] + testCase.arguments(long: isLong), processors: testCase.value("cpus")))
    }
    return runs
  }

  private mutating func run(
    _ testCase: TestCase, _ name: String, _ words: [String], processors: String? = nil
  ) throws(NotRun) -> TestRun {
    // The same directory on both sides, so that paths in the output agree.
    let place = folder + Path("/work/\(flat(name))".utf8)
    guard makeFolder(place, emptied: true) else { throw NotRun(reason: "\(shown(place)) cannot be made") }
    var guestWords = words
    var hostWords = words
    var options = ["run", "--timeout", String(testCase.timeoutSeconds)]
    var hostPath = Self.guestPath
    if testCase.isSet("tools") {
      let tree = try toolTree()
      options += ["--root", shown(tree)]
      hostPath = shown(tree) + "/bin"
      guestWords[0] = "/bin/" + lastComponent(words[0])
      hostWords[0] = hostPath + "/" + lastComponent(words[0])
    } else {
      options += ["--workdir", shown(place)]
    }
    if let memory = testCase.value("memory") { options += ["--memory", memory] }
    if let machine = testCase.value("machine") { options += ["--machine", machine] }
    if let libos = testCase.value("libos") {
      let path = home.path + Path("/\(libos)".utf8)
      guard (try? HostFile.facts(path)) != nil else { throw NotRun(reason: "\(libos) has not been built") }
      options += ["--libos", shown(path)]
    }
    if let processors { options += ["--cpus", processors] }
    if testCase.isSet("icount") { options.append("--icount") }
    for words in testCase.values("append") { options += ["--append", words] }
    for option in testCase.values("option") { options += Words.split(option) }
    let variables = testCase.values("env")
    for variable in variables { options += ["--env", variable] }
    let input = testCase.value("stdin").map { folderOf(testCase.file) + Path("/\($0)".utf8) }
    let command = shown(home.path) + "/build/apus"
    var environment = ["PATH=" + (getenv("PATH").map { String(cString: $0) } ?? Self.guestPath)]
    environment += ["HOME=/root", "APUS_HOME=" + shown(home.path)]
    for name in ["APUS_QEMU", "TMPDIR"] {
      if let value = getenv(name) { environment.append("\(name)=\(String(cString: value))") }
    }
    var beside: [String] = []
    if let words = testCase.value("beside").map({ Words.split($0) }), let source = words.first {
      let file = folderOf(testCase.file) + Path("/\(source)".utf8)
      beside = [shown(try compile(file, named: "beside-" + flat(source), flags: []))] + words.dropFirst()
    }
    let machine = TestCommand(
      arguments: beside + [command] + options + guestWords, environment: environment,
      directory: place, input: input, timeoutSeconds: testCase.timeoutSeconds + 30)
    var host: TestCommand?
    if testCase.comparesWithHost {
      host = TestCommand(
        arguments: hostWords, environment: ["PATH=" + hostPath, "HOME=/root"] + variables, directory: place,
        input: input, timeoutSeconds: testCase.timeoutSeconds)
    }
    return TestRun(name: name, testCase: testCase, host: host, machine: machine)
  }

  // MARK: what cases need

  /// Compiles a source if its program is older.
  private func build(_ testCase: TestCase) throws(NotRun) -> Path {
    try compile(testCase.file, named: flat(testCase.name), flags: Words.split(testCase.value("flags") ?? "-O1"))
  }

  private func compile(_ file: Path, named name: String, flags: [String]) throws(NotRun) -> Path {
    let program = folder + Path("/programs/\(name)".utf8)
    guard makeFolder(folderOf(program), emptied: false) else { throw NotRun(reason: "no folder for its program") }
    if let made = try? HostFile.facts(program), let source = try? HostFile.facts(file), made.modified > source.modified
    {
      return program
    }
    guard let compiler = ["gcc", "clang", "cc"].first(where: { HostFile.findProgram(Path($0.utf8)) != nil }) else {
      throw NotRun(reason: "there is no C compiler")
    }
    let result = HostTool.run(
      [compiler, "-static", "-o", shown(program), shown(file)] + flags + ["-I", shown(folderOf(file))])
    guard let result, result.status == 0 else {
      throw NotRun(reason: "it does not compile: \(result?.text ?? "")")
    }
    return program
  }

  private func staticProgram(_ name: String) throws(NotRun) -> String {
    for folder in ["/bin/", "/usr/bin/"] {
      if (try? Program(named: Path((folder + name).utf8), root: [])) != nil { return folder + name }
    }
    throw NotRun(reason: "there is no static \(name)")
  }

  /// A tree whose /bin holds busybox under all its names, and the static bash if there is one.
  private mutating func toolTree() throws(NotRun) -> Path {
    if let tree { return tree }
    let root = folder + Path("/tree".utf8)
    let bin = root + Path("/bin".utf8)
    let busybox = try staticProgram("busybox")
    guard makeFolder(bin, emptied: true), copy(busybox, to: bin + Path("/busybox".utf8)),
      let list = HostTool.run([busybox, "--list"]), list.status == 0
    else { throw NotRun(reason: "the tree of tools cannot be made in \(shown(root))") }
    for applet in list.text.split(separator: "\n") where applet != "busybox" && !applet.contains("/") {
      _ = HostFile.withPath(bin + Path("/\(applet)".utf8)) { symlink("busybox", $0) }
    }
    if let bash = try? staticProgram("bash-static") {
      _ = copy(bash, to: bin + Path("/bash-static".utf8))
      _ = HostFile.withPath(bin + Path("/bash".utf8)) { symlink("bash-static", $0) }
    }
    tree = root
    return root
  }

  private func copy(_ source: String, to target: Path) -> Bool {
    HostTool.run(["cp", "-L", source, shown(target)])?.status == 0
  }

  private func makeFolder(_ path: Path, emptied: Bool) -> Bool {
    if emptied { _ = HostTool.run(["rm", "-rf", shown(path)]) }
    return HostTool.run(["mkdir", "-p", shown(path)])?.status == 0
  }

  private func flat(_ name: String) -> String {
    String(name.map { $0 == "/" || $0 == " " || $0 == "(" || $0 == ")" ? "-" : $0 })
  }

  private func folderOf(_ path: Path) -> Path {
    PathWalk.join(Array(PathWalk.components(path).dropLast()))
  }

  private func lastComponent(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }
}
