// SPDX-License-Identifier: Apache-2.0
// WireError.swift: what can be wrong with bytes that came from a network.

/// Why a packet was not understood.
public enum WireError: Error, Equatable, Sendable {
  /// There are fewer bytes than the header or a length field says.
  case truncated
  /// A length field contradicts another, or its own minimum.
  case badLength
  /// A version or hardware type that is not ours.
  case badVersion
  /// The checksum does not fit.
  case badChecksum
  /// An option or extension has an impossible form.
  case badOption
  /// Well formed, and of a kind that is not handled.
  case unsupported
}
