/// Bounds of what a server may send.
package struct RESPReplyLimits: Sendable {
    /// Bytes of one string; Redis's own `proto-max-bulk-len` is 512 MiB.
    package var bulk = 64 << 20
    /// Bytes of a line: a simple string, an error, a number or a length.
    package var line = 64 << 10
    /// Elements of one reply, those of nested aggregates included.
    package var elements = 1 << 20
    /// Aggregates within aggregates.
    package var depth = 16

    package init() {}
}

/// Why a connection cannot go on: what came is no RESP, or more than the bounds allow.
package enum RESPReplyError: Error, Equatable, Sendable {
    case unknownType(UInt8)
    case malformed(String)
    case bulkTooLong(Int64)
    case lineTooLong
    case tooManyElements
    case tooDeep
}

/// Finds replies and pushes in what a server sent.
///
/// It keeps no bytes, but the aggregates that are not complete yet, so that a long reply is read once however many
/// packets bring it. Attributes (`|`) are read and dropped, as the specification lets a client do.
package struct RESPReplyParser: Sendable {
    private enum Kind {
        case array, set, map, push, attribute
    }

    private struct Frame {
        var kind: Kind
        var remaining: Int
        var elements: [RESPValue]
    }

    private let limits: RESPReplyLimits
    private var stack: [Frame] = []
    private var elements = 0
    /// After `next` has returned nil: bytes of the rest that must be there before it is worth another call.
    package private(set) var bytesNeeded = 1

    package init(limits: RESPReplyLimits = RESPReplyLimits()) { self.limits = limits }

    /// The next whole reply or push from `position` on, which moves behind what was taken in; nil when more bytes are
    /// needed: what is before `position` is not needed again.
    package mutating func next(
        _ bytes: UnsafeRawBufferPointer,
        from position: inout Int
    ) throws(RESPReplyError) -> RESPValue? {
        bytesNeeded = 1
        while let item = try item(bytes, &position) {
            var complete: RESPValue?
            switch item {
            case .value(let value): complete = value
            case .open(let kind, let count):
                if count == 0 {
                    complete = RESPReplyParser.close(kind, [])
                    // An attribute says something about the value that follows, and is none itself.
                    if complete == nil { continue }
                } else {
                    guard stack.count < limits.depth else { throw .tooDeep }
                    var frame = Frame(kind: kind, remaining: count, elements: [])
                    frame.elements.reserveCapacity(min(count, 256))
                    stack.append(frame)
                }
            }
            while let value = complete {
                complete = nil
                guard let top = stack.indices.last else {
                    elements = 0
                    return value
                }
                stack[top].elements.append(value)
                stack[top].remaining -= 1
                if stack[top].remaining == 0 {
                    let frame = stack.removeLast()
                    complete = RESPReplyParser.close(frame.kind, frame.elements)
                }
            }
        }
        return nil
    }

    private static func close(_ kind: Kind, _ elements: [RESPValue]) -> RESPValue? {
        switch kind {
        case .array: .array(elements)
        case .set: .set(elements)
        case .map: .map(elements)
        case .push: .push(elements)
        case .attribute: nil
        }
    }

    private enum Item {
        case value(RESPValue)
        case open(Kind, Int)
    }

    /// One value that is no aggregate, or the head of an aggregate.
    private mutating func item(
        _ bytes: UnsafeRawBufferPointer,
        _ position: inout Int
    ) throws(RESPReplyError) -> Item? {
        guard position < bytes.count else { return nil }
        let type = bytes[position]
        guard let end = try lineEnd(bytes, from: position + 1) else { return nil }
        let line = UnsafeRawBufferPointer(rebasing: bytes[(position + 1)..<end])
        let next = end + 2
        let item: Item
        switch type {
        case UInt8(ascii: "+"): item = .value(.simple(RESPReplyParser.string(line)))
        case UInt8(ascii: "-"): item = .value(.error(RESPReplyParser.string(line)))
        case UInt8(ascii: ":"): item = .value(.integer(try RESPReplyParser.integer(line)))
        case UInt8(ascii: "_"): item = .value(.null)
        case UInt8(ascii: "#"):
            guard line.count == 1, line[0] == UInt8(ascii: "t") || line[0] == UInt8(ascii: "f") else {
                throw .malformed("boolean")
            }
            item = .value(.boolean(line[0] == UInt8(ascii: "t")))
        case UInt8(ascii: ","):
            guard let number = Double(RESPReplyParser.string(line)) else { throw .malformed("double") }
            item = .value(.double(number))
        case UInt8(ascii: "("): item = .value(.bigNumber(RESPReplyParser.string(line)))
        case UInt8(ascii: "$"), UInt8(ascii: "!"), UInt8(ascii: "="):
            let length = try RESPReplyParser.integer(line)
            if length == -1, type == UInt8(ascii: "$") {
                item = .value(.null)
                break
            }
            guard length >= 0 else { throw .malformed("length") }
            guard length <= limits.bulk else { throw .bulkTooLong(length) }
            let stop = next + Int(length)
            guard stop + 2 <= bytes.count else {
                bytesNeeded = stop + 2 - position
                return nil
            }
            guard bytes[stop] == 13, bytes[stop + 1] == 10 else { throw .malformed("end of a string") }
            let content = UnsafeRawBufferPointer(rebasing: bytes[next..<stop])
            position = stop + 2
            return .value(try RESPReplyParser.blob(type, content))
        case UInt8(ascii: "*"): item = try open(.array, line, per: 1)
        case UInt8(ascii: "~"): item = try open(.set, line, per: 1)
        case UInt8(ascii: ">"): item = try open(.push, line, per: 1)
        case UInt8(ascii: "%"): item = try open(.map, line, per: 2)
        case UInt8(ascii: "|"): item = try open(.attribute, line, per: 2)
        default: throw .unknownType(type)
        }
        position = next
        return item
    }

    private static func blob(
        _ type: UInt8,
        _ content: UnsafeRawBufferPointer
    ) throws(RESPReplyError) -> RESPValue {
        switch type {
        case UInt8(ascii: "!"): return .error(string(content))
        case UInt8(ascii: "="):
            // Three letters and a colon before the text.
            guard content.count >= 4, content[3] == UInt8(ascii: ":") else { throw .malformed("verbatim string") }
            return .bulk([UInt8](content.dropFirst(4)))
        default: return .bulk([UInt8](content))
        }
    }

    private mutating func open(
        _ kind: Kind,
        _ line: UnsafeRawBufferPointer,
        per entry: Int64
    ) throws(RESPReplyError) -> Item {
        let count = try RESPReplyParser.integer(line)
        if count == -1, kind == .array { return .value(.null) }
        guard count >= 0 else { throw .malformed("count") }
        let (total, overflow) = count.multipliedReportingOverflow(by: entry)
        guard !overflow, total <= Int64(limits.elements - elements) else { throw .tooManyElements }
        elements += Int(total)
        return .open(kind, Int(total))
    }

    /// The index of the line's CR, when its LF is there too.
    private mutating func lineEnd(_ bytes: UnsafeRawBufferPointer, from start: Int) throws(RESPReplyError) -> Int? {
        var index = start
        let stop = min(bytes.count, start + limits.line + 1)
        while index < stop {
            if bytes[index] == 13 {
                guard index + 1 < bytes.count else {
                    bytesNeeded = index + 2 - start + 1
                    return nil
                }
                guard bytes[index + 1] == 10 else { throw .malformed("end of a line") }
                return index
            }
            index += 1
        }
        if bytes.count - start > limits.line { throw .lineTooLong }
        bytesNeeded = bytes.count - start + 2
        return nil
    }

    private static func string(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

    private static func integer(_ line: UnsafeRawBufferPointer) throws(RESPReplyError) -> Int64 {
        var index = 0
        let isNegative = !line.isEmpty && line[0] == UInt8(ascii: "-")
        if isNegative || (!line.isEmpty && line[0] == UInt8(ascii: "+")) { index = 1 }
        guard index < line.count else { throw .malformed("number") }
        var value: Int64 = 0
        while index < line.count {
            let digit = Int64(line[index]) - 48
            guard (0...9).contains(digit) else { throw .malformed("number") }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflows) = product.addingReportingOverflow(isNegative ? -digit : digit)
            guard !overflow, !overflows else { throw .malformed("number") }
            value = sum
            index += 1
        }
        return value
    }
}
