// SPDX-License-Identifier: Apache-2.0
// Line.swift: the TAP device with a relay each way, the clock, and the child that is Linux's side.

import ApusNet
import CTap
import Glibc

/// The TAP device behind two relays.
struct Line {
  private let device: Int32
  private let isPerfect: Bool
  private var toStack: Relay
  private var toLinux: Relay
  private var buffer = [UInt8](repeating: 0, count: 65_600)
  private let capture: UnsafeMutablePointer<FILE>?

  init(device: Int32, quality: LineQuality, seed: UInt64, capture path: String?) {
    self.device = device
    isPerfect = quality.isPerfect
    toStack = Relay(quality, seed: seed &* 2 &+ 1)
    toLinux = Relay(quality, seed: seed &* 2 &+ 2)
    capture = path.flatMap { fopen($0, "w") }
    // The header of a capture file: magic, version 2.4, no time zone, largest frame, Ethernet.
    record(words: [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_600, 1])
  }

  static var now: Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  var lost: Int { toStack.lost + toLinux.lost }

  private func record(words: [UInt32], _ frame: [UInt8] = []) {
    guard let capture else { return }
    fwrite(words, 4, words.count, capture)
    fwrite(frame, 1, frame.count, capture)
    fflush(capture)
  }

  private func record(_ frame: [UInt8]) {
    guard capture != nil else { return }
    let now = Self.now.nanoseconds
    let length = UInt32(frame.count)
    record(words: [UInt32(now / 1_000_000_000), UInt32(now / 1000 % 1_000_000), length, length], frame)
  }

  /// Gives the stack what has come.
  mutating func receive(_ stack: NetworkStack, _ now: Instant) {
    // Not without end: what the stack answers has to go out as well.
    for _ in 0..<256 {
      let count = read(device, &buffer, buffer.count)
      if count <= 0 { break }
      let frame = Array(buffer[..<count])
      record(frame)
      if isPerfect { stack.receive(frame.span, now) } else { toStack.put(frame, now) }
    }
    while let frame = toStack.take(now) { stack.receive(frame.span, now) }
  }

  /// Gives Linux what the stack sends.
  mutating func send(_ stack: NetworkStack, _ now: Instant) {
    while let frame = stack.nextFrame() {
      if isPerfect { put(frame) } else { toLinux.put(frame, now) }
    }
    while let frame = toLinux.take(now) { put(frame) }
  }

  private func put(_ frame: [UInt8]) {
    record(frame)
    _ = write(device, frame, frame.count)
  }

  /// Waits for a frame, at most until an instant.
  func wait(_ until: Instant, _ now: Instant) {
    var due = until
    for next in [toStack.next, toLinux.next] { if let next { due = min(due, next) } }
    let nanoseconds = max(0, (due - now).nanoseconds)
    ctap_wait(device, Int64(nanoseconds))
  }
}

/// This program again, as Linux's side.
final class Child {
  private let process: pid_t

  /// Starts it, and waits until it listens.
  init(arguments: [String]) throws(Mismatch) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw Mismatch(sentence: "no pipe: error \(errno)") }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_addclose(&actions, ends[0])
    var words: [UnsafeMutablePointer<CChar>?] = (["NetHost"] + arguments).map { strdup($0) }
    words.append(nil)
    var started: pid_t = 0
    let error = posix_spawn(&started, "/proc/self/exe", &actions, nil, words, environ)
    posix_spawn_file_actions_destroy(&actions)
    for word in words { free(word) }
    close(ends[1])
    process = started
    guard error == 0 else { throw Mismatch(sentence: "Linux's side cannot be started: error \(error)") }
    var byte: UInt8 = 0
    let count = read(ends[0], &byte, 1)
    guard count == 1 else { throw Mismatch(sentence: "Linux's side did not start") }
  }

  /// Its exit status, once it has ended; 255 if by a signal.
  func status() -> Int32? {
    var status: Int32 = 0
    guard waitpid(process, &status, WNOHANG) == process else { return nil }
    return status & 0x7f == 0 ? status >> 8 & 0xff : 255
  }

  func end() { kill(process, SIGKILL) }
}
