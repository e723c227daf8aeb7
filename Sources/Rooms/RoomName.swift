import Primitives

/// The name of a room: 1 to 255 bytes of UTF-8 by default. Kept as a slice, so that a name inside a frame or a log
/// entry is looked up without a copy; `compacted()` makes the copy that outlives the frame.
package struct RoomName: Hashable, Sendable, CustomStringConvertible {
    package let bytes: ArraySlice<UInt8>

    @inlinable package init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }
    @inlinable package init(_ bytes: [UInt8]) { self.bytes = bytes[...] }
    package init(_ text: String) { self.bytes = Array(text.utf8)[...] }

    package var description: String { String(decoding: bytes, as: UTF8.self) }

    package var count: Int { bytes.count }

    /// A room of the shim's own, a shard channel: no pattern reaches it.
    package var isHidden: Bool { bytes.first == 1 }

    /// The same name in storage of its own.
    package func compacted() -> RoomName { RoomName(Array(bytes)) }

    package var slot: UInt32 { bytes.withUnsafeBytes { HashSlot.slot(of: $0) } }

    package static func == (a: RoomName, b: RoomName) -> Bool {
        a.bytes.withUnsafeBytes { left in
            b.bytes.withUnsafeBytes { right in left.count == right.count && isEqual(left, right) }
        }
    }

    /// A word at a time: names are looked up several times for each message.
    private static func isEqual(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        while index + 8 <= a.count {
            let left = a.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            guard left == b.loadUnaligned(fromByteOffset: index, as: UInt64.self) else { return false }
            index += 8
        }
        while index < a.count {
            guard a[index] == b[index] else { return false }
            index += 1
        }
        return true
    }

    package func hash(into hasher: inout Hasher) {
        bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }

    /// Byte order, for deterministic listings.
    package static func precedes(_ a: RoomName, _ b: RoomName) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }
}
