// SPDX-License-Identifier: Apache-2.0
// TransferBodies.swift: what the environments of the transfer checks do: servers behind their protected entry, callers,
// and those who end or stop others meanwhile.

import ApusABI

private func word(_ offset: Int32) -> UInt64 { uarea_word(UInt32(offset)) }
private func setWord(_ offset: Int32, _ value: UInt64) { set_uarea_word(UInt32(offset), value) }

/// What a server does between its protected entry and its answer; see `SERVICE_` in Layout.h.
@c @used func hostile_serve(_ uarea: UInt64) {
  // From here on it is preempted as anyone else.
  setWord(APUS_UA_CRITICAL, 0)
  switch Int32(truncatingIfNeeded: word(UA_SERVICE)) {
  case SERVICE_WAIT: while word(UA_STOPS) == 0 {}
  case SERVICE_END: Kernel.call(.environmentKill)
  case SERVICE_FAULT: hostile_fault_here()
  case SERVICE_CALL: callNext()
  case SERVICE_SLEEP: Kernel.sleep(deadline: word(UA_DEADLINE))
  case SERVICE_DAWDLE:
    setWord(APUS_UA_CRITICAL, 1)
    while word(APUS_UA_PENDING) & UInt64(APUS_PENDING_SLICE_END) == 0 {}
  case SERVICE_ACCEPT:
    setWord(APUS_UA_ACCEPTING, 1)
    while word(UA_STOPS) == 0 {}
  case SERVICE_YIELD: Kernel.yield(to: load64(address_of_hostile_entered() + UInt64(REGISTER_RDI)))
  default: break
  }
}

/// Calls UA_NEXT until UA_DEADLINE and writes down what came of it.
private func callNext() {
  setWord(UA_ANSWER, hostile_transfer(address_of_hostile_file(), word(UA_NEXT), word(UA_DEADLINE)))
  setWord(UA_CALLED, load64(address_of_hostile_replied() + UInt64(REGISTER_RAX)) + 1)
}

/// A caller with time of its own: one call, then it sleeps.
@c @used func hostile_body_call(_ uarea: UInt64) {
  callNext()
  setWord(UA_WORD, 1)
  while true { Kernel.sleep() }
}

/// Calls UA_NEXT until UA_STOPS is set; counts replies in UA_WORD, refusals in UA_WORD2.
@c @used func hostile_body_call_on(_ uarea: UInt64) {
  while word(UA_STOPS) == 0 {
    let answer = hostile_transfer(address_of_hostile_file(), word(UA_NEXT), UInt64.max)
    let counter = answer == UInt64(RESUMED) ? UA_WORD : UA_WORD2
    setWord(counter, word(counter) + 1)
    if Answer(raw: answer).error == .expired { Kernel.yield() }
  }
  setWord(UA_WORD3, 1)
  while true { Kernel.sleep() }
}

/// Ends the environment UA_NEXT after some turns.
@c @used func hostile_body_kill(_ uarea: UInt64) {
  letOthersRun(5)
  Kernel.call(.environmentKill, Slot.family, word(UA_NEXT))
  while true { Kernel.sleep() }
}

/// Writes 1 at the address UA_NEXT after some turns.
@c @used func hostile_body_stop(_ uarea: UInt64) {
  letOthersRun(10)
  store64(word(UA_NEXT), 1)
  while true { Kernel.sleep() }
}

/// Returns without having been called, again and again; counts in UA_WORD.
@c @used func hostile_body_return(_ uarea: UInt64) {
  while true {
    setWord(UA_ANSWER, hostile_suspend(UInt64(CALL_TRANSFER_RETURN), 0, 0, 0, 0))
    setWord(UA_WORD, word(UA_WORD) + 1)
  }
}
