// SPDX-License-Identifier: Apache-2.0
// SocketCalls.swift: sockets, of which there is no family yet: programs learn that in the words that they expect.

import ApusRuntime
import ApusUnix

func registerSocketCalls(_ table: CallTable) {
  let noFamily: Handler = { (_: Task, _: Arguments) throws(Errno) -> Int in throw .EAFNOSUPPORT }
  table[.socket] = noFamily
  table[.socketpair] = noFamily
  let onDescriptor: Handler = { (task: Task, arguments: Arguments) throws(Errno) -> Int in
    _ = try task.descriptors.file(arguments.i0)
    throw .ENOTSOCK
  }
  table[.connect] = onDescriptor
  table[.accept] = onDescriptor
  table[.accept4] = onDescriptor
  table[.bind] = onDescriptor
  table[.listen] = onDescriptor
  table[.sendto] = onDescriptor
  table[.recvfrom] = onDescriptor
  table[.sendmsg] = onDescriptor
  table[.recvmsg] = onDescriptor
  table[.sendmmsg] = onDescriptor
  table[.recvmmsg] = onDescriptor
  table[.shutdown] = onDescriptor
  table[.getsockname] = onDescriptor
  table[.getpeername] = onDescriptor
  table[.setsockopt] = onDescriptor
  table[.getsockopt] = onDescriptor
}
