import Primitives
import RESP

/// Bitmaps: strings seen as bits. Source: https://redis.io/docs/latest/commands/?group=bitmap
enum BitmapCommands {
    static let table = """
        getbit|3|readonly fast|1 1 1|bitmap|2.2.0|Returns a bit of a string.
        setbit|4|write denyoom|1 1 1|bitmap|2.2.0|Sets or clears a bit of a string.
        bitcount|-2|readonly|1 1 1|bitmap|2.6.0|Counts the bits that are set.
        bitpos|-3|readonly|1 1 1|bitmap|2.8.7|Finds the first bit that is set or clear.
        bitop|-4|write denyoom|2 -1 1|bitmap|2.6.0|Combines strings bit by bit.
        bitfield|-2|write denyoom|1 1 1|bitmap|3.2.0|Reads and changes integers of any width in a string.
        bitfield_ro|-2|readonly fast|1 1 1|bitmap|6.0.0|Reads integers of any width in a string.
        """

    static let handlers: [String: Handler] = [
        "getbit": { (keys, call, reply) throws(CommandError) in try keys.getBit(call, &reply) },
        "setbit": { (keys, call, reply) throws(CommandError) in try keys.setBit(call, &reply) },
        "bitcount": { (keys, call, reply) throws(CommandError) in try keys.bitCount(call, &reply) },
        "bitpos": { (keys, call, reply) throws(CommandError) in try keys.bitPosition(call, &reply) },
        "bitop": { (keys, call, reply) throws(CommandError) in try keys.bitOperation(call, &reply) },
        "bitfield": { (keys, call, reply) throws(CommandError) in try keys.bitField(call, isReadOnly: false, &reply) },
        "bitfield_ro": { (keys, call, reply) throws(CommandError) in
            try keys.bitField(call, isReadOnly: true, &reply)
        },
    ]
}

extension Keyspace {
    /// A bit's place in a string that may be made; with `width`, `#3` means the third field of that width.
    func bitOffset(_ text: [UInt8], width: Int64 = 0) throws(CommandError) -> Int64 {
        let isField = width > 0 && text.first == UInt8(ascii: "#")
        let factor = isField ? width : 1
        guard let number = Decimal.integer(text.dropFirst(isField ? 1 : 0)), number >= 0,
            case let (offset, overflow) = number.multipliedReportingOverflow(by: factor), !overflow,
            offset >> 3 < configuration.protoMaxBulkLength
        else { throw .message("ERR bit offset is not an integer or out of range") }
        return offset
    }

    fileprivate mutating func getBit(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let offset = try bitOffset(call[2])
        let bytes = try lookUpString(call.database, call[1]) ?? []
        reply.integer(Bits.isSet(bytes, offset) ? 1 : 0)
    }

    fileprivate mutating func setBit(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let offset = try bitOffset(call[2])
        guard let bit = Decimal.integer(call[3]), bit == 0 || bit == 1 else {
            throw .message("ERR bit is not an integer or out of range")
        }
        let place = Int(offset >> 3)
        let mask = UInt8(128) >> UInt8(offset & 7)
        let length = try stringLength(call.database, call[1])
        let (wasSet, isChanged) = editString(call.database, call[1], touching: false) { bytes in
            if bytes.count <= place { bytes.append(contentsOf: repeatElement(0, count: place + 1 - bytes.count)) }
            let wasSet = bytes[place] & mask != 0
            if bit == 1 { bytes[place] |= mask } else { bytes[place] &= ~mask }
            return (wasSet, wasSet != (bit == 1) || length != bytes.count)
        }
        if isChanged {
            touch(call.database, call[1])
            notify(.string, "setbit", call.database, call[1])
        }
        reply.integer(wasSet ? 1 : 0)
    }

    /// The bits that a command speaks of: START END [BIT|BYTE], from `first` on; nil when there are none.
    private static func bitRange(
        start: Int64,
        end: Int64,
        inBits: Bool,
        of bytes: [UInt8]
    ) -> Range<Int64>? {
        let total = Int64(bytes.count) * (inBits ? 8 : 1)
        let low = start < 0 ? max(0, total &+ start) : start
        let high = min(end < 0 ? max(0, total &+ end) : end, total - 1)
        guard low <= high else { return nil }
        return inBits ? low..<(high + 1) : (low * 8)..<(high * 8 + 8)
    }

    fileprivate mutating func bitCount(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard let bytes = try lookUpString(call.database, call[1]) else { return reply.integer(0) }
        if call.count == 2 { return reply.integer(Bits.count(bytes, 0..<(Int64(bytes.count) * 8))) }
        guard call.count == 4 || call.count == 5 else { throw .syntax }
        let (start, end) = (try call.integer(2), try call.integer(3))
        if start < 0, end < 0, start > end { return reply.integer(0) }
        let inBits = call.isWord(4, "bit")
        if call.count == 5, !inBits, !call.isWord(4, "byte") { throw .syntax }
        guard let range = Keyspace.bitRange(start: start, end: end, inBits: inBits, of: bytes) else {
            return reply.integer(0)
        }
        reply.integer(Bits.count(bytes, range))
    }

