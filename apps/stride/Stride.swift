// SPDX-License-Identifier: Apache-2.0
// Stride.swift: three endless loops without a slice, of which an application's own scheduler makes 3 : 2 : 1.
//
// The program's first environment owns the timeline's only slice. At each begin of that slice it chooses a client and
// yields to it. The kernel knows nothing of shares. Argument: `quanta N`.

/// Runs the experiment and tells each quantum.
///
/// - Returns: Whether each client's time is within one per cent of its share.
func runProgram() -> Bool {
  let tickets: [3 of UInt64] = [3, 2, 1]
  var scheduler = StrideScheduler()
  for index in tickets.indices {
    guard let environment = Environment(place: UInt64(index), body: address_of_native_spin()) else { return false }
    scheduler.add(environment, tickets: tickets[index])
  }
  let quanta = Native.number(after: "quanta") ?? 600
  let microsecond = ticks_per_second() / 1_000_000
  let start = time_stamp()
  for _ in 0..<quanta {
    guard let index = scheduler.run() else { return false }
    var line = Line()
    line.put("quantum ")
    line.put((time_stamp() - start) / microsecond)
    line.put(" ")
    line.put(UInt64(index))
    for client in tickets.indices {
      line.put(" ")
      line.put((scheduler[client]?.environment.ticks ?? 0) / microsecond)
    }
    line.end()
  }
  return tell(scheduler)
}

private func tell(_ scheduler: StrideScheduler) -> Bool {
  var total: UInt64 = 0
  var tickets: UInt64 = 0
  for index in 0..<scheduler.count {
    guard let client = scheduler[index] else { return false }
    total += client.environment.ticks
    tickets += client.tickets
  }
  var isGood = total > 0
  var line = Line()
  line.put("shares")
  for index in 0..<scheduler.count {
    guard let client = scheduler[index] else { return false }
    // In thousandths of a ticket.
    let share = client.environment.ticks * tickets * 1000 / total
    line.put(index == 0 ? " " : " : ")
    line.put(thousandths: share)
    if share < client.tickets * 990 || share > client.tickets * 1010 { isGood = false }
  }
  line.put(isGood ? ", each within 1 %" : ", not within 1 %")
  line.end()
  return isGood
}
