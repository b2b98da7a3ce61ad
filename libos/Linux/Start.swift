// SPDX-License-Identifier: Apache-2.0
// Start.swift: from the boot image to the first program.

import ApusABI
import ApusRuntime
import ApusUnix

/// Sets the family up, starts its first program, and stays as the task that serves the console.
func startFamily(_ image: Bytes) -> Never {
  guard let command = StartCommand(image: image) else {
    refuse(ascii("apus: the boot image is damaged"), status: 125)
  }
  if command.number("guard") == 1, !Guard.raise() {
    refuse(ascii("apus: --guard: this processor has no protection keys (PKU); run without --guard"), status: 125)
  }
  if let seed = command.setting("seed") { Random.seed(hexadecimalBytes(seed)) }
  if let epoch = command.number("epoch") { Clock.setEpoch(nanoseconds: epoch) }
  let family = Family(isTraced: command.number("trace") == 1)
  let start: FamilyStart
  do throws(Errno) {
    start = try FamilyStart(family, image, command)
  } catch {
    refuse(ascii("apus: too little memory, or a damaged boot image"), status: 125)
  }
  family.devices = start.devices
  // What arrives from the host goes to the family that started this one.
  if FamilyPage.isThere { start.devices.console.endInput() }
  startPager(family, command)
  family.startNetwork(start.files)
  Runtime.dropRoot()
  startFirstProgram(family, start, command)
  guard FamilyPage.isThere else { serveConsole(family, start.devices.console) }
  FamilyScheduler.run { signal in family.first?.send(SignalInfo(signal: signal, code: SignalInfo.kernelCode)) }
}

private func hexadecimalBytes(_ text: [UInt8]) -> [UInt8] {
  func digit(_ byte: UInt8) -> UInt8 {
    byte < 0x3a ? byte &- 0x30 : (byte | 0x20) &- 0x57
  }
  var bytes: [UInt8] = []
  var index = 0
  while index + 1 < text.count {
    bytes.append((digit(text[index]) & 15) << 4 | digit(text[index + 1]) & 15)
    index += 2
  }
  return bytes
}

/// The first process: pid 1, a session and group of its own, the terminal's foreground.
private func startFirstProgram(_ family: Family, _ start: FamilyStart, _ command: StartCommand) {
  guard let identifier = family.tasks.allocate(), let root = PageTable.makeRoot() else {
    refuse(ascii("apus: too little memory to start"), status: 125)
  }
  let process = Process(
    identifier: identifier, family: family, group: identifier, session: identifier)
  process.name = [UInt8](command.program.lastPathComponent.prefix(15))
  let task = Task(
    identifier: identifier, process: process, memory: AddressSpace(root: root, pager: family.pager),
    descriptors: start.descriptors, context: start.context)
  process.threads = [task]
  family.add(process)
  family.tasks.set(identifier, task)
  if let terminal = start.devices.console.terminal {
    terminal.session = Int32(identifier)
    terminal.foregroundGroup = Int32(identifier)
  }
  do throws(Errno) {
    let executable = try Executable.find(task, command.program)
    var arguments = ProgramStrings()
    arguments.own = command.arguments
    if let script = executable.scriptArguments { arguments.own = script + [[UInt8]](command.arguments.dropFirst()) }
    if arguments.own.isEmpty { arguments.own = [command.program] }
    var environment = ProgramStrings()
    environment.own = command.environment
    _ = try task.execute(executable, arguments, environment, nil)
  } catch {
    refuse(startFailure(task, command.program, error), status: error == .ENOENT ? 127 : 126)
  }
  if process.isEnding { refuse(ascii("apus: too little memory to start the program"), status: 125) }
}

/// One sentence on why the first program cannot start.
private func startFailure(_ task: Task, _ program: [UInt8], _ error: Errno) -> [UInt8] {
  var text = ascii("apus: ")
  text += program
  text += ascii(": ")
  if error == .ENOEXEC || error == .ELIBBAD, let reason = Executable.reason(task, program) {
    text += ascii(reason)
  } else {
    switch error {
    case .ENOENT: text += ascii("no such file")
    case .EACCES: text += ascii("not an executable file, or permission denied")
    case .ENOMEM: text += ascii("too little memory to start it")
    case .E2BIG: text += ascii("its arguments are too long")
    default:
      text += ascii("it cannot be started (error ")
      text.append(decimal: Int(error.rawValue))
      text += ascii(")")
    }
  }
  return text
}

/// Ends the machine before there was a program.
private func refuse(_ sentence: [UInt8], status: UInt8) -> Never {
  notice(sentence)
  var record: [UInt8] = [status, 0, 0, 0]
  Bytes.withArray(&record) { bytes in
    while Console.write(.exit, bytes) == 0 { Console.flush() }
  }
  Console.flush()
  Console.powerOff(status: Int(status))
}
