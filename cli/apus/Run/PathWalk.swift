// SPDX-License-Identifier: Apache-2.0
// PathWalk.swift: a path followed step by step inside a root, as the guest will see it (path_resolution(7)).

/// One thing met on the way to a file.
///
/// Paths are the guest's: absolute, below the root.
enum PathStep {
  case directory(Path, FileFacts)
  case symbolicLink(Path, target: [UInt8], FileFacts)
  case file(Path, FileFacts)
}

/// Why a path leads nowhere.
enum PathError: Error {
  case missing(Path)
  case notDirectory(Path)
  case tooManyLinks
  case host(Path, HostError)
}

/// Everything on the way to a file, symbolic links followed inside the root.
struct PathWalk {
  private(set) var steps: [PathStep] = []
  /// Where the file itself is, without symbolic links; the guest's path.
  private(set) var resolved: Path = [HostFile.slash]

  /// Follows `path` below `root`; `root` is empty for the host's own root.
  init(root: Path, path: Path) throws(PathError) {
    var here: [Path] = []
    var rest = Self.components(path)
    var links = 0
    try addDirectory(root: root, [])
    while !rest.isEmpty {
      let name = rest.removeFirst()
      if name == [0x2e] { continue }
      if name == [0x2e, 0x2e] {
        if !here.isEmpty { here.removeLast() }
        continue
      }
      let place = Self.join(here + [name])
      let facts: FileFacts
      do {
        facts = try HostFile.facts(root + place)
      } catch {
        if error.number == 2 { throw .missing(place) }
        if error.number == 20 { throw .notDirectory(Self.join(here)) }
        throw .host(place, error)
      }
      if facts.isSymbolicLink {
        links += 1
        guard links <= 40 else { throw .tooManyLinks }
        let target: [UInt8]
        do { target = try HostFile.linkTarget(root + place) } catch { throw .host(place, error) }
        steps.append(.symbolicLink(place, target: target, facts))
        if target.first == HostFile.slash { here = [] }
        rest = Self.components(target) + rest
        continue
      }
      here.append(name)
      if facts.isDirectory {
        steps.append(.directory(place, facts))
      } else {
        guard rest.isEmpty else { throw .notDirectory(place) }
        steps.append(.file(place, facts))
      }
    }
    resolved = Self.join(here)
  }

  private mutating func addDirectory(root: Path, _ here: [Path]) throws(PathError) {
    let place = Self.join(here)
    do {
      steps.append(.directory(place, try HostFile.facts(root + place)))
    } catch {
      throw .host(place, error)
    }
  }

  /// The facts of the last step: what the path names.
  var last: PathStep? { steps.last }

  static func components(_ path: Path) -> [Path] {
    path.split(separator: HostFile.slash).map { Path($0) }
  }

  static func join(_ components: [Path]) -> Path {
    guard !components.isEmpty else { return [HostFile.slash] }
    return components.reduce(into: []) { result, name in
      result.append(HostFile.slash)
      result += name
    }
  }

  /// An absolute path without empty, "." and ".." components, as far as that can be told from the text.
  static func tidied(_ path: Path) -> Path {
    let absolute = path.first == HostFile.slash ? path : HostFile.currentDirectory() + [HostFile.slash] + path
    let parts = components(absolute).filter { $0 != [0x2e] }
    guard parts.contains([0x2e, 0x2e]) else { return join(parts) }
    // ".." after a symbolic link leaves the link's target, so the part up to the last ".." is walked.
    let split = parts.lastIndex(of: [0x2e, 0x2e]).map { $0 + 1 } ?? 0
    guard let walk = try? PathWalk(root: [], path: join(Array(parts[..<split]))) else { return join(parts) }
    return join(components(walk.resolved) + parts[split...])
  }
}