    fileprivate mutating func bitPosition(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let wanted = try call.integer(2)
        guard wanted == 0 || wanted == 1 else { throw .message("ERR The bit argument must be 1 or 0.") }
        guard let bytes = try lookUpString(call.database, call[1]) else {
            return reply.integer(wanted == 1 ? -1 : 0)
        }
        guard call.count <= 6 else { throw .syntax }
        let start = call.count > 3 ? try call.integer(3) : 0
        let inBits = call.isWord(5, "bit")
        if call.count == 6, !inBits, !call.isWord(5, "byte") { throw .syntax }
        let end = call.count > 4 ? try call.integer(4) : Int64(bytes.count) - 1
        guard let range = Keyspace.bitRange(start: start, end: end, inBits: inBits, of: bytes) else {
            return reply.integer(-1)
        }
        if let position = Bits.first(bytes, isSet: wanted == 1, range) { return reply.integer(position) }
        // Without an end, a string of ones is followed by zeros.
        reply.integer(wanted == 0 && call.count <= 4 ? range.upperBound : -1)
    }

    fileprivate mutating func bitOperation(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        enum Operation { case and, or, xor, not }
        let operation: Operation
        if call.isWord(1, "and") {
            operation = .and
        } else if call.isWord(1, "or") {
            operation = .or
        } else if call.isWord(1, "xor") {
            operation = .xor
        } else if call.isWord(1, "not") {
            operation = .not
        } else {
            throw .syntax
        }
        if operation == .not, call.count != 4 {
            throw .message("ERR BITOP NOT must be called with a single source key.")
        }
        var sources: [[UInt8]] = []
        for key in call.arguments[3...] { sources.append(try lookUpString(call.database, key) ?? []) }
        let length = sources.map(\.count).max() ?? 0
        var result = sources[0] + Array(repeating: 0, count: length - sources[0].count)
        if operation == .not { for index in result.indices { result[index] = ~result[index] } }
        for source in sources.dropFirst() {
            let shared = source.count
            switch operation {
            case .and:
                for index in 0..<shared { result[index] &= source[index] }
                for index in shared..<length { result[index] = 0 }
            case .or: for index in 0..<shared { result[index] |= source[index] }
            case .xor: for index in 0..<shared { result[index] ^= source[index] }
            case .not: break
            }
        }
        if length > 0 {
            store(call.database, call[2], .string(result))
            notify(.string, "set", call.database, call[2])
        } else {
            deleteIfLive(call.database, call[2])
        }
        reply.integer(length)
    }
}

/// Bits of a string, from the most significant of the first byte on.
enum Bits {
    static func isSet(_ bytes: [UInt8], _ offset: Int64) -> Bool {
        offset >> 3 < Int64(bytes.count) && bytes[Int(offset >> 3)] & (UInt8(128) >> UInt8(offset & 7)) != 0
    }

    /// How many bits are set in a range that lies within the string.
    static func count(_ bytes: [UInt8], _ range: Range<Int64>) -> Int {
        var count = 0
        walk(
            range,
            whole: { middle in
                bytes.withUnsafeBytes { raw in
                    var position = middle.lowerBound
                    while position + 8 <= middle.upperBound {
                        count += raw.loadUnaligned(fromByteOffset: position, as: UInt64.self).nonzeroBitCount
                        position += 8
                    }
                    while position < middle.upperBound {
                        count += raw[position].nonzeroBitCount
                        position += 1
                    }
                }
                return true
            },
            part: { byte, mask in
                count += (bytes[byte] & mask).nonzeroBitCount
                return true
            }
        )
        return count
    }

    /// The first bit of a range within the string that is set, or clear.
    static func first(_ bytes: [UInt8], isSet: Bool, _ range: Range<Int64>) -> Int64? {
        var found: Int64?
        let flip: UInt8 = isSet ? 0 : 0xff
        walk(
            range,
            whole: { middle in
                for position in middle where bytes[position] != flip {
                    found = Int64(position) * 8 + Int64((bytes[position] ^ flip).leadingZeroBitCount)
                    return false
                }
                return true
            },
            part: { byte, mask in
                let bits = (bytes[byte] ^ flip) & mask
                if bits != 0 { found = Int64(byte) * 8 + Int64(bits.leadingZeroBitCount) }
                return bits == 0
            }
        )
        return found
    }

    /// Visits a range: the bits of its first byte, whole bytes, the bits of its last byte. Stops at false.
    private static func walk(_ range: Range<Int64>, whole: (Range<Int>) -> Bool, part: (Int, UInt8) -> Bool) {
        guard !range.isEmpty else { return }
        let first = Int(range.lowerBound >> 3)
        let last = Int((range.upperBound - 1) >> 3)
        let head = UInt8(0xff) >> UInt8(range.lowerBound & 7)
        let tail = UInt8(truncatingIfNeeded: 0xff00 >> (((range.upperBound - 1) & 7) + 1))
        if first == last {
            _ = part(first, head & tail)
        } else if part(first, head), whole((first + 1)..<last) {
            _ = part(last, tail)
        }
    }
}
