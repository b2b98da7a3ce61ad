// SPDX-License-Identifier: Apache-2.0
// ManifestPlan.swift: a manifest made ready to run: each program found and packed, each budget decided.

import ApusImage
import Glibc

struct ManifestPlan {
  let manifest: Manifest
  /// The machine as the manifest wants it, and as the command line says where that is silent.
  let options: MachineOptions
  private let home: Home
  private let images: [ImageFile]
  private let budgets: [ProgramBudget]
  private let rules: [RestartRule]
  /// The LibOS of each program.
  private let systems: [Path]

  /// The first program's account: the start environment has 1.
  static let firstAccount = 2

  /// Reads a manifest, finds its programs and shares the machine out.
  ///
  /// - Throws: What is wrong with any of it, with file, line and key.
  init(_ path: Path, _ home: Home, _ given: MachineOptions) throws(Failure) {
    let bytes: [UInt8]
    do { bytes = try HostFile.contents(path) } catch {
      throw Failure(sentence: "the manifest \(shown(path)) cannot be read: \(error.words)", status: Status.usage)
    }
    let manifest = try Manifest(shown(bytes), file: shown(path))
    var options = given
    if let memory = manifest.memory { options.memory = memory }
    if let processors = manifest.processors { options.cpus = processors }
    if let machine = manifest.machine { options.machine = machine }
    let folder = PathWalk.join(Array(PathWalk.components(PathWalk.tidied(path)).dropLast()))

    var images: [ImageFile] = []
    var requests: [BudgetPlan.Request] = []
    var rules: [RestartRule] = []
    var systems: [Path] = []
    let libos = try home.libos()
    for program in manifest.programs {
      do throws(Failure) {
        let guest = try Self.guest(program, libos, folder)
        let file =
          guest.isBare ? guest.libos : guest.root + (try Program(named: guest.words[0], root: guest.root)).resolved
        systems.append(guest.libos)
        let image = try guest.pack(keptAt: nil, limit: options.memory, isRepeatable: options.icount)
        images.append(image)
        let wishes = program.wishes.completed(by: try ProgramNote.wishes(of: file))
        rules.append(wishes.restart ?? RestartRule())
        // The image, the LibOS's variables, a record of 12 bytes for each frame of the machine, and room to begin.
        let zeroes = try LibOSFile(guest.libos).segments.reduce(0 as UInt64) {
          $0 + $1.segment.memorySize - $1.segment.fileSize
        }
        let least = image.size + zeroes + options.memory.bytes / 4096 * 12 + (3 << 20)
        requests.append(
          BudgetPlan.Request(
            place: program.place, name: program.name, wishes: wishes, processor: program.processor, leastMemory: least))
      } catch {
        guard !error.sentence.hasPrefix(shown(path) + ":") else { throw error }
        throw Failure(sentence: program.place.failure(error.sentence).sentence, status: error.status)
      }
    }
    let capacity = MachineCapacity(
      memory: options.memory, processors: options.cpus, kernelSize: (try? HostFile.facts(home.kernel()).size) ?? 0,
      imageSize: images.reduce(1 << 20) { $0 + $1.size })
    budgets = try BudgetPlan.make(requests, of: capacity)
    self.manifest = manifest
    self.options = options
    self.home = home
    self.images = images
    self.rules = rules
    self.systems = systems
  }

  private static func guest(_ program: ManifestProgram, _ libos: Path, _ folder: Path) throws(Failure) -> GuestProgram {
    /// Paths of the host are meant from the manifest's folder.
    func host(_ text: String) -> String {
      text.hasPrefix("/") ? text : shown(PathWalk.tidied(folder + [HostFile.slash] + Path(text.utf8)))
    }
    var command = program.command
    if program.root == nil, command[0].contains("/") { command[0] = host(command[0]) }
    var guest = GuestProgram(words: [Array(command[0].utf8)] + command.dropFirst().map { Array($0.utf8) })
    guest.libos = libos
    if program.root == nil, command[0].contains("/"), LibOSFile.isOne(guest.words[0]) {
      // A LibOS of its own: it runs no program, and makes of the words what it likes.
      guest.libos = guest.words[0]
      guest.isBare = true
    }
    if let root = program.root { guest.root = try GuestProgram.directory(host(root), called: "the root \(root)") }
    guest.workdir = program.workdir
    guest.environment = program.environment
    guest.settings = [("terminal", "0")]
    for file in program.files {
      let path = Path(host(file.host).utf8)
      guard (try? HostFile.facts(path)) != nil else { throw file.place.failure("there is no file \(shown(path))") }
      guest.files.append((Path(file.guest.utf8), path))
    }
    return guest
  }

  /// Where the code of each account comes from.
  func code() throws(Failure) -> CodeFiles {
    var code = CodeFiles(libos: try home.libos())
    code.others[1] = try home.built("steward.elf")
    for (index, system) in systems.enumerated() { code.others[UInt32(Self.firstAccount + index)] = system }
    return code
  }

  /// Packs the boot image: the start environment, and the programs' images as its files.
  func pack(keptAt: Path?) throws(Failure) -> ImageFile {
    var tree = FileTree()
    tree.addDirectory([HostFile.slash])
    var settings: [StartCommand.Setting] = []
    for index in manifest.programs.indices {
      let name = manifest.programs[index].name
      var facts = FileFacts(stat())
      facts.mode = FileMode.regular | 0o400
      facts.size = images[index].size
      tree.addFile([HostFile.slash] + Path(name.utf8), from: Path(images[index].path.utf8), facts)
      settings.append(.init(key: Array("program".utf8), value: Array(setting(index).utf8)))
    }
    return try ImageFile(
      libos: try home.built("steward.elf"), tree: tree,
      command: StartCommand(
        settings: settings, program: Array("steward".utf8), arguments: [Array("steward".utf8)], environment: []),
      keptAt: keptAt)
  }

  /// As apps/steward/Program.swift reads it.
  private func setting(_ index: Int) -> String {
    let budget = budgets[index]
    let rule = rules[index]
    let conditions: [RestartRule.Condition] = [.never, .onFailure, .always]
    let numbers: [(String, UInt64)] = [
      ("account", UInt64(Self.firstAccount + index)), ("frames", budget.memory / 4096),
      ("environments", UInt64(budget.environments)), ("slices", UInt64(budget.slices)),
      ("cpu", UInt64(budget.processor)), ("period", budget.period), ("slice", budget.slice),
      ("restart", UInt64(conditions.firstIndex(of: rule.condition) ?? 0)), ("limit", UInt64(rule.limit)),
      ("backoff", rule.backOffNanoseconds), ("background", manifest.programs[index].isBackground ? 1 : 0),
    ]
    return ([manifest.programs[index].name] + numbers.map { "\($0.0)=\($0.1)" }).joined(separator: " ")
  }
}
