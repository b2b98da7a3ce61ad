// SPDX-License-Identifier: Apache-2.0
// Errno.swift: every error number of Linux, with what it means (errno(3)).

/// Why a call failed: one of Linux's error numbers.
public struct Errno: Error, Equatable, RawRepresentable {
  /// The number as programs know it; positive.
  public let rawValue: Int32

  /// Makes an error from its number.
  @inline(__always) public init(rawValue: Int32) { self.rawValue = rawValue }

  /// What a system call returns for this error.
  public var result: Int { -Int(rawValue) }

  /// A signal came before anything was done; no program sees this number.
  ///
  /// The call is started again unless a handler without `SA_RESTART` runs: then the program sees `EINTR`.
  public static var restart: Errno { Errno(rawValue: 512) }
}

// The table: one line of meaning each.
extension Errno {
  /// The caller may not do this.
  public static var EPERM: Errno { Errno(rawValue: 1) }
  /// No file or directory of that name.
  public static var ENOENT: Errno { Errno(rawValue: 2) }
  /// No such process.
  public static var ESRCH: Errno { Errno(rawValue: 3) }
  /// A signal came first.
  public static var EINTR: Errno { Errno(rawValue: 4) }
  /// The device failed.
  public static var EIO: Errno { Errno(rawValue: 5) }
  /// No such device or address.
  public static var ENXIO: Errno { Errno(rawValue: 6) }
  /// The argument list is too long.
  public static var E2BIG: Errno { Errno(rawValue: 7) }
  /// The file is no program that can be run.
  public static var ENOEXEC: Errno { Errno(rawValue: 8) }
  /// The descriptor is not open, or not for this use.
  public static var EBADF: Errno { Errno(rawValue: 9) }
  /// No child processes.
  public static var ECHILD: Errno { Errno(rawValue: 10) }
  /// Not now: the call would have to wait.
  public static var EAGAIN: Errno { Errno(rawValue: 11) }
  /// Out of memory.
  public static var ENOMEM: Errno { Errno(rawValue: 12) }
  /// The permissions refuse it.
  public static var EACCES: Errno { Errno(rawValue: 13) }
  /// The address is not the caller's.
  public static var EFAULT: Errno { Errno(rawValue: 14) }
  /// A block device is needed.
  public static var ENOTBLK: Errno { Errno(rawValue: 15) }
  /// The thing is in use.
  public static var EBUSY: Errno { Errno(rawValue: 16) }
  /// The name is taken.
  public static var EEXIST: Errno { Errno(rawValue: 17) }
  /// The two names are in different file systems.
  public static var EXDEV: Errno { Errno(rawValue: 18) }
  /// The device does not offer this.
  public static var ENODEV: Errno { Errno(rawValue: 19) }
  /// A directory is needed.
  public static var ENOTDIR: Errno { Errno(rawValue: 20) }
  /// The name is a directory.
  public static var EISDIR: Errno { Errno(rawValue: 21) }
  /// An argument is outside its range.
  public static var EINVAL: Errno { Errno(rawValue: 22) }
  /// Too many open files in the system.
  public static var ENFILE: Errno { Errno(rawValue: 23) }
  /// Too many open files in the process.
  public static var EMFILE: Errno { Errno(rawValue: 24) }
  /// The device has no such control operation.
  public static var ENOTTY: Errno { Errno(rawValue: 25) }
  /// The file is being run.
  public static var ETXTBSY: Errno { Errno(rawValue: 26) }
  /// The file would be too large.
  public static var EFBIG: Errno { Errno(rawValue: 27) }
  /// No space is left.
  public static var ENOSPC: Errno { Errno(rawValue: 28) }
  /// A stream has no position.
  public static var ESPIPE: Errno { Errno(rawValue: 29) }
  /// The file system can only be read.
  public static var EROFS: Errno { Errno(rawValue: 30) }
  /// Too many links.
  public static var EMLINK: Errno { Errno(rawValue: 31) }
  /// Nobody reads the pipe.
  public static var EPIPE: Errno { Errno(rawValue: 32) }
  /// The argument is outside the function's domain.
  public static var EDOM: Errno { Errno(rawValue: 33) }
  /// The result does not fit.
  public static var ERANGE: Errno { Errno(rawValue: 34) }
  /// Waiting would never end.
  public static var EDEADLK: Errno { Errno(rawValue: 35) }
  /// The name is too long.
  public static var ENAMETOOLONG: Errno { Errno(rawValue: 36) }
  /// No locks are left.
  public static var ENOLCK: Errno { Errno(rawValue: 37) }
  /// There is no such call.
  public static var ENOSYS: Errno { Errno(rawValue: 38) }
  /// The directory is not empty.
  public static var ENOTEMPTY: Errno { Errno(rawValue: 39) }
  /// Too many symbolic links on the way.
  public static var ELOOP: Errno { Errno(rawValue: 40) }
  /// No message of that type.
  public static var ENOMSG: Errno { Errno(rawValue: 42) }
  /// The identifier has been removed.
  public static var EIDRM: Errno { Errno(rawValue: 43) }
  /// The channel number is out of range.
  public static var ECHRNG: Errno { Errno(rawValue: 44) }
  /// Level 2 is not synchronised.
  public static var EL2NSYNC: Errno { Errno(rawValue: 45) }
  /// Level 3 has halted.
  public static var EL3HLT: Errno { Errno(rawValue: 46) }
  /// Level 3 has been reset.
  public static var EL3RST: Errno { Errno(rawValue: 47) }
  /// The link number is out of range.
  public static var ELNRNG: Errno { Errno(rawValue: 48) }
  /// No protocol driver is attached.
  public static var EUNATCH: Errno { Errno(rawValue: 49) }
  /// No CSI structure is there.
  public static var ENOCSI: Errno { Errno(rawValue: 50) }
  /// Level 2 has halted.
  public static var EL2HLT: Errno { Errno(rawValue: 51) }
  /// The exchange is not valid.
  public static var EBADE: Errno { Errno(rawValue: 52) }
  /// The request descriptor is not valid.
  public static var EBADR: Errno { Errno(rawValue: 53) }
  /// The exchange is full.
  public static var EXFULL: Errno { Errno(rawValue: 54) }
  /// No anode.
  public static var ENOANO: Errno { Errno(rawValue: 55) }
  /// The request code is not valid.
  public static var EBADRQC: Errno { Errno(rawValue: 56) }
  /// The slot is not valid.
  public static var EBADSLT: Errno { Errno(rawValue: 57) }
  /// The font file's format is bad.
  public static var EBFONT: Errno { Errno(rawValue: 59) }
  /// The device is not a stream.
  public static var ENOSTR: Errno { Errno(rawValue: 60) }
  /// There are no data of that kind.
  public static var ENODATA: Errno { Errno(rawValue: 61) }
  /// The timer has expired.
  public static var ETIME: Errno { Errno(rawValue: 62) }
  /// No stream resources are left.
  public static var ENOSR: Errno { Errno(rawValue: 63) }
  /// The machine is not on a network.
  public static var ENONET: Errno { Errno(rawValue: 64) }
  /// The package is not installed.
  public static var ENOPKG: Errno { Errno(rawValue: 65) }
  /// The object is remote.
  public static var EREMOTE: Errno { Errno(rawValue: 66) }
  /// The link has been cut.
  public static var ENOLINK: Errno { Errno(rawValue: 67) }
  /// Advertise error.
  public static var EADV: Errno { Errno(rawValue: 68) }
  /// Server mount error.
  public static var ESRMNT: Errno { Errno(rawValue: 69) }
  /// Sending failed.
  public static var ECOMM: Errno { Errno(rawValue: 70) }
  /// The protocol was broken.
  public static var EPROTO: Errno { Errno(rawValue: 71) }
  /// A multihop was tried.
  public static var EMULTIHOP: Errno { Errno(rawValue: 72) }
  /// Error of a remote file system.
  public static var EDOTDOT: Errno { Errno(rawValue: 73) }
  /// The message is malformed.
  public static var EBADMSG: Errno { Errno(rawValue: 74) }
  /// The value does not fit its type.
  public static var EOVERFLOW: Errno { Errno(rawValue: 75) }
  /// The name is not unique on the network.
  public static var ENOTUNIQ: Errno { Errno(rawValue: 76) }
  /// The descriptor is in a bad state.
  public static var EBADFD: Errno { Errno(rawValue: 77) }
  /// The remote address has changed.
  public static var EREMCHG: Errno { Errno(rawValue: 78) }
  /// A shared library cannot be reached.
  public static var ELIBACC: Errno { Errno(rawValue: 79) }
  /// A shared library is damaged.
  public static var ELIBBAD: Errno { Errno(rawValue: 80) }
  /// The library section is damaged.
  public static var ELIBSCN: Errno { Errno(rawValue: 81) }
  /// Too many shared libraries.
  public static var ELIBMAX: Errno { Errno(rawValue: 82) }
  /// A shared library cannot be run by itself.
  public static var ELIBEXEC: Errno { Errno(rawValue: 83) }
  /// The byte sequence is no character.
  public static var EILSEQ: Errno { Errno(rawValue: 84) }
  /// The call should be started again.
  public static var ERESTART: Errno { Errno(rawValue: 85) }
  /// Stream pipe error.
  public static var ESTRPIPE: Errno { Errno(rawValue: 86) }
  /// Too many users.
  public static var EUSERS: Errno { Errno(rawValue: 87) }
  /// A socket is needed.
  public static var ENOTSOCK: Errno { Errno(rawValue: 88) }
  /// A destination address is needed.
  public static var EDESTADDRREQ: Errno { Errno(rawValue: 89) }
  /// The message is too long.
  public static var EMSGSIZE: Errno { Errno(rawValue: 90) }
  /// The protocol does not fit the socket.
  public static var EPROTOTYPE: Errno { Errno(rawValue: 91) }
  /// The protocol has no such option.
  public static var ENOPROTOOPT: Errno { Errno(rawValue: 92) }
  /// The protocol is not offered.
  public static var EPROTONOSUPPORT: Errno { Errno(rawValue: 93) }
  /// The socket type is not offered.
  public static var ESOCKTNOSUPPORT: Errno { Errno(rawValue: 94) }
  /// The operation is not offered here.
  public static var EOPNOTSUPP: Errno { Errno(rawValue: 95) }
  /// The protocol family is not offered.
  public static var EPFNOSUPPORT: Errno { Errno(rawValue: 96) }
  /// The address family is not offered.
  public static var EAFNOSUPPORT: Errno { Errno(rawValue: 97) }
  /// The address is in use.
  public static var EADDRINUSE: Errno { Errno(rawValue: 98) }
  /// The address cannot be had.
  public static var EADDRNOTAVAIL: Errno { Errno(rawValue: 99) }
  /// The network is down.
  public static var ENETDOWN: Errno { Errno(rawValue: 100) }
  /// The network cannot be reached.
  public static var ENETUNREACH: Errno { Errno(rawValue: 101) }
  /// The network dropped the connection.
  public static var ENETRESET: Errno { Errno(rawValue: 102) }
  /// The connection was given up here.
  public static var ECONNABORTED: Errno { Errno(rawValue: 103) }
  /// The peer reset the connection.
  public static var ECONNRESET: Errno { Errno(rawValue: 104) }
  /// No buffer space is left.
  public static var ENOBUFS: Errno { Errno(rawValue: 105) }
  /// The socket is connected already.
  public static var EISCONN: Errno { Errno(rawValue: 106) }
  /// The socket is not connected.
  public static var ENOTCONN: Errno { Errno(rawValue: 107) }
  /// The socket has been shut down.
  public static var ESHUTDOWN: Errno { Errno(rawValue: 108) }
  /// Too many references.
  public static var ETOOMANYREFS: Errno { Errno(rawValue: 109) }
  /// The time ran out.
  public static var ETIMEDOUT: Errno { Errno(rawValue: 110) }
  /// The peer refused the connection.
  public static var ECONNREFUSED: Errno { Errno(rawValue: 111) }
  /// The host is down.
  public static var EHOSTDOWN: Errno { Errno(rawValue: 112) }
  /// There is no route to the host.
  public static var EHOSTUNREACH: Errno { Errno(rawValue: 113) }
  /// The operation is under way already.
  public static var EALREADY: Errno { Errno(rawValue: 114) }
  /// The operation has begun.
  public static var EINPROGRESS: Errno { Errno(rawValue: 115) }
  /// The file handle is stale.
  public static var ESTALE: Errno { Errno(rawValue: 116) }
  /// The structure needs cleaning.
  public static var EUCLEAN: Errno { Errno(rawValue: 117) }
  /// Not a XENIX named type file.
  public static var ENOTNAM: Errno { Errno(rawValue: 118) }
  /// No XENIX semaphores are there.
  public static var ENAVAIL: Errno { Errno(rawValue: 119) }
  /// Is a named type file.
  public static var EISNAM: Errno { Errno(rawValue: 120) }
  /// Remote input or output failed.
  public static var EREMOTEIO: Errno { Errno(rawValue: 121) }
  /// The quota is used up.
  public static var EDQUOT: Errno { Errno(rawValue: 122) }
  /// No medium is in the drive.
  public static var ENOMEDIUM: Errno { Errno(rawValue: 123) }
  /// The medium is of the wrong type.
  public static var EMEDIUMTYPE: Errno { Errno(rawValue: 124) }
  /// The operation was cancelled.
  public static var ECANCELED: Errno { Errno(rawValue: 125) }
  /// The key is not there.
  public static var ENOKEY: Errno { Errno(rawValue: 126) }
  /// The key has expired.
  public static var EKEYEXPIRED: Errno { Errno(rawValue: 127) }
  /// The key has been revoked.
  public static var EKEYREVOKED: Errno { Errno(rawValue: 128) }
  /// The key was rejected.
  public static var EKEYREJECTED: Errno { Errno(rawValue: 129) }
  /// The lock's owner died.
  public static var EOWNERDEAD: Errno { Errno(rawValue: 130) }
  /// The state cannot be recovered.
  public static var ENOTRECOVERABLE: Errno { Errno(rawValue: 131) }
  /// The radio is switched off.
  public static var ERFKILL: Errno { Errno(rawValue: 132) }
  /// The memory page is damaged.
  public static var EHWPOISON: Errno { Errno(rawValue: 133) }

  /// Another name of `EAGAIN`.
  public static var EWOULDBLOCK: Errno { .EAGAIN }
  /// Another name of `EOPNOTSUPP`.
  public static var ENOTSUP: Errno { .EOPNOTSUPP }
}
