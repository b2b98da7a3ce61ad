// SPDX-License-Identifier: Apache-2.0
// BPFCommand.swift: `apus bpf`: checks, shows and runs programs for the kernel on the host.

import ApusBPF
import ApusBPFTools
import ArgumentParser
import BPFHost
import Glibc

struct BPFCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bpf",
    abstract: "Check, show and run BPF programs, as the kernel would.",
    discussion: """
      A program is an object file written by `clang -target bpf`, assembly as `apus bpf disassemble` prints it, or
      its 8-byte instructions, bare or in base 16.
      """,
    subcommands: [Check.self, Disassemble.self, RunProgram.self, Translate.self, Plugin.self])
}

/// The program that a subcommand is about.
struct ProgramArguments: ParsableArguments {
  @Option(help: "The function of an object file that is meant.")
  var function: String?

  @Argument(help: "The program's file; - is standard input.")
  var file: String

  func program() throws(Failure) -> [UInt64] {
    let bytes = try ProgramArguments.read(file)
    do throws(ProgramFileError) {
      return try ProgramFile.program(bytes, function: function)
    } catch { throw Failure(sentence: "\(file): \(error.sentence)", status: Status.notRunnable) }
  }

  static func read(_ file: String) throws(Failure) -> [UInt8] {
    let descriptor = file == "-" ? 0 : open(file, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw Failure(sentence: "\(file): \(describe(errno: errno))", status: Status.notFound)
    }
    defer { if descriptor > 0 { close(descriptor) } }
    return try readAll(descriptor, name: file)
  }

  static func readAll(_ descriptor: Int32, name: String) throws(Failure) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while bytes.count <= 64 << 20 {
      let count = Glibc.read(descriptor, &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else {
        throw Failure(sentence: "\(name): \(describe(errno: errno))", status: Status.notRunnable)
      }
      if count == 0 { return bytes }
      bytes += chunk.prefix(count)
    }
    throw Failure(sentence: "\(name): too large for a program", status: Status.notRunnable)
  }
}

/// Bytes that a program gets, as the arguments have them.
func memoryBytes(_ text: String) throws(Failure) -> [UInt8] {
  guard let bytes = Hexadecimal.bytes(text) else {
    throw Failure(
      sentence: "the memory must be an even number of digits in base 16", status: Status.usage)
  }
  guard bytes.count <= 1 << 20 else {
    throw Failure(sentence: "a program's memory has at most 1 MiB", status: Status.usage)
  }
  return bytes
}

extension Use: ExpressibleByArgument {}

