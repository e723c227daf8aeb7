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

    /// The same name in storage of its own.
    package func compacted() -> RoomName { RoomName(Array(bytes)) }

    package var slot: UInt32 { bytes.withUnsafeBytes { HashSlot.slot(of: $0) } }

    package static func == (a: RoomName, b: RoomName) -> Bool {
        a.bytes.withUnsafeBytes { left in
            b.bytes.withUnsafeBytes { right in left.count == right.count && left.elementsEqual(right) }
        }
    }

    package func hash(into hasher: inout Hasher) {
        bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }

    /// Byte order, for deterministic listings.
    package static func precedes(_ a: RoomName, _ b: RoomName) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }
}
