// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0
// Package.swift: the pure modules, the host command and the host's tests. The kernel and the LibOS compile the
// same sources with their own flags (tools/build.mk).

import PackageDescription

/// A module that the kernel or a LibOS compiles as well, as Embedded Swift.
func shared(_ name: String, _ folder: String, _ dependencies: [Target.Dependency] = [], exclude: [String] = [])
  -> Target
{
  .target(
    name: name, dependencies: dependencies, path: folder, exclude: exclude,
    swiftSettings: [.strictMemorySafety()])
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
  .testTarget(name: name, dependencies: dependencies, path: "tests/Unit/" + name, exclude: exclude)
}

let package = Package(
  name: "Apus",
  products: [.executable(name: "apus", targets: ["apus"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
  ],
  targets: [
    .target(name: "CApusABI", path: "abi/CApusABI"),
    shared("ApusABI", "abi/ApusABI"),
    shared("ApusCapabilities", "core/Capabilities", ["ApusABI", "CApusABI"]),
    shared("ApusResources", "core/Resources", ["ApusABI", "CApusABI", "ApusCapabilities"]),
    shared("ApusELF", "core/ELF", ["ApusABI"]),
    shared("ApusImage", "core/Image"),
    shared("ApusBPF", "core/BPF", exclude: ["Tools"]),
    shared("ApusBPFTools", "core/BPF/Tools", ["ApusBPF"]),
    shared("ApusXN", "core/XN", ["ApusBPF"]),
    shared("ApusPacketFilter", "core/PacketFilter", ["CApusABI"]),
    shared("ApusDrivers", "drivers", ["ApusABI"]),
    shared(
      "ApusUnix", "libos/Unix",
      ["ApusABI", "CApusABI", "ApusRuntime", "ApusCapabilities", "ApusResources", "ApusELF", "ApusNet"]
    ),
    shared("ApusFiles", "libos/Files", ["ApusRuntime"]),
    // The network stack. Optimized in tests, too: they carry many streams, and it is the code that runs on the machine.
    .target(
      name: "ApusNet", path: "libos/Net", swiftSettings: [.strictMemorySafety(), .unsafeFlags(["-O"])]),
    shared("ApusHTTP", "libos/HTTP"),
    // The table of Linux calls is pure; what handles them is not, and stands beside it.
    .target(
      name: "LinuxCalls", path: "libos/Linux/Calls", exclude: ["CallTable.swift", "Trace.swift"],
      sources: ["CallNumber.swift", "LinuxCalls.swift"], swiftSettings: [.swiftLanguageMode(.v5)]),

    // The host command.
    .target(name: "CHost", path: "cli/CHost"),
    .target(name: "BPFHost", dependencies: ["ApusBPF", "ApusBPFTools"], path: "cli/BPFHost"),
    .target(name: "FilterHost", dependencies: ["ApusPacketFilter", "CApusABI"], path: "cli/FilterHost"),
    .executableTarget(
      name: "apus",
      dependencies: [
        "ApusABI", "CApusABI", "ApusELF", "ApusImage", "LinuxCalls", "CHost", "ApusBPF", "ApusBPFTools", "ApusXN",
        "BPFHost", "FilterHost",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Yams", package: "Yams"),
      ],
      path: "cli/apus"),

    // The network stack on a TAP device, against the host's own TCP.
    .target(name: "CTap", path: "cli/CTap"),
    .executableTarget(
      name: "NetHost",
      dependencies: ["ApusNet", "CTap", .product(name: "ArgumentParser", package: "swift-argument-parser")],
      path: "cli/NetHost", swiftSettings: [.unsafeFlags(["-O"])]),

    // What stands in for the machine in tests. Its view of memory is the LibOS's own file, named here and not linked
    // to, since not every copy of a tree keeps symbolic links.
    .target(
      name: "ApusRuntime", dependencies: ["ApusABI", "CApusABI"], path: ".",
      sources: ["tests/HostRuntime", "libos/Runtime/Bytes.swift"], swiftSettings: [.strictMemorySafety()]),
    .executableTarget(
      name: "FakeMachine", dependencies: ["ApusABI", "ApusImage"], path: "tests/FakeMachine"),

    tests("CapabilitiesTests", ["ApusABI", "CApusABI", "ApusCapabilities"]),
    tests("ResourcesTests", ["ApusABI", "CApusABI", "ApusCapabilities", "ApusResources"]),
    tests("DriversTests", ["ApusDrivers"]),
    tests("ELFTests", ["ApusABI", "ApusELF"]),
    tests("LinuxTests", ["LinuxCalls"]),
    tests("ImageTests", ["CApusABI", "ApusImage"]),
    tests("BPFTests", ["ApusBPF", "ApusBPFTools", "BPFHost"], exclude: ["Cases", "Mutation"]),
    tests("PacketFilterTests", ["ApusPacketFilter", "CApusABI", "FilterHost"]),
    tests("UnixTests", ["ApusABI", "CApusABI", "ApusRuntime", "ApusNet", "ApusUnix"]),
    tests("HTTPTests", ["ApusHTTP"]),
    .testTarget(
      name: "NetTests", dependencies: ["ApusNet", "NetHost"], path: "tests/Unit/NetTests",
      swiftSettings: [.unsafeFlags(["-O"])]),
    tests("XNTests", ["ApusXN", "ApusBPF", "ApusBPFTools"]),
    tests("DiskTests", ["apus", "ApusBPFTools"]),
    tests("FilesTests", ["ApusFiles", "ApusRuntime"]),
    tests("DocumentationTests", ["ApusABI", "CApusABI", "LinuxCalls"]),
    tests("SeeingTests", ["ApusABI", "CApusABI", "CHost", "apus"]),
    tests("CommandTests", ["ApusABI", "ApusImage", "CHost", "apus", "FakeMachine"]),
  ],
  swiftLanguageModes: [.v6])
