// SPDX-License-Identifier: Apache-2.0
// LinuxCallsPage.swift: docs/linuxcalls.md, made from the table in libos/Linux/Calls.

import LinuxCalls

/// The page that says how much of each Linux call is there.
enum LinuxCallsPage {
  static let path = "docs/linuxcalls.md"

  /// The page as it has to be.
  static var text: String {
    var full = 0
    var partial = 0
    var absent = 0
    var rows = ""
    for call in LinuxCall.all {
      let level: String
      switch call.level {
      case .full:
        full += 1
        level = "full |"
      case .partial(let what):
        partial += 1
        level = "partial | \(what)"
      case .absent:
        absent += 1
        level = "absent |"
      }
      rows += "| \(call.number.rawValue) | `\(call.name)` | \(level) |\n"
    }
    return """
      # Linux calls

      What the Linux LibOS has of each system call of Linux on x86_64: \(full) in full, \(partial) in part, \
      \(absent) not at all.

      This page is made from
      [libos/Linux/Calls/LinuxCalls.swift](../libos/Linux/Calls/LinuxCalls.swift) and checked against it; after a change
      of the table, `APUS_WRITE_PAGES=1 swift test --filter DocumentationTests` writes it anew.

      *Full*: everything that programs use. *Partial*: it works except for what the note names, or in the way that the
      note says. *Absent*: it returns ENOSYS, and a sentence on the host's standard error says so, once for each call
      and program. `./apus compat PROGRAM` holds a program against this table.

      | number | call | level | note |
      |---|---|---|---|
      \(rows)
      """
  }
}
