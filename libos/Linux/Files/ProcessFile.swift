// SPDX-License-Identifier: Apache-2.0
// ProcessFile.swift: descriptors that stand for processes (pidfd_open(2)).

import ApusRuntime
import ApusUnix

func registerProcessFileCalls(_ table: CallTable) {
  table[.pidfd_open] = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    let flags = OpenFlags(rawValue: UInt32(truncatingIfNeeded: arguments.a1))
    guard arguments.i0 > 0, flags.subtracting(.nonBlocking) == .readOnly else { throw .EINVAL }
    guard let process = task.family.process(arguments.i0) else { throw .ESRCH }
    let node = Inode(task.family.pipeFileSystem, FileMode(.regular, 0o600), owner: task.credentials)
    node.linkCount = 1
    return try task.descriptors.add(ProcessFile(node, process, flags), closesOnExec: true)
  }
}

/// An open file that is ready to be read when its process has ended.
final class ProcessFile: OpenFile {
  private let process: Process

  init(_ node: Inode, _ process: Process, _ flags: OpenFlags) {
    self.process = process
    super.init(node, OpenFlags.readWrite.union(flags))
  }

  override var waitQueue: WaitQueue { process.endQueue }
  override func anonymousName() -> [UInt8] { ascii("anon_inode:[pidfd]") }
  override func poll() -> PollEvents { process.isZombie ? .readable : .none }
}
