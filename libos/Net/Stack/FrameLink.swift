// SPDX-License-Identifier: Apache-2.0
// FrameLink.swift: a link that takes frames as they are made, and gathers their payload from where it lies.

/// Sends frames.
///
/// A class, since Embedded Swift has existential types of classes only.
public protocol FrameLink: AnyObject {
  /// Whether there is no room for another frame: what connections have to send stays with them until the next poll.
  var isFull: Bool { get }
  /// Sends a frame; one for which there is no room is lost.
  ///
  /// - Parameters:
  ///   - head: The frame's first bytes, which are gone when this returns; all of them, if there are no parts.
  ///   - parts: Where the rest lies, in order.
  func send(_ head: Span<UInt8>, _ parts: FrameParts)
}
