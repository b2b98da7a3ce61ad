// SPDX-License-Identifier: Apache-2.0
// KernelPayload.swift: takes the ELF kernel out of a distribution's bzImage, so that it boots like ours: by PVH.
//
// The setup header says where the compressed payload lies (Linux, Documentation/arch/x86/boot.rst, fields
// setup_sects, payload_offset and payload_length); the payload's last four bytes are the size of its contents.

enum KernelPayload {
  /// Unpacks the ELF kernel of a bzImage; `scratch` is a folder for the files that outside tools read.
  static func unpack(_ image: [UInt8], scratch: String) throws(Failure) -> [UInt8] {
    let all = image[...]
    guard image.count > 0x250, all.littleEndian32(at: 0x202) & 0xffff >= 0x208 else {
      throw BenchFailure.twin("the Linux kernel is no bzImage of boot protocol 2.08 or later")
    }
    let sectors = Int(image[0x1f1] == 0 ? 4 : image[0x1f1])
    let start = (sectors + 1) * 512 + Int(all.littleEndian32(at: 0x248))
    let length = Int(all.littleEndian32(at: 0x24c))
    guard length > 8, start + length <= image.count else {
      throw BenchFailure.twin("the Linux kernel's payload lies outside its file")
    }
    let payload = image[start..<start + length - 4]
    let size = Int(all.littleEndian32(at: start + length - 4))
    guard let kernel = try contents(of: payload, size: size, scratch: scratch),
      kernel.count == size, kernel.starts(with: [0x7f, 0x45, 0x4c, 0x46])
    else { throw BenchFailure.twin("the Linux kernel's payload does not unpack to an ELF file") }
    return kernel
  }

  private static func contents(of payload: ArraySlice<UInt8>, size: Int, scratch: String)
    throws(Failure) -> [UInt8]?
  {
    if payload.starts(with: LZ4.legacyMagic) {
      return LZ4.unpackLegacyFrame(payload, size: size)
    }
    let tools: [(magic: [UInt8], tool: String)] = [
      ([0x1f, 0x8b], "gzip"), ([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], "xz"),
      ([0x28, 0xb5, 0x2f, 0xfd], "zstd"), ([0x42, 0x5a, 0x68], "bzip2"),
    ]
    guard let (_, tool) = tools.first(where: { payload.starts(with: $0.magic) }) else {
      throw BenchFailure.twin("the Linux kernel is compressed in a way that is not known here")
    }
    let packed = scratch + "/payload"
    try BenchFile.write(Array(payload), to: packed)
    defer { BenchFile.remove(packed) }
    return try Tool.output(tool, ["-d", "-c", packed], limit: size + 1)
  }
}
