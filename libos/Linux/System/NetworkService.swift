// SPDX-License-Identifier: Apache-2.0
// NetworkService.swift: a family's network on the machine's card, and the LibOS's own tasks that keep it going.

import ApusNet
import ApusNetRing
import ApusRuntime
import ApusUnix

/// The card, as the family's sockets reach it.
final class CardLink: NetworkLink {
  let interface: NetworkInterface
  /// Told when a server has lent another address, or taken it back.
  var leaseChanged: ((DHCPLease?) -> Void)?
  private var lastLease: DHCPLease?

  init(_ interface: NetworkInterface) { self.interface = interface }

  /// How many turns one exchange takes at most, so that a flood leaves time to programs.
  private static var turnLimit: Int { 4 }

  func exchange() {
    var turns = 0
    while interface.turn() && turns < Self.turnLimit { turns += 1 }
    if interface.lease != lastLease {
      lastLease = interface.lease
      leaseChanged?(lastLease)
    }
  }

  var hasArrived: Bool { interface.hasArrived }
  var deadline: Instant? { interface.deadline }
}

extension Family {
  /// How long the first program waits for an address, in nanoseconds.
  private static var addressPatience: UInt64 { 3_000_000_000 }
  /// How long the end waits for peers to take what was sent, in nanoseconds.
  private static var settlingPatience: UInt64 { 10_000_000_000 }

  /// Makes the network of the family's sockets: on the card, if the machine has one, and an address can be asked for.
  ///
  /// The first program finds the address and the name servers in place, unless no server answers in time.
  ///
  /// - Parameter files: Where /etc/resolv.conf is written.
  func startNetwork(_ files: RamFileSystem) {
    writeHosts(files)
    guard NetworkCard.isThere, let interface = NetworkInterface() else { return }
    let link = CardLink(interface)
    link.leaseChanged = { lease in writeNameServers(files, lease?.nameServers ?? []) }
    let network = Network(socketFileSystem, interface.stack, link: link)
    setNetwork(network)
    card = interface
    let limit = Instant(
      nanoseconds: NetworkInterface.now.nanoseconds + Int64(Self.addressPatience))
    network.pump()
    while interface.address == nil && NetworkInterface.now < limit {
      interface.wait(until: limit)
      network.pump()
    }
    watchArrivals(network, interface)
  }

  /// Ends the connections of all processes, of which the first one has had these descriptors: the machine goes off.
  func closeConnections(_ descriptors: DescriptorTable) {
    guard card != nil else { return }
    descriptors.closeAll()
    for process in processes {
      for thread in process.threads { thread.descriptors.closeAll() }
    }
  }

  /// Lets connections that were closed send what they have, before the machine is switched off.
  func settleNetwork() {
    guard let card else { return }
    let limit = Instant(nanoseconds: NetworkInterface.now.nanoseconds + Int64(Self.settlingPatience))
    while !network.stack.isSettled && NetworkInterface.now < limit {
      card.wait(until: limit)
      network.pump()
    }
  }

  /// Takes in what arrives while no program calls for it.
  private func watchArrivals(_ network: Network, _ interface: NetworkInterface) {
    networkWatcher = Execution.startSystem {
      while true {
        interface.waitForArrival()
        network.pump()
      }
    }
    if networkWatcher == nil { notice(ascii("apus: too little memory to listen to the network card")) }
  }

  /// Has somebody look after the network when time has come: timers of TCP, and of the card's address.
  func watchDeadlines(_ network: Network) {
    network.alarm = { [self] _ in
      if let networkTimer {
        networkTimer.wake()
        return
      }
      networkTimer = Execution.startSystem {
        while true { Execution.suspend(deadline: network.alarmRang(), handOffTo: nil) }
      }
    }
  }
}

/// Names that need no server, unless the tree says otherwise.
private func writeHosts(_ files: RamFileSystem) {
  let text = ascii("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tapus\n")
  write(files, ascii("/etc/hosts"), text, replacing: false)
}

/// What resolvers read (resolv.conf(5)).
private func writeNameServers(_ files: RamFileSystem, _ servers: [IPv4Address]) {
  if servers.isEmpty { return }
  var text: [UInt8] = []
  for server in servers { text += ascii("nameserver ") + Array(server.text.utf8) + [10] }
  write(files, ascii("/etc/resolv.conf"), text, replacing: true)
}

/// Makes a file with such contents.
private func write(_ files: RamFileSystem, _ path: [UInt8], _ text: [UInt8], replacing: Bool) {
  let superuser = Credentials()
  let walker = PathWalker(FileContext(root: files.root, working: files.root), superuser)
  do throws(Errno) {
    var location = try walker.walk(path, .name)
    if location.node != nil {
      // A link may lead to where nothing is.
      guard replacing || (try? walker.node(path)) == nil else { return }
      try location.unlink(superuser)
      location = try walker.walk(path, .name)
    }
    let file = try location.createFile(permissions: 0o644, superuser).open(.readWrite, Opener())
    var copy = text
    let result: Result<Int, Errno> = Bytes.withArray(&copy) { bytes in
      do throws(Errno) { return .success(try file.write(bytes)) } catch { return .failure(error) }
    }
    file.close()
    if case .failure(let error) = result { throw error }
  } catch {
    notice(ascii("apus: too little memory to write ") + path)
  }
}
