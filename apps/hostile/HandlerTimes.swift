// SPDX-License-Identifier: Apache-2.0
// HandlerTimes.swift: how long a handler's answer takes beside busy environments, and what a flood costs a neighbour.
//
// To be run in virtual time and with the emulator's own network, which answers each question: the handler answers the answer
// with the next question, and so on. The card has to send by a timer of virtual time (QEMU's -global
// virtio-net-device.tx=timer), or the host's speed decides: then each round takes the timer's 150,000 ticks and ours.

import ApusABI

/// What keeps the card busy by itself: a filter, a ring, and a handler that asks again.
private struct PingPong {
  let ring: PacketRing
  let filter: UInt64
  let program: UInt64
  let frame: UInt64

  init?() {
    guard let ring = PacketRing() else { return nil }
    for entry in 0..<PacketPlace.entryCount { store64(ring.entry(entry), 0) }
    Packets.putARP(NetworkAddress.own, at: PacketPlace.list)
    guard let filter = ring.insert(2).value,
      let program = BPF.make(.packetHandler, handlerProgram(replies: 0x7fff_ffff))
    else { return nil }
    self.ring = ring
    self.filter = filter
    self.program = program
    frame = load64(BPF.list)
  }

  /// How many packets it has dealt with.
  var count: UInt64 { load64(HandlerPlace.memory + 16) }

  func start() -> Bool {
    store64(HandlerPlace.memory + 16, 0)
    Packets.putRequest(from: NetworkAddress.own, at: HandlerPlace.reply)
    guard Kernel.call(.handlerBind, Slot.family, filter, program, HandlerPlace.frames).raw == 0 else { return false }
    return askForAddress(ring, filter)
  }

  /// Lets the ring have the packets, the last one too.
  func stop() {
    Kernel.call(.handlerBind, Slot.family, filter, 0, 0)
    _ = Kernel.sleep(deadline: time_stamp() + 2 * Information.page.slice_ticks)
    for entry in 0..<PacketPlace.entryCount { store64(ring.entry(entry), 0) }
  }

  /// Asks and is woken by the answer, so many times, without the handler.
  ///
  /// - Returns: How long that takes each time.
  func answerAwake(turns: UInt64) -> UInt64 {
    let start = time_stamp()
    for _ in 0..<turns {
      let produced = ring.produced
      guard askForAddress(ring, filter) else { return 0 }
      while ring.produced == produced { Kernel.sleep(word: PacketPlace.header, value: produced) }
      for entry in 0..<PacketPlace.entryCount { store64(ring.entry(entry), 0) }
    }
    return (time_stamp() - start) / turns
  }

  func end() -> Bool {
    store64(BPF.list, frame)
    return BPF.end(program) && Kernel.call(.filterRemove, Slot.family, filter).raw == 0 && ring.end().raw == 0
  }
}

/// How long the card waits until it sends.
private let timerTicks: UInt64 = 150_000

/// Sleeps for so many slices; how long that was.
private func rest(_ slices: UInt64) -> UInt64 {
  let start = time_stamp()
  let deadline = start + slices * Information.page.slice_ticks
  while time_stamp() < deadline { Kernel.sleep(deadline: deadline) }
  return time_stamp() - start
}

func handlerTimes(_ report: inout Report) {
  var check = Check("handler-times", "answers beside busy environments")
  for page in 0..<PacketPlace.pages + 3 { _ = Memory.mapFresh(at: PacketPlace.header + page * 4096) }
  guard Information.page.packet_ring_count != 0, let game = PingPong() else { return report.notTried(check) }
  var busy: UInt64 = 0
  var (least, most) = (UInt64.max, UInt64(0))
  let counts: [5 of UInt64] = [1, 2, 4, 8, 16]
  for index in counts.indices {
    while busy < counts[index] {
      guard let child = Child(busy, body: Body.spin) else { return report.notTried(check) }
      store64(PacketPlace.packet + 2048 + busy * 8, child.handle)
      busy += 1
    }
    check.expect(game.start(), "a question")
    _ = rest(4)
    let before = game.count
    let ticks = rest(200)
    let answers = game.count - before
    game.stop()
    check.expect(answers > 100, "it has stopped", answers)
    let each = ticks / max(answers, 1)
    let woken = game.answerAwake(turns: 20)
    (least, most) = (min(least, each), max(most, each))
    var line = Line()
    line.put(counts[index])
    line.put(" busy: a round in ")
    line.put(each)
    line.put(" ticks by the handler, in ")
    line.put(woken)
    line.put(" by who is woken")
    line.send()
  }
  check.expect(least > timerTicks, "the card does not send by a timer of virtual time", least)
  check.expect((most - timerTicks) * 10 <= (least - timerTicks) * 11, "it is not flat within a tenth", most)
  report.finish(check)
  flood(game, &report)
}

/// Two loops, one of which belongs to the family whose handler is flooded: what the other one gets.
private func flood(_ game: PingPong, _ report: inout Report) {
  var check = Check("handler-times", "a neighbour of the flooded")
  for index in 0..<UInt64(16) {
    Kernel.call(.environmentKill, Slot.family, load64(PacketPlace.packet + 2048 + index * 8))
  }
  Kernel.forge(Slot.other, name: 0x0071 << 48, length: 2)
  guard let own = Child(0, body: Body.spin), let other = Child(20, body: Body.spin, foreign: Slot.other) else {
    return report.notTried(check)
  }
  func used(_ child: Child) -> UInt64 { child.record.ticks_used }
  func share() -> UInt64 {
    let before = used(other)
    let ticks = rest(100)
    return (used(other) - before) * 1000 / ticks
  }
  let quiet = share()
  check.expect(game.start(), "a question")
  let flooded = share()
  var line = Line()
  line.put("of 1000 parts of the time the neighbour has ")
  line.put(quiet)
  line.put(", and beside a flood ")
  line.put(flooded)
  line.send()
  check.expect(flooded * 100 >= quiet * 95, "the neighbour lost more than a twentieth", flooded)
  own.kill()
  other.kill()
  game.stop()
  check.expect(game.end(), "the end")
  report.finish(check)
}
