// SPDX-License-Identifier: Apache-2.0
// RoundTripTests.swift: decoder, encoder, disassembler and assembler agree, and none of them stumbles over any input.

import ApusBPF
import ApusBPFTools
import BPFHost
import Testing

@Suite("Text and slots")
struct RoundTripTests {
  @Test("random instructions survive encoding and text")
  func instructions() throws {
    for seed in 0..<400 as Range<UInt64> {
      let program = ProgramGenerator.program(seed: seed)
      var text = ""
      var again: [UInt64] = []
      var index = 0
      while index < program.count {
        let instruction = try Instruction(program.span, at: index)
        again += instruction.slots
        text += instruction.text + "\n"
        index += instruction.slotCount
      }
      #expect(again == program)
      #expect(try Assembler.assemble(text) == program)
    }
  }

  @Test("the text is the one that compilers print")
  func text() throws {
    let expected: [(UInt64, String)] = [
      (0x0000_0000_0000_020f, "r2 += r0"), (0xffff_ffff_0000_0204, "w2 += -1"),
      (0x0000_0000_0001_1237, "invalid"), (0x0000_0005_0001_0237, "r2 s/= 5"),
      (0x0000_0000_0008_21bf, "r1 = (s8)r2"), (0x0000_0000_0000_0187, "r1 = -r1"),
      (0x0000_0010_0000_01dc, "r1 = be16 r1"), (0x0000_0040_0000_01d7, "r1 = bswap64 r1"),
      (0x0000_0000_fff8_2179, "r1 = *(u64 *)(r2 - 8)"),
      (0x0000_0000_fff8_2191, "r1 = *(s8 *)(r2 - 8)"),
      (0xffff_fffb_0002_0172, "*(u8 *)(r1 + 2) = -5"),
      (0x0000_0000_0002_216b, "*(u16 *)(r1 + 2) = w2"),
      (0x0000_0000_0008_21c3, "lock *(u32 *)(r1 + 8) += w2"),
      (0x0000_0041_0008_21db, "r2 = atomic_fetch_or((u64 *)(r1 + 8), r2)"),
      (0x0000_00e1_0008_21db, "r2 = xchg_64(r1 + 8, r2)"),
      (0x0000_00f1_0008_21c3, "w0 = cmpxchg32_32(r1 + 8, w0, w2)"),
      (0x0000_0000_0001_0005, "goto +1"), (0x0000_0002_0000_0006, "gotol +2"),
      (0xffff_fffc_fffb_01c5, "if r1 s< -4 goto -5"), (0x0000_0000_0005_2146, "invalid"),
      (0x0000_0007_0000_0085, "call 7"), (0xffff_fffe_0000_1085, "call local -2"),
      (0x0000_0000_0000_0095, "exit"),
    ]
    for (slot, text) in expected {
      let found = try? Instruction([slot].span, at: 0).text
      #expect(found ?? "invalid" == text)
    }
  }

  @Test("random slots are refused or handled, never stumbled over")
  func randomSlots() {
    var numbers = SeededNumbers(seed: 99)
    for _ in 0..<20_000 {
      var program: [UInt64] = []
      for _ in 0...numbers.below(6) {
        // Mostly plausible operations, now and then anything.
        let bits = numbers.next()
        let operations: [UInt64] = [
          0x07, 0xbf, 0x85, 0x05, 0x15, 0x79, 0x7b, 0xdb, 0x18, 0x61, 0x62, 0xd4, 0x06, 0x95,
        ]
        let mask: UInt64 = numbers.below(3) == 0 ? .max : 0x0000_0007_0007_ffff
        program.append(
          numbers.below(8) == 0
            ? bits : bits & mask & ~0xff | operations[numbers.below(operations.count)])
      }
      program.append(0x95)
      _ = Disassembler.lines(program)
      let verification = Verification(
        program, for: Uses.packet, budget: 2000, wordCount: 1 << 14)
      let compiled = try? NativeProgram.compile(program)
      if verification.verdict != nil { #expect(compiled != nil) }
    }
  }

  @Test(
    "text that says nothing is refused with its line",
    arguments: [
      "r11 = 5", "r0 = ", "r0 += r1 r2", "goto", "if r0 goto +1", "*(u9 *)(r1 + 0) = 1",
      "r0 = *(u32 *)(r1)", "call", "exit now", "r0 = be16 r1", "r0 = -r1", "w0 = xchg_64(r1, w0)",
      "r0 += w1", "r1 = 0x100000000", "lock *(u32 *)(r1 + 0) -= r2", ".slot xyz", "goto nowhere",
    ])
  func refusedText(_ line: String) {
    #expect {
      _ = try Assembler.assemble("exit\n" + line)
    } throws: { error in
      (error as? AssemblyError)?.line == 2
    }
  }
}
