// SPDX-License-Identifier: Apache-2.0
// BudgetPlan.swift: shares a machine out among programs: memory, environments, slices, contracts, CPUs.
//
// What the kernel would refuse at boot is refused here, with the sum.

import ApusImage

/// What a machine has, as far as programs can have it.
struct MachineCapacity {
  let memory: Memory
  let processors: Int
  /// What the kernel, its tables, the boot image and the start environment need of the memory.
  let overhead: UInt64

  /// Capacity of a machine.
  ///
  /// - Parameters:
  ///   - memory: The machine's.
  ///   - processors: How many CPUs it has.
  ///   - kernelSize: Bytes of the kernel's file.
  ///   - imageSize: Bytes of the boot image with all programs in it.
  init(memory: Memory, processors: Int, kernelSize: UInt64, imageSize: UInt64) {
    self.memory = memory
    self.processors = processors
    let frames = memory.bytes / 4096
    // For each frame a record of 32 bytes, a quarter of an account of 40 and 12 bytes in the start environment; for each
    // environment its record, its parking place, slices on each CPU; then what the start environment is made of.
    let perFrame: UInt64 = 32 + 10 + 12
    let perEnvironment = 8192 + 16 * UInt64(processors)
    overhead =
      kernelSize + imageSize + frames * perFrame + Self.environments(memory) * perEnvironment
      + UInt64(processors) * (128 << 10) + (4 << 20)
  }

  /// Environments of a machine (kernel/Boot.swift).
  static func environments(_ memory: Memory) -> UInt64 { min(512, max(64, memory.bytes / 4096 / 64)) }

  var environments: Int { Int(Self.environments(memory)) }
  /// Bytes that programs can have.
  var available: UInt64 { memory.bytes > overhead ? memory.bytes - overhead : 0 }
}

/// What one program gets.
struct ProgramBudget: Equatable {
  var memory: UInt64 = 0
  var environments = 0
  var slices = 0
  var processor = 0
  /// In nanoseconds; a period of 0: no contract.
  var period: UInt64 = 0
  var slice: UInt64 = 0

  /// What the kernel reckons a contract at, in millionths of a CPU: the switch of 5 microseconds counted.
  var share: UInt64 { period == 0 ? 0 : ((slice + 5000) * 1_000_000 + period - 1) / period }
}

enum BudgetPlan {
  /// A program, as far as budgets go.
  struct Request {
    let place: ManifestNode
    let name: String
    let wishes: ProgramWishes
    let processor: Int?
    /// Bytes without which it cannot start.
    let leastMemory: UInt64
  }

  /// Environments of a family that are the LibOS's own.
  private static let ownEnvironments = 4
  private static let shareLimit: UInt64 = 900_000
  private static let contractLimit = 16

  /// Shares a machine out.
  ///
  /// - Throws: With the sum, what is more than there is.
  static func make(_ requests: [Request], of capacity: MachineCapacity) throws(Failure) -> [ProgramBudget] {
    var budgets = try memory(requests, capacity)
    try environments(requests, capacity, &budgets)
    for index in requests.indices {
      let wishes = requests[index].wishes
      budgets[index].slices = wishes.slices ?? 1
      if let contract = wishes.contract {
        budgets[index].period = contract.period
        budgets[index].slice = contract.period * contract.share / 1_000_000
      }
    }
    try place(requests, capacity, &budgets)
    return budgets
  }

  private static func failure(_ requests: [Request], _ words: String) -> Failure {
    requests.first?.place.failure(words) ?? Failure(sentence: words, status: Status.usage)
  }

