/// Why bytes could not be decoded.
public enum DecodeError: Error, Equatable {
    /// Fewer bytes than the field needs.
    case truncated
    /// A length or count above the limit of its field.
    case tooLong(field: StaticStringName, length: Int, limit: Int)
    /// A tag, version or value that this build does not know.
    case unknown(field: StaticStringName, value: UInt64)
    /// Bytes after the last field.
    case trailingBytes(Int)
    /// A field whose content breaks its own rules.
    case malformed(StaticStringName)
}

/// `StaticString` that can be compared, so that decode errors are plain equatable values.
public struct StaticStringName: Equatable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    package let name: StaticString

    /// The name itself.
    public init(stringLiteral value: StaticString) { self.name = value }

    /// By the text.
    public static func == (a: StaticStringName, b: StaticStringName) -> Bool { a.description == b.description }

    /// The text.
    public var description: String { name.description }
}

/// Appends little-endian integers, varints and length-prefixed bytes to an array that the caller owns and reuses.
public struct ByteWriter {
    @usableFromInline package var bytes: [UInt8]

    @inlinable package init(_ bytes: [UInt8] = []) { self.bytes = bytes }

    @inlinable package init(capacity: Int) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    @inlinable package var count: Int { bytes.count }

    @inlinable package mutating func write(_ value: UInt8) { bytes.append(value) }

    @inlinable @inline(__always)
    package mutating func write<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    /// LEB128, as in Protocol Buffers: seven bits a byte, low bits first.
    @inlinable package mutating func writeVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    @inlinable package mutating func writeRaw(_ content: some Sequence<UInt8>) { bytes.append(contentsOf: content) }
    @inlinable package mutating func writeRaw(_ content: [UInt8]) { bytes.append(contentsOf: content) }
    @inlinable package mutating func writeRaw(_ content: ArraySlice<UInt8>) { bytes.append(contentsOf: content) }
    @inlinable package mutating func writeRaw(_ content: UnsafeRawBufferPointer) { bytes.append(contentsOf: content) }

    /// A varint length, then the bytes.
    @inlinable package mutating func writeBytes(_ content: [UInt8]) {
        writeVarint(UInt64(content.count))
        bytes.append(contentsOf: content)
    }

    /// A varint length, then the bytes.
    @inlinable package mutating func writeBytes(_ content: ArraySlice<UInt8>) {
        writeVarint(UInt64(content.count))
        bytes.append(contentsOf: content)
    }

    /// A varint length, then UTF-8.
    @inlinable package mutating func writeString(_ text: String) {
        let utf8 = text.utf8
        writeVarint(UInt64(utf8.count))
        bytes.append(contentsOf: utf8)
    }

    /// Overwrites four bytes at `offset`, for lengths known only after the body is written.
    @inlinable package mutating func overwrite(_ value: UInt32, at offset: Int) {
        for index in 0..<4 {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index))
        }
    }
}

/// Reads what `ByteWriter` wrote, from bytes that it does not own. Every read is checked; nothing traps on bad input.
///
/// Valid only inside the `withUnsafeBytes` closure that lent the buffer.
public struct ByteReader {
    @usableFromInline let base: UnsafeRawBufferPointer
    @usableFromInline package var position: Int

    @inlinable package init(_ base: UnsafeRawBufferPointer) {
        self.base = base
        self.position = 0
    }

    @inlinable package var remaining: Int { base.count - position }
    @inlinable package var isAtEnd: Bool { position == base.count }

    @inlinable package mutating func readByte() throws(DecodeError) -> UInt8 {
        guard position < base.count else { throw .truncated }
        defer { position += 1 }
        return base[position]
    }

    // Not one generic function: the optimizer leaves it unspecialized across modules, which cost 3 % of a publish.
    @inlinable package mutating func read(_: UInt16.Type = UInt16.self) throws(DecodeError) -> UInt16 {
        guard remaining >= 2 else { throw .truncated }
        defer { position += 2 }
        return UInt16(littleEndian: base.loadUnaligned(fromByteOffset: position, as: UInt16.self))
    }

    @inlinable package mutating func read(_: UInt32.Type = UInt32.self) throws(DecodeError) -> UInt32 {
        guard remaining >= 4 else { throw .truncated }
        defer { position += 4 }
        return UInt32(littleEndian: base.loadUnaligned(fromByteOffset: position, as: UInt32.self))
    }

    @inlinable package mutating func read(_: UInt64.Type = UInt64.self) throws(DecodeError) -> UInt64 {
        guard remaining >= 8 else { throw .truncated }
        defer { position += 8 }
        return UInt64(littleEndian: base.loadUnaligned(fromByteOffset: position, as: UInt64.self))
    }

    @inlinable package mutating func readVarint() throws(DecodeError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            guard position < base.count else { throw .truncated }
            let byte = base[position]
            position += 1
            if shift == 63 && byte > 1 { throw .malformed("varint") }
            value |= UInt64(byte & 0x7f) << shift
            if byte & 0x80 == 0 { return value }
            shift += 7
            if shift > 63 { throw .malformed("varint") }
        }
    }

    /// A varint that counts or measures something; refused above `limit` before anything is allocated.
    @inlinable package mutating func readCount(
        limit: Int,
        _ field: StaticStringName
    ) throws(DecodeError) -> Int {
        let value = try readVarint()
        guard value <= UInt64(limit) else {
            throw .tooLong(field: field, length: Int(clamping: value), limit: limit)
        }
        return Int(value)
    }

    @inlinable package mutating func readRaw(count: Int) throws(DecodeError) -> UnsafeRawBufferPointer {
        guard count >= 0, remaining >= count else { throw .truncated }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: base[position..<(position + count)])
    }

    @inlinable package mutating func readBytes(
        limit: Int,
        _ field: StaticStringName = "bytes"
    ) throws(DecodeError) -> [UInt8] {
        let count = try readCount(limit: limit, field)
        return [UInt8](try readRaw(count: count))
    }

    @inlinable package mutating func readString(
        limit: Int,
        _ field: StaticStringName = "string"
    ) throws(DecodeError) -> String {
        let count = try readCount(limit: limit, field)
        let raw = try readRaw(count: count)
        guard let text = String(validating: raw, as: UTF8.self) else { throw .malformed(field) }
        return text
    }

    /// Fails when bytes are left over: a decoder that ignores a tail hides a version mismatch.
    @inlinable package func expectEnd() throws(DecodeError) {
        guard isAtEnd else { throw .trailingBytes(remaining) }
    }
}
