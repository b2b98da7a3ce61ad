// SPDX-License-Identifier: Apache-2.0
// ResourceLimit.swift: the limits of a process (getrlimit(2)).

import ApusUnix

/// The current limit of a resource, and how far the process may raise it.
struct ResourceLimit: Equatable {
  var current: UInt64
  var maximum: UInt64

  /// RLIM_INFINITY.
  static var infinity: UInt64 { .max }
  /// RLIMIT_DATA, RLIMIT_STACK, RLIMIT_NPROC, RLIMIT_NOFILE: indexes into the limits.
  static var data: Int { 2 }
  static var stack: Int { 3 }
  static var processes: Int { 6 }
  static var openFiles: Int { 7 }
  static var count: Int { 16 }

  /// The limits that the first process has.
  static var initial: [ResourceLimit] {
    var limits = [ResourceLimit](
      repeating: ResourceLimit(current: infinity, maximum: infinity), count: count)
    limits[stack].current = 8 << 20
    limits[4] = ResourceLimit(current: 0, maximum: infinity)
    limits[processes] = ResourceLimit(current: 4096, maximum: 4096)
    limits[openFiles] = ResourceLimit(current: 1024, maximum: 65536)
    limits[8] = ResourceLimit(current: 64 << 10, maximum: 64 << 10)
    limits[11] = ResourceLimit(current: 4096, maximum: 4096)
    limits[12] = ResourceLimit(current: 819_200, maximum: 819_200)
    limits[13] = ResourceLimit(current: 0, maximum: 0)
    limits[14] = ResourceLimit(current: 0, maximum: 0)
    return limits
  }
}
