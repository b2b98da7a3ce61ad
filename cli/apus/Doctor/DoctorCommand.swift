// SPDX-License-Identifier: Apache-2.0
// DoctorCommand.swift: `apus doctor`: what is here, what is missing, and how to get it.

import ArgumentParser
import CHost
import Glibc

struct Doctor: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what this machine has, what is missing, and how to get it.",
    discussion: "Ends with status 1 if something is missing that building, running or testing needs.")

  /// What was found out about one thing.
  private struct Finding {
    enum State: String {
      case here = "ok"
      case missing
      /// Missing, but nothing needs it.
      case without
    }
    let state: State
    let subject: String
    let detail: String
    var remedy = ""
  }

  func run() throws {
    let findings =
      [swift(), qemu(), busybox(), bash()]
      + [
        tool("make", purpose: "building"), tool("gcc", purpose: "the tests' C programs"),
        tool("tmux", purpose: "trying the terminal by hand", needed: false),
      ] + [kvm()] + built()
    for finding in findings {
      let state = finding.state.rawValue
      print("\(state)\(String(repeating: " ", count: 9 - state.count))\(finding.subject): \(finding.detail)")
      if !finding.remedy.isEmpty { print("         get it with: \(finding.remedy)") }
    }
    if findings.contains(where: { $0.state == .missing }) { throw ExitCode(1) }
  }

  private func apt(_ package: String) -> String { "apt-get install \(package)" }

  private func swift() -> Finding {
    let subject = "Swift toolchain"
    let remedy = "swiftly, as https://www.swift.org/install/linux says"
    guard let result = HostTool.run(["swift", "--version"]), result.status == 0 else {
      return Finding(state: .missing, subject: subject, detail: "there is no swift in PATH", remedy: remedy)
    }
    let line = result.text.split(separator: "\n").first { $0.contains("Swift version") }.map(String.init) ?? ""
    let words = line.split(separator: " ")
    let number = words.firstIndex(of: "version").map { String(words[min($0 + 1, words.count - 1)]) } ?? ""
    let parts = number.split(separator: ".").compactMap { Int($0) }
    guard parts.count >= 2, (parts[0], parts[1]) >= (6, 3) else {
      return Finding(state: .missing, subject: subject, detail: "\(line), but 6.3 is needed", remedy: remedy)
    }
    return Finding(state: .here, subject: subject, detail: number)
  }

  private func qemu() -> Finding {
    guard let path = HostFile.findProgram(Path(Home.emulatorName.utf8)),
      let result = HostTool.run([shown(path), "--version"]), result.status == 0
    else {
      return Finding(
        state: .missing, subject: "QEMU", detail: "there is no working \(Home.emulatorName) in PATH",
        remedy: apt("qemu-system-x86"))
    }
    let version = result.firstLine.split(separator: " ").drop { $0 != "version" }.dropFirst().first ?? ""
    return Finding(state: .here, subject: "QEMU", detail: "\(version), \(shown(path))")
  }

  private func busybox() -> Finding {
    staticProgram(
      "busybox", at: ["/bin/busybox", "/usr/bin/busybox"], purpose: "`make run` and the tests",
      package: "busybox-static")
  }

  private func bash() -> Finding {
    staticProgram(
      "bash-static", at: ["/bin/bash-static", "/usr/bin/bash-static"], purpose: "the tests", package: "bash-static")
  }

  private func staticProgram(_ name: String, at places: [String], purpose: String, package: String) -> Finding {
    var detail = "there is none, and \(purpose) need it"
    for place in places {
      do throws(Failure) {
        let program = try Program(named: Path(place.utf8), root: [])
        return Finding(state: .here, subject: name, detail: shown(program.path))
      } catch {
        if error.status != Status.notFound { detail = error.sentence }
      }
    }
    return Finding(state: .missing, subject: name, detail: detail, remedy: apt(package))
  }

  private func tool(_ name: String, purpose: String, needed: Bool = true) -> Finding {
    guard let path = HostFile.findProgram(Path(name.utf8)) else {
      return Finding(
        state: needed ? .missing : .without, subject: name, detail: "not here; it serves \(purpose)",
        remedy: apt(name))
    }
    return Finding(state: .here, subject: name, detail: shown(path))
  }

  private func kvm() -> Finding {
    let result = chost_kvm_usable()
    guard result == 0 else {
      return Finding(
        state: .without, subject: "KVM",
        detail: "no virtual machine can be made (\(describe(errno: -result))); Apus runs without it")
    }
    return Finding(state: .here, subject: "KVM", detail: "a virtual machine can be made")
  }

  private func built() -> [Finding] {
    ["kernel.elf", "libos.elf"].map { name in
      do throws(Failure) {
        return Finding(state: .here, subject: name, detail: shown(try Home().built(name)))
      } catch {
        return Finding(state: .missing, subject: name, detail: error.sentence)
      }
    }
  }
}
