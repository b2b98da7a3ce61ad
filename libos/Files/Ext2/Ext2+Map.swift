// SPDX-License-Identifier: Apache-2.0
// Ext2+Map.swift: from a file's blocks to the disk's: twelve pointers, then maps of one, two and three levels.

import ApusRuntime

extension Ext2 {
  private var pointersPerBlock: UInt64 { UInt64(blockByteCount / 4) }

  /// How long a file can be: what the maps reach, what the count of sectors can hold, and 2 GiB without a feature.
  var maximumFileByteCount: UInt64 {
    if superblock.readOnlyCompatible & Superblock.largeFiles == 0 { return 0x7fff_ffff }
    let count = pointersPerBlock
    let mapped = (12 + count + count * count + count * count * count) * UInt64(blockByteCount)
    return min(mapped, 2 << 40 - UInt64(blockByteCount) * 4096)
  }

  /// Which pointer of the inode leads to a block, and the indices in the maps on the way, the last one first.
  private func path(_ index: UInt64) -> (pointer: Int, depth: Int, rest: UInt64) {
    if index < 12 { return (Int(index), 0, 0) }
    var rest = index - 12
    var span = pointersPerBlock
    for depth in 1...2 {
      if rest < span { return (11 + depth, depth, rest) }
      rest -= span
      span *= pointersPerBlock
    }
    return (14, 3, rest)
  }

  /// The index in the map that is `depth` levels above the file's blocks.
  private func place(_ rest: UInt64, _ depth: Int) -> Int {
    var rest = rest
    for _ in 1..<depth { rest /= pointersPerBlock }
    return Int(rest % pointersPerBlock) * 4
  }

  private func check(_ pointer: UInt32, in block: UInt64) throws(FileError) {
    guard pointer == 0 || isDataBlock(pointer) else {
      throw damage(.blockPointer, block: block, value: UInt64(pointer))
    }
  }

  /// The disk's block for a block of a file; 0: a hole.
  func blockNumber(of inode: Ext2Inode, _ index: UInt64) throws(FileError) -> UInt32 {
    let (first, depth, rest) = path(index)
    var number = inode.pointers[first]
    try check(number, in: tablePlace(of: inode.number).block)
    for level in stride(from: depth, to: 0, by: -1) {
      if number == 0 { return 0 }
      let map = UInt64(number)
      number = try block(map).bytes.load(place(rest, level), as: UInt32.self)
      try check(number, in: map)
    }
    return number
  }

  /// The disk's block for a block of a file, allocated if it was a hole.
  ///
  /// - Returns: The block, and whether it was allocated; then its contents are for the caller to set.
  /// - Throws: `noSpace`; maps that were made on the way stay, empty.
  func allocatedBlock(of inode: Ext2Inode, _ index: UInt64) throws(FileError) -> (number: UInt32, isNew: Bool) {
    let (first, depth, rest) = path(index)
    if inode.allocationGoal == 0 { inode.allocationGoal = try goal(of: inode, index) }
    var number = inode.pointers[first]
    var isNew = false
    try check(number, in: tablePlace(of: inode.number).block)
    if number == 0 {
      number = try extend(inode, isMap: depth > 0)
      inode.pointers[first] = number
      isNew = true
    }
    for level in stride(from: depth, to: 0, by: -1) {
      let map = try block(UInt64(number))
      let place = place(rest, level)
      number = map.bytes.load(place, as: UInt32.self)
      try check(number, in: map.number)
      isNew = number == 0
      if isNew {
        number = try extend(inode, isMap: level > 1)
        // Allocating may have pushed the map out of the cache.
        let map = try block(map.number)
        map.bytes.store(number, at: place)
        change(map, order: BlockOrder.map)
      }
    }
    return (number, isNew)
  }

  private func extend(_ inode: Ext2Inode, isMap: Bool) throws(FileError) -> UInt32 {
    let number = try allocateBlock(near: inode.allocationGoal)
    if isMap { _ = try freshBlock(number, .metadata) }
    inode.allocationGoal = number + 1
    inode.sectors += sectorsPerBlock
    inode.isChanged = true
    inode.isMapChanged = true
    return number
  }

  private func goal(of inode: Ext2Inode, _ index: UInt64) throws(FileError) -> UInt32 {
    if index > 0 {
      let before = try blockNumber(of: inode, index - 1)
      if before != 0 { return before + 1 }
    }
    let group = (inode.number - 1) / superblock.inodesPerGroup
    return groups[Int(group)].inodeTable + superblock.inodeTableBlockCount
  }

  // MARK: Giving back

  /// Frees a file's blocks from an index on.
  func freeBlocks(of inode: Ext2Inode, from keep: UInt64) throws(FileError) {
    let table = tablePlace(of: inode.number).block
    inode.isChanged = true
    inode.isMapChanged = true
    inode.allocationGoal = 0
    for index in 0..<12 where UInt64(index) >= keep && inode.pointers[index] != 0 {
      try free(inode.pointers[index], of: inode, in: table)
      inode.pointers[index] = 0
    }
    var base: UInt64 = 12
    var span = pointersPerBlock
    for depth in 1...3 {
      let top = inode.pointers[11 + depth]
      if top != 0, keep < base + span {
        try check(top, in: table)
        if keep <= base {
          try freeTree(top, of: inode, depth)
          try free(top, of: inode, in: table)
          inode.pointers[11 + depth] = 0
        } else {
          try trimTree(top, of: inode, depth, from: keep - base)
        }
      }
      base += span
      span *= pointersPerBlock
    }
  }

  /// Frees one block; a file that gives back more than it says it has is damaged, so that cycles end.
  private func free(_ number: UInt32, of inode: Ext2Inode, in block: UInt64) throws(FileError) {
    try check(number, in: block)
    guard inode.sectors >= sectorsPerBlock else {
      throw damage(.inodeFields, block: tablePlace(of: inode.number).block, value: UInt64(inode.number))
    }
    inode.sectors -= sectorsPerBlock
    freeBlock(number)
  }

  /// Frees everything below a map.
  private func freeTree(_ map: UInt32, of inode: Ext2Inode, _ depth: Int) throws(FileError) {
    let block = try block(UInt64(map))
    for place in stride(from: 0, to: blockByteCount, by: 4) {
      let number = block.bytes.load(place, as: UInt32.self)
      if number == 0 { continue }
      try check(number, in: UInt64(map))
      if depth > 1 { try freeTree(number, of: inode, depth - 1) }
      try free(number, of: inode, in: UInt64(map))
    }
  }

  /// Frees what is below a map from a block on; the map itself stays.
  private func trimTree(_ map: UInt32, of inode: Ext2Inode, _ depth: Int, from keep: UInt64) throws(FileError) {
    var span: UInt64 = 1
    for _ in 1..<depth { span *= pointersPerBlock }
    for index in keep / span..<pointersPerBlock {
      // Freeing may push the map out of the cache: fetched each time.
      let block = try block(UInt64(map))
      let number = block.bytes.load(Int(index) * 4, as: UInt32.self)
      if number == 0 { continue }
      try check(number, in: UInt64(map))
      if index * span < keep {
        try trimTree(number, of: inode, depth - 1, from: keep - index * span)
        continue
      }
      block.bytes.store(UInt32(0), at: Int(index) * 4)
      change(block, order: BlockOrder.map)
      if depth > 1 { try freeTree(number, of: inode, depth - 1) }
      try free(number, of: inode, in: UInt64(map))
    }
  }
}
