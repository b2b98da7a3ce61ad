// SPDX-License-Identifier: Apache-2.0
// Terminal+Input.swift: from the person's keys to lines and signals (termios(3)).

import ApusRuntime

extension Terminal {
  /// Takes what has been typed.
  public func receive(_ bytes: Bytes) {
    var index = 0
    while index < bytes.count {
      receive(bytes[index])
      index += 1
    }
    if isReadable { readQueue.wakeAll() }
  }

  private func receive(_ typed: UInt8) {
    var byte = typed
    let input = settings.input
    if input & Termios.Input.strip != 0 { byte &= 0x7f }
    if literalNext {
      literalNext = false
      keep(byte)
      echo(byte)
      return
    }
    if byte == 13 {
      if input & Termios.Input.ignoreReturn != 0 { return }
      if input & Termios.Input.mapReturn != 0 { byte = 10 }
    } else if byte == 10 && input & Termios.Input.mapNewline != 0 {
      byte = 13
    }
    if input & Termios.Input.flowControl != 0 && flowControl(byte) { return }
    if isLocal(Termios.Local.signals) && signal(byte) { return }
    if isCanonical {
      edit(byte)
    } else {
      keep(byte)
      echo(byte)
    }
  }

  private func flowControl(_ byte: UInt8) -> Bool {
    if settings.has(.start, byte) {
      setStopped(false)
      return true
    }
    if settings.has(.stop, byte) {
      isStopped = true
      return true
    }
    if isStopped && settings.input & Termios.Input.anyRestarts != 0 { setStopped(false) }
    return false
  }

  private func signal(_ byte: UInt8) -> Bool {
    let number: Int32
    if settings.has(.interrupt, byte) {
      number = 2
    } else if settings.has(.quit, byte) {
      number = 3
    } else if settings.has(.suspend, byte) {
      number = 20
    } else {
      return false
    }
    if !isLocal(Termios.Local.noFlush) {
      flushInput()
      flushOutput()
    }
    isStopped = false
    if isLocal(Termios.Local.echo) { echo(byte) }
    send(number)
    return true
  }

  private func edit(_ byte: UInt8) {
    let extended = isLocal(Termios.Local.extended)
    if settings.has(.erase, byte) {
      eraseCharacter()
    } else if settings.has(.kill, byte) {
      killLine()
    } else if extended && settings.has(.wordErase, byte) {
      eraseWord()
    } else if extended && settings.has(.literalNext, byte) {
      literalNext = true
      if isLocal(Termios.Local.echo) && isLocal(Termios.Local.echoControl) { show([UInt8(ascii: "^"), 8]) }
    } else if extended && settings.has(.reprint, byte) {
      echo(byte)
      show([10])
      for kept in line { echo(kept) }
    } else if settings.has(.endOfFile, byte) {
      finishLine()
    } else if byte == 10 {
      line.append(byte)
      if isLocal(Termios.Local.echo) || isLocal(Termios.Local.echoNewline) { show([10]) }
      finishLine()
    } else if settings.has(.endOfLine, byte) || (extended && settings.has(.endOfLine2, byte)) {
      line.append(byte)
      echo(byte)
      finishLine()
    } else if line.count < Terminal.lineLimit {
      line.append(byte)
      echo(byte)
    } else {
      show([7])
    }
  }

  private func finishLine() {
    if readableByteCount + line.count <= Terminal.inputLimit { chunks.append(Chunk(bytes: line, isLine: true)) }
    line = []
  }

  /// Keeps a byte as it is.
  private func keep(_ byte: UInt8) {
    if isCanonical {
      if line.count < Terminal.lineLimit { line.append(byte) }
    } else if chunks.isEmpty || chunks[chunks.count - 1].isLine {
      chunks.append(Chunk(bytes: [byte], isLine: false))
    } else if chunks[chunks.count - 1].bytes.count < Terminal.inputLimit {
      chunks[chunks.count - 1].bytes.append(byte)
    }
  }

  private func isShownAsControl(_ byte: UInt8) -> Bool {
    (byte < 32 || byte == 127) && byte != 9 && byte != 10 && isLocal(Termios.Local.echoControl)
  }

  private func echo(_ byte: UInt8) {
    guard isLocal(Termios.Local.echo) else { return }
    if isShownAsControl(byte) { show([UInt8(ascii: "^"), byte ^ 0x40]) } else { show([byte]) }
  }

  /// Takes the last character off the line and off the screen.
  private func eraseCharacter() {
    guard let last = line.last else { return }
    line.removeLast()
    if settings.input & Termios.Input.utf8 != 0 && last & 0xc0 == 0x80 {
      // The rest of a UTF-8 sequence goes with its last byte.
      while let previous = line.last {
        line.removeLast()
        if previous & 0xc0 != 0x80 { break }
      }
    }
    rubOut(last)
  }

  private func rubOut(_ byte: UInt8) {
    guard isLocal(Termios.Local.echo) else { return }
    if !isLocal(Termios.Local.echoErase) {
      echo(settings.characters[Termios.Index.erase.rawValue])
    } else {
      show([8, 32, 8])
      if isShownAsControl(byte) { show([8, 32, 8]) }
    }
  }

  private func eraseWord() {
    while let last = line.last, !isWord(last) { eraseCharacter() }
    while let last = line.last, isWord(last) { eraseCharacter() }
  }

  private func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...0xff:
      true
    default: false
    }
  }

  private func killLine() {
    if isLocal(Termios.Local.echoErase) && isLocal(Termios.Local.echoKillErase) && isLocal(Termios.Local.echoKill) {
      while !line.isEmpty { eraseCharacter() }
      return
    }
    line = []
    echo(settings.characters[Termios.Index.kill.rawValue])
    if isLocal(Termios.Local.echoKill) && isLocal(Termios.Local.echo) { show([10]) }
  }
}
