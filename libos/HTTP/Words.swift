// SPDX-License-Identifier: Apache-2.0
// Words.swift: the bytes of words that are in the program's text: the one file of the module that is not checked by the
// language.

extension StaticString {
  /// A byte of a literal.
  @inline(__always) func byte(_ index: Int) -> UInt8 {
    precondition(index >= 0 && index < utf8CodeUnitCount)
    // SAFETY: a literal's bytes stay for ever, and the index was just checked.
    return unsafe utf8Start[index]
  }
}
