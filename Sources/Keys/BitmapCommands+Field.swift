import Primitives
import RESP

extension Keyspace {
    /// BITFIELD key [GET type offset | SET type offset value | INCRBY type offset increment |
    /// OVERFLOW WRAP|SAT|FAIL]…
    mutating func bitField(_ call: Call, isReadOnly: Bool, _ reply: inout RESPWriter) throws(CommandError) {
        let operations = try fieldOperations(call)
        let writes = operations.filter(\.isWrite)
        let mark = reply.count
        reply.array(operations.count)
        guard let last = writes.map(\.lastBit).max() else {
            let bytes = try lookUpString(call.database, call[1]) ?? []
            for operation in operations { reply.integer(operation.field.read(bytes)) }
            return
        }
        if isReadOnly {
            reply.rollBack(to: mark)
            throw .message("ERR BITFIELD_RO only supports the GET subcommand")
        }
        let length = Int(last >> 3) + 1
        let known = try stringLength(call.database, call[1])
        var isChanged = false
        editString(call.database, call[1], touching: false) { bytes in
            if bytes.count < length { bytes.append(contentsOf: repeatElement(0, count: length - bytes.count)) }
            let isLonger = known != bytes.count
            for operation in operations {
                guard let (answer, new) = operation.result(of: operation.field.read(bytes)) else {
                    reply.null()
                    continue
                }
                reply.integer(answer)
                guard let new else { continue }
                if isLonger || new != operation.field.read(bytes) { isChanged = true }
                operation.field.write(new, to: &bytes)
            }
        }
        if isChanged {
            touch(call.database, call[1])
            notify(.string, "setbit", call.database, call[1])
        }
    }

    private func fieldOperations(_ call: Call) throws(CommandError) -> [FieldOperation] {
        var operations: [FieldOperation] = []
        var overflow = FieldOperation.Overflow.wrap
        var index = 2
        while index < call.count {
            let left = call.count - index - 1
            let kind: FieldOperation.Kind
            if call.isWord(index, "get"), left >= 2 {
                kind = .get
            } else if call.isWord(index, "set"), left >= 3 {
                kind = .set
            } else if call.isWord(index, "incrby"), left >= 3 {
                kind = .increment
            } else if call.isWord(index, "overflow"), left >= 1 {
                if call.isWord(index + 1, "wrap") {
                    overflow = .wrap
                } else if call.isWord(index + 1, "sat") {
                    overflow = .saturate
                } else if call.isWord(index + 1, "fail") {
                    overflow = .fail
                } else {
                    throw .message("ERR Invalid OVERFLOW type specified")
                }
                index += 2
                continue
            } else {
                throw .syntax
            }
            var field = try BitsField(type: call[index + 1])
            field.offset = try bitOffset(call[index + 2], width: Int64(field.width))
            let value = kind == .get ? 0 : try call.integer(index + 3)
            operations.append(FieldOperation(kind: kind, field: field, value: value, overflow: overflow))
            index += kind == .get ? 3 : 4
        }
        return operations
    }
}

/// An integer of 1 to 64 bits in a string, big-endian.
private struct BitsField {
    var isSigned: Bool
    var width: Int
    var offset: Int64 = 0

    /// `i1` to `i64`, `u1` to `u63`.
    init(type: [UInt8]) throws(CommandError) {
        let isSigned = type.first == UInt8(ascii: "i")
        guard isSigned || type.first == UInt8(ascii: "u"), let width = Decimal.integer(type.dropFirst()),
            width >= 1, width <= (isSigned ? 64 : 63)
        else {
            throw .message(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
            )
        }
        self.isSigned = isSigned
        self.width = Int(width)
    }

    var bounds: ClosedRange<Int64> {
        if isSigned { return width == 64 ? Int64.min...Int64.max : -(1 << (width - 1))...(1 << (width - 1)) - 1 }
        return 0...Int64(truncatingIfNeeded: (UInt64(1) << UInt64(width)) - 1)
    }

    /// The low bits of `value`, as this field shows them.
    func wrapped(_ value: Int64) -> Int64 {
        let shift = Int64(64 - width)
        let high = value << shift
        return isSigned ? high >> shift : Int64(truncatingIfNeeded: UInt64(bitPattern: high) >> UInt64(shift))
    }

    /// What lies behind the string's end is zero.
    func read(_ bytes: [UInt8]) -> Int64 {
        var value: UInt64 = 0
        for position in offset..<(offset + Int64(width)) { value = value << 1 | (Bits.isSet(bytes, position) ? 1 : 0) }
        return wrapped(Int64(bitPattern: value))
    }

    func write(_ value: Int64, to bytes: inout [UInt8]) {
        for step in 0..<width {
            let position = offset + Int64(step)
            let mask = UInt8(128) >> UInt8(position & 7)
            if value >> Int64(width - 1 - step) & 1 == 1 {
                bytes[Int(position >> 3)] |= mask
            } else {
                bytes[Int(position >> 3)] &= ~mask
            }
        }
    }
}

private struct FieldOperation {
    enum Kind { case get, set, increment }
    enum Overflow { case wrap, saturate, fail }

    var kind: Kind
    var field: BitsField
    var value: Int64
    var overflow: Overflow

    var isWrite: Bool { kind != .get }
    var lastBit: Int64 { field.offset + Int64(field.width) - 1 }

    /// What is answered, and what is written; nil when the value does not fit and shall not be made to.
    func result(of old: Int64) -> (answer: Int64, new: Int64?)? {
        guard isWrite else { return (old, nil) }
        let bounds = field.bounds
        var new = value
        var isAbove = false
        var isBelow = false
        if kind == .increment {
            let (sum, carry) = old.addingReportingOverflow(value)
            new = sum
            isAbove = carry ? value > 0 : sum > bounds.upperBound
            isBelow = carry ? value < 0 : sum < bounds.lowerBound
        } else if !field.isSigned, value < 0 {
            // Redis takes a negative value for a very large one.
            isAbove = true
        } else {
            isAbove = value > bounds.upperBound
            isBelow = value < bounds.lowerBound
        }
        if isAbove || isBelow {
            switch overflow {
            case .wrap: new = field.wrapped(new)
            case .saturate: new = isAbove ? bounds.upperBound : bounds.lowerBound
            case .fail: return nil
            }
        }
        return (kind == .set ? old : new, new)
    }
}
