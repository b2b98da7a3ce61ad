// SPDX-License-Identifier: Apache-2.0
// PayloadSource.swift: bytes that a connection sends out of the application's own memory, without a copy of its own.

/// Where a link that gathers finds a part of a frame.
public struct FramePart: Sendable {
  /// The link's name of the place, such as a frame number and an offset.
  public var place: UInt64
  /// How many bytes.
  public var count: Int

  /// So many bytes at a place.
  public init(place: UInt64, count: Int) {
    self.place = place
    self.count = count
  }
}

/// Bytes that do not change while a connection refers to them: the retransmission buffer that an application supplies.
///
/// Segments are cut out of them at any length, and cut again to be sent again; the source says what their checksums are.
/// A class, since Embedded Swift has existential types of classes only.
public protocol PayloadSource: AnyObject {
  /// The sum of a part's 16-bit words in network byte order, carries added; as if the part began at an even place.
  func sum(_ offset: Int, _ count: Int) -> UInt16
  /// The part's bytes at the front that lie in one place for a link that gathers; nil if such a link has none.
  func run(_ offset: Int, _ count: Int) -> FramePart?
  /// Appends a part to a packet, for links that do not gather.
  func copy(_ offset: Int, _ count: Int, to packet: inout [UInt8])
}

/// The places of a frame's payload, for a link that gathers.
public struct FrameParts: Sendable {
  private var parts: InlineArray<3, FramePart> = .init(repeating: FramePart(place: 0, count: 0))
  /// How many there are.
  public private(set) var count = 0
  /// As many as a frame can have.
  public static var limit: Int { 3 }

  /// None.
  public init() {}

  /// One of them.
  public subscript(index: Int) -> FramePart { parts[index] }

  mutating func append(_ part: FramePart) {
    parts[count] = part
    count += 1
  }
}
