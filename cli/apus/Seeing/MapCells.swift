// SPDX-License-Identifier: Apache-2.0
// MapCells.swift: a map cut into cells of equally many frames, and the colours of who owns them.

/// A few frames as one cell of a picture.
struct MapCell: Hashable {
  /// Who owns most of it.
  var owner: FrameOwner
  /// Whether an account owns something in a cell that is free for the most part.
  var isSpeckled = false
}

extension MachineMap {
  /// Cuts the frames into cells.
  ///
  /// A cell is the most frequent owner's. Where that is nobody it shows the account that has most of the rest.
  func cells(framesPerCell: Int) -> [MapCell] {
    var cells: [MapCell] = []
    var counts: [FrameOwner: Int] = [:]
    var filled = 0
    func close() {
      func best(_ isEligible: (FrameOwner) -> Bool) -> FrameOwner? {
        counts.filter { isEligible($0.key) }.max { left, right in
          (left.value, right.key.account, right.key.kind.rawValue) < (
            right.value, left.key.account, left.key.kind.rawValue
          )
        }?.key
      }
      guard let most = best({ _ in true }) else { return }
      if most.kind == .free, let some = best({ $0.kind.isOwned }) {
        cells.append(MapCell(owner: some, isSpeckled: true))
      } else {
        cells.append(MapCell(owner: most))
      }
      counts = [:]
      filled = 0
    }
    for run in frames {
      var left = run.count
      while left > 0 {
        let part = min(left, framesPerCell - filled)
        counts[run.value, default: 0] += part
        filled += part
        left -= part
        if filled == framesPerCell { close() }
      }
    }
    if filled > 0 { close() }
    return cells
  }

  /// How many frames a cell must have for at most so many cells: a power of two.
  func framesPerCell(cells limit: Int) -> Int {
    var size = 1
    while (frameCount + size - 1) / size > max(1, limit) { size *= 2 }
    return size
  }
}

/// A colour as red, green and blue, 0 to 255.
struct Color: Hashable {
  var red, green, blue: UInt8

  var hexadecimal: String {
    "#"
      + [red, green, blue].map { value in
        let digits = String(value, radix: 16)
        return digits.count < 2 ? "0" + digits : digits
      }.joined()
  }

  /// The nearest of the 216 colours that terminals with 256 have.
  var terminalNumber: Int {
    func step(_ value: UInt8) -> Int { (Int(value) * 5 + 127) / 255 }
    return 16 + 36 * step(red) + 6 * step(green) + step(blue)
  }

  /// Halfway to black.
  var dark: Color { Color(red: red / 2, green: green / 2, blue: blue / 2) }

  /// Halfway to white.
  var pale: Color { Color(red: 128 + red / 2, green: 128 + green / 2, blue: 128 + blue / 2) }
}

/// Which account has which colour and letter: in the order in which they are first seen.
struct OwnerColors {
  private var order: [UInt16] = []

  /// Told apart by people who see few colours, too.
  static let palette = [
    Color(red: 0, green: 114, blue: 178), Color(red: 230, green: 159, blue: 0), Color(red: 0, green: 158, blue: 115),
    Color(red: 204, green: 121, blue: 167), Color(red: 213, green: 94, blue: 0), Color(red: 86, green: 180, blue: 233),
    Color(red: 240, green: 228, blue: 66), Color(red: 117, green: 112, blue: 179),
  ]
  static let kernel = Color(red: 90, green: 90, blue: 90)
  static let free = Color(red: 225, green: 225, blue: 225)
  static let cooling = Color(red: 160, green: 160, blue: 160)
  static let absent = Color(red: 255, green: 255, blue: 255)

  /// Takes notice of the accounts of a map.
  mutating func see(_ map: MachineMap) {
    for entry in map.holdings where !order.contains(entry.account) { order.append(entry.account) }
  }

  private func place(_ account: UInt16) -> Int { order.firstIndex(of: account) ?? Int(account) }

  func color(account: UInt16) -> Color { Self.palette[place(account) % Self.palette.count] }

  /// A letter from a to z.
  func letter(account: UInt16) -> Character {
    Character(Unicode.Scalar(UInt8(ascii: "a") + UInt8(place(account) % 26)))
  }

  func color(_ cell: MapCell) -> Color {
    switch cell.owner.kind {
    case .absent: Self.absent
    case .free: Self.free
    case .kernel: Self.kernel
    case .cooling: Self.cooling
    case .ordinary: cell.isSpeckled ? color(account: cell.owner.account).pale : color(account: cell.owner.account)
    case .table: color(account: cell.owner.account)
    }
  }

  /// The cell where there are no colours: page tables are capitals, what is thinly used is in brackets' place a comma.
  func letter(_ cell: MapCell) -> Character {
    switch cell.owner.kind {
    case .absent: return " "
    case .free: return "."
    case .kernel: return "#"
    case .cooling: return "~"
    case .ordinary: return cell.isSpeckled ? "," : letter(account: cell.owner.account)
    case .table: return Character(letter(account: cell.owner.account).uppercased())
    }
  }
}