  private static func memory(_ requests: [Request], _ capacity: MachineCapacity) throws(Failure) -> [ProgramBudget] {
    var sum: UInt64 = 0
    for request in requests {
      guard let wanted = request.wishes.memory else {
        sum += request.leastMemory
        continue
      }
      guard wanted.bytes >= request.leastMemory else {
        throw request.place.failure(
          "the memory of \(request.name), \(wanted.inMebibytes), is too little: it needs "
            + "\(Memory(bytes: request.leastMemory).inMebibytes) to start")
      }
      sum += wanted.bytes
    }
    guard sum <= capacity.available else {
      let parts = requests.map {
        "\($0.name) \($0.wishes.memory?.inMebibytes ?? "at least " + Memory(bytes: $0.leastMemory).inMebibytes)"
      }
      throw failure(
        requests,
        "the programs' memory comes to \(Memory(bytes: sum).inMebibytes) (\(parts.joined(separator: ", "))), and a machine "
          + "of \(capacity.memory.inMebibytes) has \(Memory(bytes: capacity.available).text) for them")
    }
    let others = requests.filter { $0.wishes.memory == nil }
    let rest = (capacity.available - sum) / UInt64(max(1, others.count))
    return requests.map { request in
      var budget = ProgramBudget()
      budget.memory = (request.wishes.memory?.bytes ?? request.leastMemory + rest) & ~4095
      return budget
    }
  }

  private static func environments(
    _ requests: [Request], _ capacity: MachineCapacity, _ budgets: inout [ProgramBudget]
  ) throws(Failure) {
    // The start environment has one.
    let available = capacity.environments - 1
    let wanted = requests.map { $0.wishes.processes.map { $0 + ownEnvironments } }
    let others = wanted.filter { $0 == nil }.count
    let sum = wanted.reduce(0) { $0 + ($1 ?? ownEnvironments + 4) }
    guard sum <= available else {
      throw failure(
        requests,
        "the programs' processes come to \(sum - requests.count * ownEnvironments), and a machine of "
          + "\(capacity.memory.inMebibytes) has room for \(available - requests.count * ownEnvironments)")
    }
    let named = wanted.reduce(0) { $0 + ($1 ?? 0) }
    let share = min(64 + ownEnvironments, (available - named) / max(1, others))
    for index in requests.indices { budgets[index].environments = wanted[index] ?? share }
  }

  /// Finds a CPU for each: first those that name one, then the others by their share, each where least is promised.
  private static func place(
    _ requests: [Request], _ capacity: MachineCapacity, _ budgets: inout [ProgramBudget]
  ) throws(Failure) {
    var shares = [UInt64](repeating: 0, count: capacity.processors)
    var slices = [Int](repeating: 0, count: capacity.processors)
    var contracts = [Int](repeating: 0, count: capacity.processors)
    var placed: [Int] = []
    func put(_ index: Int, on processor: Int, _ budgets: inout [ProgramBudget]) throws(Failure) {
      placed.append(index)
      budgets[index].processor = processor
      shares[processor] += budgets[index].share
      slices[processor] += budgets[index].slices
      if budgets[index].period != 0 { contracts[processor] += 1 }
      guard shares[processor] <= shareLimit, contracts[processor] <= contractLimit else {
        let there = placed.filter { budgets[$0].processor == processor && budgets[$0].period != 0 }
        let parts = there.map { "\(requests[$0].name) \(percent(budgets[$0].share))" }
        throw requests[index].place.failure(
          "the contracts on CPU \(processor) come to \(percent(shares[processor])) of it (\(parts.joined(separator: ", "))), "
            + "and \(contractLimit) contracts of \(percent(shareLimit)) together are what a CPU can promise")
      }
    }
    for index in requests.indices {
      guard let processor = requests[index].processor else { continue }
      guard processor < capacity.processors else {
        throw requests[index].place.failure(
          "there is no CPU \(processor): the machine has \(capacity.processors), numbered from 0")
      }
      try put(index, on: processor, &budgets)
    }
    let free = requests.indices.filter { requests[$0].processor == nil }
    for index in free.sorted(by: { (budgets[$1].share, $0) < (budgets[$0].share, $1) }) {
      let best = (0..<capacity.processors).min {
        (shares[$0], slices[$0], $0) < (shares[$1], slices[$1], $1)
      }
      try put(index, on: best ?? 0, &budgets)
    }
  }

  private static func percent(_ millionths: UInt64) -> String {
    let tenths = (millionths + 500) / 1000
    return tenths % 10 == 0 ? "\(tenths / 10) %" : "\(tenths / 10).\(tenths % 10) %"
  }
}
