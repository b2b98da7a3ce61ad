// SPDX-License-Identifier: Apache-2.0
// ConsoleProtocol.swift: the records that cross the console device between the machine and the host command.
//
// Both ways: 4 bytes of header, then the payload. Header: kind (1 byte), account (1 byte), payload length
// (2 bytes, little-endian). Any byte value may stand in a payload.

/// Size of a record's header in bytes.
public let consoleHeaderByteCount = 4

/// The greatest payload of one record in bytes.
public let consolePayloadLimit = 4096

/// What a record from the machine to the host carries.
///
/// The kernel writes the header; a LibOS chooses the stream in its console call.
public enum ConsoleStream: UInt8 {
  /// The program's standard output.
  case output = 1
  /// The program's standard error.
  case error = 2
  /// The program ended: its exit status, 4 bytes little-endian (128 + n for signal n).
  case exit = 3
  /// A sentence for the person, always shown on the host's standard error.
  case notice = 4
  /// A line of the Linux call trace, shown on the host's standard error.
  case trace = 5
  /// The kernel's or LibOS's own messages, shown when asked for.
  case log = 6
  /// The terminal's mode changed: 1 byte, unused by the host for now. Reserved.
  case terminal = 7
  /// The first family's word about a program that it starts: account, `ProgramState`, exit status, starts so far (a byte
  /// each).
  case program = 8
  /// A failure, told in numbers (`struct apus_crash`); the host makes names of them and shows them.
  case crash = 9
}

/// What the start environment says of a program.
public enum ProgramState: UInt8 {
  /// It runs.
  case runs = 1
  /// It has ended and starts again in a while.
  case waits = 2
  /// It has ended.
  case ended = 3
  /// It could not be started: the machine has too little left, or its image is damaged.
  case failed = 4
}

/// Host to machine.
public enum ConsoleInput: UInt8 {
  /// Bytes of standard input.
  case bytes = 1
  /// Standard input has ended.
  case end = 2
  /// The terminal's size: rows, columns (2 bytes each, little-endian).
  case windowSize = 3
  /// A signal for the foreground: its Linux number, 1 byte. The header's account says for which of several programs.
  case signal = 4
}