extension BPFCommand {
  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Ask the verifier whether a program may run.",
      discussion: """
        With --use the program is verified for one of the kernel's uses; otherwise it gets the address of its memory
        in r1 and its length in r2. The kernel's own verifier knows no loops and no functions, and is asked, too, where
        the kernel has the use. Ends with status 1 if the program is refused, and says which instruction breaks
        which rule, with the registers at that place.
        """)

    @Option(help: "What the program is for: \(Use.all.map(\.rawValue).joined(separator: ", ")).")
    var use: Use?

    @Option(help: "How many bytes of memory the program has.")
    var memorySize = 0

    @Flag(help: "Refuse programs that learn or show addresses.")
    var forbidLeaks = false

    @OptionGroup var program: ProgramArguments

    func run() throws {
      guard use == nil || (memorySize == 0 && !forbidLeaks) else {
        throw Failure(
          sentence: "--use says what memory there is; leave --memory-size and --forbid-leaks out", status: Status.usage)
      }
      guard memorySize >= 0, memorySize <= 1 << 20 else {
        throw Failure(sentence: "a program's memory has at most 1 MiB", status: Status.usage)
      }
      let slots = try program.program()
      var contract = use?.contract ?? Contract.freeStanding(memoryByteCount: memorySize)
      if use == nil { contract.permitsAddressLeaks = !forbidLeaks }
      let verification = Verification(slots, for: contract)
      guard let verdict = verification.verdict else {
        for line in RunError.refused(verification).lines(slots) { Diagnostics.tell(line) }
        throw ExitCode(1)
      }
      Diagnostics.tell(
        "accepted: at most \(verdict.worstInstructionCount) instructions and \(verdict.stackByteCount) bytes of stack")
      guard let use, use.isKernels else { return }
      switch KernelVerification(slots, for: contract).outcome {
      case .success(let worst): Diagnostics.tell("the kernel takes it, and counts at most \(worst) instructions")
      case .failure(let error):
        Diagnostics.tell("the kernel refuses it: instruction \(error.slot): \(error.sentence)")
        throw ExitCode(1)
      }
    }
  }

  struct Disassemble: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show a program as text.")

    @OptionGroup var program: ProgramArguments

    func run() throws {
      for line in Disassembler.lines(try program.program()) { Diagnostics.tell(line) }
    }
  }

  struct RunProgram: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "run", abstract: "Run a program and print its result.")

    @Option(help: "The memory whose address and length the program gets, in base 16.")
    var memory = ""

    @Flag(help: "Print the memory afterwards as well.")
    var showMemory = false

    @OptionGroup var options: EngineArguments

    @OptionGroup var program: ProgramArguments

    func run() throws {
      let bytes = try memoryBytes(memory)
      let result = try options.run(try program.program(), memory: bytes)
      Diagnostics.tell("0x" + result.result.hexadecimal)
      if showMemory { Diagnostics.tell(Hexadecimal.text(result.memory)) }
    }
  }

  struct Translate: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a packet filter for the kernel out of what `tcpdump -dd` prints.",
      discussion: """
        Prints the filter's instructions in base 16, as the other subcommands read them. In the kernel it narrows the
        packets of a filter made of atoms.
        """)

    @Argument(help: "The file with the old filter; - is standard input.")
    var file: String

    func run() throws {
      let text = String(decoding: try ProgramArguments.read(file), as: UTF8.self)
      do throws(ClassicFilter.Defect) {
        for slot in try ClassicFilter(text: text).translated() {
          Diagnostics.tell(Hexadecimal.text((0..<8).map { UInt8(truncatingIfNeeded: slot >> UInt64(8 * $0)) }))
        }
      } catch {
        throw Failure(sentence: "\(file): instruction \(error.step): \(error.sentence)", status: Status.notRunnable)
      }
    }
  }

  struct Plugin: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Speak the protocol of the bpf_conformance suite.",
      discussion: """
        Reads a program's bytes in base 16 from standard input and prints r0 in base 16. Ends with status 1 if the
        program is refused or fails.
        """)

    @OptionGroup var options: EngineArguments

    @Argument(help: "The memory whose address and length the program gets, in base 16.")
    var memory: [String] = []

    func run() throws {
      let bytes = try memoryBytes(memory.joined())
      let input = try ProgramArguments.readAll(0, name: "standard input")
      guard
        let slots = Hexadecimal.bytes(String(decoding: input, as: UTF8.self))
          .flatMap(Hexadecimal.slots)
      else {
        throw Failure(
          sentence: "standard input must be a program: 8 bytes in base 16 for each instruction", status: 1)
      }
      Diagnostics.tell(try options.run(slots, memory: bytes).result.hexadecimal)
    }
  }
}

/// How a program is to be run.
struct EngineArguments: ParsableArguments {
  @Flag(help: "Compile the program and run the machine code.")
  var jit = false

  @Flag(help: "Interpret the program; this is the default.")
  var interpret = false

  @Flag(help: "Do not ask the verifier. Together with --jit a bad program can do anything to this process.")
  var noVerify = false

  func validate() throws {
    if jit, interpret { throw ValidationError("--jit and --interpret exclude each other.") }
  }

  func run(_ program: [UInt64], memory: [UInt8]) throws -> RunResult {
    do throws(RunError) {
      return try ProgramRun.run(
        program, memory: memory, engine: jit ? .machineCode : .interpreter, isVerified: !noVerify)
    } catch {
      throw Failure(
        sentence: "the program failed: " + error.lines(program).joined(separator: "\n"), status: 1)
    }
  }
}
