// SPDX-License-Identifier: Apache-2.0
// LinuxCallsTests.swift: the table of Linux calls agrees with itself and with the handlers in the sources.

import Foundation
import LinuxCalls
import Testing

@Suite struct LinuxCallsTests {
  @Test func numbersRise() {
    let numbers = LinuxCall.all.map(\.number.rawValue)
    #expect(zip(numbers, numbers.dropFirst()).allSatisfy { $0 < $1 })
    #expect((numbers.last ?? 0) + 1 == LinuxCall.limit)
  }

  @Test func namesAreTheCasesOwn() {
    for call in LinuxCall.all {
      #expect("\(call.name)" == "\(call.number)")
    }
  }

  @Test(arguments: [(0, "read"), (39, "getpid"), (59, "execve"), (231, "exit_group"), (462, "mseal")])
  func numbersAreLinuxs(_ number: Int, _ name: String) throws {
    let call = try #require(LinuxCall.named(number))
    #expect("\(call.name)" == name)
  }

  @Test(arguments: [-1, 335, 423, 463, 1 << 40]) func gapsHaveNoName(_ number: Int) {
    #expect(LinuxCall.named(number) == nil)
  }

  /// A call has a handler exactly if its level says that it is there.
  @Test func levelsMatchTheHandlers() throws {
    let handled = try Self.handledCalls()
    for call in LinuxCall.all {
      let name = "\(call.name)"
      if case .absent = call.level {
        #expect(!handled.contains(name), "\(name) is said to be absent, and has a handler")
      } else {
        #expect(handled.contains(name), "\(name) is said to be there, and has no handler")
      }
    }
  }

  /// The calls that the sources enter into the table.
  static func handledCalls() throws -> Set<String> {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appending(path: "libos/Linux")
    var calls: Set<String> = []
    let files = try #require(FileManager.default.enumerator(at: root, includingPropertiesForKeys: nil))
    for case let file as URL in files where file.pathExtension == "swift" {
      let text = try String(contentsOf: file, encoding: .utf8)
      for match in text.matches(of: /table\[\.`?(\w+)`?\] =/) { calls.insert(String(match.1)) }
    }
    return calls
  }
}
