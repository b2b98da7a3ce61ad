// SPDX-License-Identifier: Apache-2.0
// Application.swift: what runs on the LibOS: each thread counts primes in memory of its own that nobody gave it before.

/// Each thread begins here, told its number.
@c @used func application_start(_ thread: UInt64) -> Never {
  // Nobody ever gave this memory to the thread. It comes as it is touched.
  let table = (thread + 1) << 33
  var limit: UInt64 = 50_000
  while limit <= 1_600_000 {
    say("primes below", limit, primes(below: limit, table))
    limit *= 2
  }
  while true { call(UInt64(CALL_END), 0, 0, 0, 0) }
}

/// Counts primes with the sieve of Eratosthenes.
///
/// - Parameters:
///   - limit: How far.
///   - table: Address of a byte for each number.
/// - Returns: How many there are.
private func primes(below limit: UInt64, _ table: UInt64) -> UInt64 {
  var count: UInt64 = 0
  for number in 0..<limit { set_byte(table + number, 0) }
  for number in 2..<limit where byte(table + number) == 0 {
    count += 1
    var multiple = number * number
    while multiple < limit {
      set_byte(table + multiple, 1)
      multiple += number
    }
  }
  return count
}

private func say(_ words: StaticString, _ first: UInt64, _ second: UInt64) {
  call(UInt64(CALL_SAY), UInt64(UInt(bitPattern: words.utf8Start)), UInt64(words.utf8CodeUnitCount), first, second)
}
