// SPDX-License-Identifier: Apache-2.0
// Refusals.swift: programs that break one rule of the kernel's verifier each.

import ApusBPF
import ApusBPFTools

/// A program that the kernel refuses, and the rule.
struct Refusal {
  let rule: String
  let use: Use
  let text: String

  init(_ rule: String, _ use: Use = .packetHandler, _ text: String) {
    self.rule = rule
    self.use = use
    self.text = text
  }

  /// At least one for each rule that its use can break.
  static let all = [
    Refusal("uninitialisedRegister @ 0", .packetHandler, "r0 = r6\nexit"),
    Refusal(
      "uninitialisedRegister @ 3", .packetHandler, "r2 = *(u8 *)(r1 + 0)\nif r2 == 0 goto +1\nr5 = 1\nr0 = r5\nexit"),
    Refusal("uninitialisedRegister @ 1", .packetHandler, "call 3\nr0 = r1\nexit"),
    Refusal("uninitialisedStack @ 0", .packetHandler, "r0 = *(u64 *)(r10 - 8)\nexit"),
    Refusal("uninitialisedStack @ 1", .packetHandler, "*(u8 *)(r10 - 8) = 1\nr0 = *(u16 *)(r10 - 8)\nexit"),
    Refusal(
      "uninitialisedStack @ 3", .packetHandler,
      "r5 = *(u8 *)(r1 + 0)\nif r5 == 0 goto +1\n*(u64 *)(r10 - 8) = 1\nr0 = *(u64 *)(r10 - 8)\nexit"),
    Refusal("outsideStack @ 0", .packetHandler, "*(u64 *)(r10 - 520) = 1\nexit"),
    Refusal("outsideStack @ 0", .packetHandler, "*(u64 *)(r10 + 0) = 1\nexit"),
    Refusal("outsideRegion @ 0", .packetHandler, "r0 = *(u8 *)(r1 + 14)\nexit"),
    Refusal("outsideRegion @ 0", .packetHandler, "r0 = *(u8 *)(r3 + 4096)\nexit"),
    Refusal("outsideRegion @ 0", .packetHandler, "r0 = *(u8 *)(r3 - 1)\nexit"),
    Refusal("outsideRegion @ 3", .packetHandler, "r5 = r1\nr5 += 20\nif r5 < r2 goto +1\nr0 = *(u8 *)(r1 + 14)\nexit"),
    Refusal(
      "outsideRegion @ 4", .packetHandler, "r5 = r1\nr5 += 20\nif r5 > r2 goto +1\nr0 = 0\nr0 = *(u8 *)(r1 + 14)\nexit"),
    Refusal(
      "outsideRegion @ 3", .packetHandler, "r5 = *(u8 *)(r1 + 0)\nr5 <<= 8\nr3 += r5\nr0 = *(u64 *)(r3 + 0)\nexit"),
    Refusal(
      "outsideRegion @ 6", .packetHandler,
      "r5 = *(u8 *)(r1 + 0)\nr1 += r5\nr5 = r1\nr5 += 8\nif r5 > r2 goto +2\nr5 = 0\nr0 = *(u64 *)(r1 + 1)\nr0 = 0\nexit"
    ),
    Refusal("notWritable @ 0", .packetHandler, "*(u8 *)(r1 + 0) = 1\nexit"),
    Refusal("notWritable @ 0", .wakeupPredicate, "*(u8 *)(r1 + 0) = 1\nexit"),
    Refusal("notAnAddress @ 0", .packetHandler, "r0 = *(u8 *)(r2 + 0)\nexit"),
    Refusal("notAnAddress @ 1", .packetHandler, "r5 = 4096\nr0 = *(u8 *)(r5 + 0)\nexit"),
    Refusal("addressArithmetic @ 0", .packetHandler, "r1 *= 2\nexit"),
    Refusal("addressArithmetic @ 0", .packetHandler, "r2 += 1\nexit"),
    Refusal("addressArithmetic @ 0", .packetHandler, "w1 += 1\nexit"),
    Refusal("addressArithmetic @ 0", .packetHandler, "r1 = -r1\nexit"),
    Refusal("addressTooFar @ 1", .packetHandler, "r5 = *(u64 *)(r3 + 0)\nr3 += r5\nexit"),
    Refusal("addressTooFar @ 0", .packetHandler, "r3 += 1000000000\nexit"),
    Refusal("addressCompared @ 0", .packetHandler, "if r1 < r3 goto +0\nr0 = 0\nexit"),
    Refusal("addressCompared @ 0", .packetHandler, "if r1 == 0 goto +0\nr0 = 0\nexit"),
    Refusal("addressStored @ 0", .packetHandler, "*(u64 *)(r3 + 0) = r1\nexit"),
    Refusal("addressStored @ 0", .packetHandler, "*(u64 *)(r10 - 8) = r1\nexit"),
    Refusal("addressReturned @ 1", .packetHandler, "r0 = r1\nexit"),
    Refusal("addressReturned @ 1", .packetHandler, "r0 = r10\nexit"),
    Refusal("resultOutOfRange @ 1", .packetHandler, "r0 = 2\nexit"),
    Refusal("resultOutOfRange @ 1", .packetHandler, "r0 = *(u8 *)(r1 + 0)\nexit"),
    Refusal("unknownHelper @ 0", .packetHandler, "call 9\nexit"),
    Refusal("unknownHelper @ 0", .packetFilter, "call 1\nexit"),
    Refusal("helperNumber @ 1", .packetHandler, "r1 = 1515\ncall 2\nexit"),
    Refusal("helperNumber @ 1", .packetHandler, "r1 = 13\ncall 2\nexit"),
    Refusal("helperNumber @ 0", .packetHandler, "call 2\nexit"),
    Refusal("misalignedAtomic @ 1", .packetHandler, "r5 = 1\nlock *(u64 *)(r3 + 4) += r5\nexit"),
    Refusal(
      "misalignedAtomic @ 3", .packetHandler,
      "r5 = *(u8 *)(r1 + 0)\nr5 &= 124\nr3 += r5\nlock *(u64 *)(r3 + 0) += r5\nexit"),
    Refusal("addressToAtomic @ 0", .packetHandler, "lock *(u64 *)(r3 + 0) += r1\nexit"),
    Refusal("addressToAtomic @ 1", .packetHandler, "r5 = 8\nlock *(u64 *)(r3 + 8) += r10\nexit"),
    Refusal("jumpsBack @ 1", .packetHandler, "r0 = 0\nif r0 == 0 goto -2\nexit"),
    Refusal("jumpsBack @ 1", .packetHandler, "r0 = 0\ngoto -2"),
    Refusal("callsFunction @ 0", .packetHandler, "call local f\nexit\nf:\nr0 = 0\nexit"),
    Refusal("callsFunction @ 1", .wakeupPredicate, "r0 = 0\ncall local f\nexit\nf:\nr0 = 0\nexit"),
    Refusal(
      "tooManyInstructions @ 11", .packetHandler,
      String(repeating: "r1 = 0\nr2 = 0\nr3 = 0\ncall 1\n", count: 3) + "r0 = 0\nexit"),
    // Sixty ways are under way at once, and there is room for thirty-six.
    Refusal(
      "tooComplex @ 37", .packetHandler,
      "r5 = *(u8 *)(r1 + 0)\n" + (0..<60).map { "if r5 == \($0) goto +60\n" }.joined()
        + String(repeating: "r0 = 0\n", count: 70) + "exit"),
  ]
}
