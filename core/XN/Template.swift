// SPDX-License-Identifier: Apache-2.0
// Template.swift: what a template's programs may reach and must answer, and how they run.

import ApusBPF

extension Contract {
  private static func template(greatest: UInt64) -> Contract {
    var contract = Contract()
    contract.isDeterministic = true
    contract.resultGreatest = greatest
    contract.instructionLimit = 1 << 16
    let block = contract.add(RegionContract(minimumByteCount: 4096, maximumByteCount: 4096))
    contract.arguments[0] = .address(region: block)
    return contract
  }

  /// What the verifier has to know of a template's programs.
  ///
  /// r1 is the block; `acl` gets a principal in r2 and whether
  /// to write in r3. `owns` answers 1 if the block is of its type, and tells of each extent by helper 1: first block,
  /// count, type.
  public static func template(_ program: TemplateProgram) -> Contract {
    switch program {
    case .owns:
      var contract = template(greatest: 1)
      contract.add(
        HelperContract(
          number: 1,
          arguments: [
            .number(least: 0, greatest: .max), .number(least: 1, greatest: 1 << 20),
            .number(least: 0, greatest: 0xffff),
            .unused, .unused,
          ],
          result: .number(least: 0, greatest: 0), cost: 20))
      return contract
    case .acl:
      var contract = template(greatest: 1)
      contract.arguments[1] = .anyNumber
      contract.arguments[2] = .number(least: 0, greatest: 1)
      return contract
    case .size: return template(greatest: 4096)
    }
  }
}

/// Looks at each extent that an `owns` program tells of.
protocol ExtentVisitor {
  /// Takes an extent; false ends the run.
  mutating func take(_ extent: Extent) -> Bool
}

/// For programs that may tell of nothing.
struct NoExtents: ExtentVisitor {
  func take(_ extent: Extent) -> Bool { false }
}

/// A run of a template's program over the scratch block: every access is checked again, so that even a program that
/// the verifier never saw reaches nothing else.
struct TemplateWorld<Memory: XNMemory, Visitor: ExtentVisitor>: ProgramSurroundings {
  let memory: Memory
  var visitor: Visitor
  private var extentCount = 0

  private static var blockBase: UInt64 { 1 << 32 }
  private static var stackBase: UInt64 { 1 << 40 }

  init(memory: Memory, visitor: Visitor) {
    self.memory = memory
    self.visitor = visitor
  }

  mutating func run(_ program: Span<UInt64>, _ first: UInt64, _ second: UInt64) -> UInt64? {
    for index in 0..<ProgramLimits.stackByteCount / 8 { memory[stack: index] = 0 }
    var interpreter = Interpreter(
      arguments: [Self.blockBase, first, second, 0, 0],
      stackTop: Self.stackBase + UInt64(ProgramLimits.stackByteCount))
    do throws(Fault) {
      return try interpreter.run(program, in: &self, budget: 1 << 16)
    } catch { return nil }
  }

  mutating func load(_ width: AccessWidth, at address: UInt64) -> UInt64? {
    let size = UInt64(width.byteCount)
    if address >= Self.blockBase, address - Self.blockBase <= 4096 - size {
      return memory.loadScratch(width, Int(address - Self.blockBase))
    }
    guard let (index, shift) = stackPlace(size, address) else { return nil }
    return memory[stack: index] >> shift & width.mask
  }

  mutating func store(_ value: UInt64, _ width: AccessWidth, at address: UInt64) -> Bool {
    guard let (index, shift) = stackPlace(UInt64(width.byteCount), address) else { return false }
    memory[stack: index] = memory[stack: index] & ~(width.mask << shift) | (value & width.mask) << shift
    return true
  }

  /// A place in the stack; accesses are aligned, as the verifier demands.
  private func stackPlace(_ size: UInt64, _ address: UInt64) -> (Int, UInt64)? {
    guard address >= Self.stackBase, address - Self.stackBase <= UInt64(ProgramLimits.stackByteCount) - size,
      address % size == 0
    else { return nil }
    let offset = address - Self.stackBase
    return (Int(offset / 8), offset % 8 * 8)
  }

  mutating func call(_ helper: UInt32, _ arguments: InlineArray<5, UInt64>) -> UInt64? {
    guard helper == 1, let first = UInt32(exactly: arguments[0]), let count = UInt32(exactly: arguments[1]),
      let type = UInt16(exactly: arguments[2]), extentCount < XN<Memory>.childLimit
    else { return nil }
    extentCount += 1
    return visitor.take(Extent(first: first, count: count, type: type)) ? 0 : nil
  }
}
