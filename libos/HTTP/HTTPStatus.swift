// SPDX-License-Identifier: Apache-2.0
// HTTPStatus.swift: status codes that are answered here (RFC 9110, 15).

/// A status code.
public enum HTTPStatus: UInt16, Equatable, Sendable {
  /// 200.
  case ok = 200
  /// 206.
  case partialContent = 206
  /// 301.
  case movedPermanently = 301
  /// 304.
  case notModified = 304
  /// 400.
  case badRequest = 400
  /// 404.
  case notFound = 404
  /// 405.
  case methodNotAllowed = 405
  /// 408.
  case requestTimeout = 408
  /// 411.
  case lengthRequired = 411
  /// 412.
  case preconditionFailed = 412
  /// 413.
  case contentTooLarge = 413
  /// 414.
  case uriTooLong = 414
  /// 416.
  case rangeNotSatisfiable = 416
  /// 417.
  case expectationFailed = 417
  /// 431.
  case fieldsTooLarge = 431
  /// 501.
  case notImplemented = 501
  /// 503.
  case unavailable = 503
  /// 505.
  case versionNotSupported = 505

  /// What people call it.
  public var reason: StaticString {
    switch self {
    case .ok: "OK"
    case .partialContent: "Partial Content"
    case .movedPermanently: "Moved Permanently"
    case .notModified: "Not Modified"
    case .badRequest: "Bad Request"
    case .notFound: "Not Found"
    case .methodNotAllowed: "Method Not Allowed"
    case .requestTimeout: "Request Timeout"
    case .lengthRequired: "Length Required"
    case .preconditionFailed: "Precondition Failed"
    case .contentTooLarge: "Content Too Large"
    case .uriTooLong: "URI Too Long"
    case .rangeNotSatisfiable: "Range Not Satisfiable"
    case .expectationFailed: "Expectation Failed"
    case .fieldsTooLarge: "Request Header Fields Too Large"
    case .notImplemented: "Not Implemented"
    case .unavailable: "Service Unavailable"
    case .versionNotSupported: "HTTP Version Not Supported"
    }
  }
}
