// SPDX-License-Identifier: Apache-2.0
// AddressCommand.swift: `apus addr2line`: which function and line an address is.

import ArgumentParser
import CApusABI
import Glibc

struct AddressCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "addr2line",
    abstract: "Show which function and line addresses belong to.",
    discussion: """
      Without --elf the address says whose it is: the kernel's (from 0xffffffff80000000 on) or the LibOS's (from \
      0x700000000000 on), as they are built here.
      """)

  @Option(help: ArgumentHelp("The program that the addresses belong to.", valueName: "file"))
  var elf: String?

  @Argument(help: ArgumentHelp("Addresses, in hexadecimal.", valueName: "address"))
  var addresses: [String]

  func run() throws { try execute() }

  private func execute() throws(Failure) {
    let home = try Home()
    var symbolizers: [String: Symbolizer] = [:]
    if let elf, (try? HostFile.facts(Path(elf.utf8))) == nil {
      throw Failure(sentence: "there is no file \(elf)", status: Status.usage)
    }
    for text in addresses {
      let digits = text.hasPrefix("0x") ? String(text.dropFirst(2)) : text
      guard let address = UInt64(digits, radix: 16) else {
        throw Failure(sentence: "\(text) is no hexadecimal address", status: Status.usage)
      }
      let file: Path
      if let elf {
        file = Path(elf.utf8)
      } else if address >= 0xffff_ffff_8000_0000 {
        file = try home.kernel()
      } else if address >= UInt64(APUS_LIBOS_BASE), address < UInt64(APUS_USER_LIMIT) {
        file = try home.libos()
      } else {
        throw Failure(
          sentence: "\(text) is neither the kernel's nor the LibOS's; name its program with --elf FILE",
          status: Status.usage)
      }
      let symbolizer = symbolizers[shown(file)] ?? Symbolizer(file)
      symbolizers[shown(file)] = symbolizer
      let places = symbolizer.places(address)
      Diagnostics.tell("0x\(String(address, radix: 16))  \(places.first?.text ?? "?")")
      for caller in places.dropFirst() { Diagnostics.tell("    inlined in \(caller.text)") }
    }
  }
}
