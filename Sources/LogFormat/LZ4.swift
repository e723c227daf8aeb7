import CLZ4
import Primitives

/// LZ4 blocks (system liblz4), with the two rules of this log: pack only what gains, unpack only within a declared
/// bound.
package enum LZ4 {
    /// Below this size packing costs more than it saves.
    package static let minimumLength = 4096

    /// Packs `source` onto the end of `output`. Returns the packed length; or nil, with `output` as it was, when
    /// `source` is shorter than `minimumLength` or packing saves less than an eighth.
    package static func append(_ source: UnsafeRawBufferPointer, to output: inout [UInt8]) -> Int? {
        guard source.count >= minimumLength, source.count <= Int(LZ4_MAX_INPUT_SIZE) else { return nil }
        let room = source.count - source.count / 8
        let start = output.count
        output.append(contentsOf: repeatElement(0, count: room))
        let length = output.withUnsafeMutableBytes { target in
            LZ4_compress_default(
                source.baseAddress?.assumingMemoryBound(to: CChar.self),
                (target.baseAddress! + start).assumingMemoryBound(to: CChar.self),
                Int32(source.count),
                Int32(room)
            )
        }
        guard length > 0 else {
            output.removeLast(room)
            return nil
        }
        output.removeLast(room - Int(length))
        return Int(length)
    }

    /// Unpacks a block that must hold exactly `plainLength` bytes, at most `limit`. The output buffer is never larger
    /// than `plainLength`, so a crafted block cannot make memory grow.
    package static func unpack(
        _ source: UnsafeRawBufferPointer,
        plainLength: Int,
        limit: Int
    ) throws(DecodeError) -> [UInt8] {
        guard plainLength <= limit else { throw .tooLong(field: "packed block", length: plainLength, limit: limit) }
        guard plainLength > 0, source.count > 0, source.count <= Int(Int32.max) else {
            throw .malformed("packed block")
        }
        // LZ4 cannot exceed 255:1, so a larger claim is a lie: refuse it before the allocation.
        guard plainLength / 255 <= source.count else { throw .malformed("packed block") }
        var written: Int32 = -1
        let plain = [UInt8](unsafeUninitializedCapacity: plainLength) { target, count in
            written = target.withMemoryRebound(to: CChar.self) { target in
                LZ4_decompress_safe(
                    source.baseAddress?.assumingMemoryBound(to: CChar.self),
                    target.baseAddress,
                    Int32(source.count),
                    Int32(plainLength)
                )
            }
            count = max(0, Int(written))
        }
        guard Int(written) == plainLength else { throw .malformed("packed block") }
        return plain
    }
}
