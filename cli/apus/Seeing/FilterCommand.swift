// SPDX-License-Identifier: Apache-2.0
// FilterCommand.swift: `apus filter`: the merged packet filters of a running machine, with what they have taken.

import ArgumentParser
import BPFHost
import CApusABI
import FilterHost

struct FilterCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "filter",
    abstract: "Show the packet filters of a running machine, or who gets a packet.",
    subcommands: [Show.self, Match.self])

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Draw the merged filters, with how many packets each has taken.",
      discussion: """
        A line for each value that leads on: fields are counted from the packet's start or from where a header of \
        variable length ends. The machine's memory is read from outside, as `apus map` does.
        """)

    @OptionGroup var watch: WatchOptions

    func run() throws {
      let machine = try WatchedMachine(watch)
      for line in try machine.filters().lines(owner: machine.owner) { Diagnostics.tell(line) }
    }
  }

  struct Match: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Mark the way of a packet through the filters, and name its owner.",
      discussion: "Ends with status 1 if no filter takes the packet.")

    @Argument(help: "The packet from its Ethernet header on, in base 16.")
    var packet: String

    @OptionGroup var watch: WatchOptions

    func run() throws {
      let digits = packet.filter { !$0.isWhitespace && $0 != ":" }
      guard let bytes = Hexadecimal.bytes(digits), bytes.count <= 16_384 else {
        throw Failure(sentence: "a packet is an even number of digits in base 16", status: Status.usage)
      }
      let machine = try WatchedMachine(watch)
      let filters = try machine.filters()
      let match = filters.match(bytes)
      for line in filters.lines(marking: match, owner: machine.owner) { Diagnostics.tell(line) }
      guard match.filter != 0 else {
        Diagnostics.tell("nobody's")
        throw ExitCode(1)
      }
      Diagnostics.tell("filter \(match.filter): \(machine.owner(filters.filters[match.filter].account))")
    }
  }
}

extension WatchedMachine {
  /// What an account is called.
  fileprivate func owner(_ account: UInt16) -> String {
    names[account].map { "account \(account) (\($0))" } ?? "account \(account)"
  }

  /// The tables of packet filters.
  ///
  /// - Throws: A sentence if the machine has no network card, or is starting again.
  fileprivate func filters() throws(Failure) -> FilterMap {
    guard let page = memory.load(pages.address, as: apus_information.self), page.packet_ring_count != 0 else {
      throw Failure(
        sentence: "the machine \(name) has no network card: start it with --net user or --net tap:NAME",
        status: Status.machine)
    }
    let limit: UInt64 = 1 << 20
    func place(_ offset: UInt64) -> UInt64 { page.network_place &+ offset &- page.packet_ring_offset }
    guard max(page.filter_state_count, page.filter_field_count, page.filter_count) <= limit,
      let states = memory.records(
        place(page.filter_state_offset), count: Int(page.filter_state_count), of: apus_filter_state.self),
      let fields = memory.records(
        place(page.filter_field_offset), count: Int(page.filter_field_count), of: apus_filter_field.self),
      let filters = memory.records(
        place(page.filter_offset), count: Int(page.filter_count), of: apus_filter.self)
    else { throw Failure(sentence: "the machine \(name) is starting again", status: Status.machine) }
    return FilterMap(states: states.values, fields: fields.values, filters: filters.values)
  }
}
