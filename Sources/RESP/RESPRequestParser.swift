import Primitives

/// Bounds of what a client may send. Names are those of `CONFIG`.
package struct RESPLimits: Sendable {
    /// Bytes of one argument (`proto-max-bulk-len`).
    package var bulk = 64 << 20
    /// Arguments of one command.
    package var arguments = 1 << 20
    /// Bytes of a line: an inline command, or a length (`PROTO_INLINE_MAX_SIZE` in Redis).
    package var line = 64 << 10

    package init() {}

    /// Before a client has said who it is (Redis's `authRequired` bounds).
    package static var unauthenticated: RESPLimits {
        var limits = RESPLimits()
        limits.bulk = 16384
        limits.arguments = 10
        return limits
    }
}

/// Why a connection cannot go on. `text` is sent as an error, then the connection is closed.
package enum RESPProtocolError: Error, Equatable, Sendable {
    case unbalancedQuotes
    case inlineTooBig
    case multibulkTooBig
    case invalidMultibulkLength
    case invalidBulkLength
    case unauthenticatedMultibulk
    case unauthenticatedBulk
    case expectedDollar(UInt8)
    /// An HTTP request: closed without a word, as Redis does, so that a web page cannot make a browser speak RESP.
    case crossProtocol

    package var text: String? {
        switch self {
        case .unbalancedQuotes: "ERR Protocol error: unbalanced quotes in request"
        case .inlineTooBig: "ERR Protocol error: too big inline request"
        case .multibulkTooBig: "ERR Protocol error: too big mbulk count string"
        case .invalidMultibulkLength: "ERR Protocol error: invalid multibulk length"
        case .invalidBulkLength: "ERR Protocol error: invalid bulk length"
        case .unauthenticatedMultibulk: "ERR Protocol error: unauthenticated multibulk length"
        case .unauthenticatedBulk: "ERR Protocol error: unauthenticated bulk length"
        case .expectedDollar(let byte):
            "ERR Protocol error: expected '$', got '\(byte > 32 && byte < 127 ? String(UnicodeScalar(byte)) : " ")'"
        case .crossProtocol: nil
        }
    }
}

/// Finds commands in what a client sent: arrays of bulk strings, or inline lines.
///
/// It keeps no bytes. `parse` is given everything that was not consumed yet; while a command is incomplete it notes how
/// many bytes it is waiting for, so that a large argument is not looked at again for each packet.
package struct RESPRequestParser: Sendable {
    /// Arguments of the command that `parse` has found: ranges of the bytes it was given.
    package private(set) var arguments: [Range<Int>] = []
    /// Of an inline command with quotes, whose arguments are not a part of the input.
    package private(set) var inline: [UInt8] = []
    /// `arguments` are ranges of `inline`, not of the input.
    package private(set) var isInline = false
    /// Bytes that must be there before it is worth parsing again.
    private var needed = 0

    package init() {}

    package enum Outcome: Equatable, Sendable {
        /// A command of so many bytes. Without arguments: an empty line, to be passed over.
        case command(consumed: Int)
        case incomplete
    }

    package mutating func parse(
        _ bytes: UnsafeRawBufferPointer,
        limits: RESPLimits,
        isAuthenticated: Bool = true
    ) throws(RESPProtocolError) -> Outcome {
        guard bytes.count >= needed, !bytes.isEmpty else { return .incomplete }
        needed = 0
        arguments.removeAll(keepingCapacity: true)
        isInline = bytes[0] != UInt8(ascii: "*")
        if isInline { return try parseInline(bytes, limits) }

        guard let head = RESPRequestParser.lineEnd(bytes, from: 1, limits.line) else {
            // The end may still come within the bound, so that it does not matter how the bytes were split.
            if bytes.count > limits.line + 1 { throw .multibulkTooBig }
            return .incomplete
        }
        guard let count = Decimal.integer(bytes[1..<head]), count <= limits.arguments else {
            if !isAuthenticated { throw .unauthenticatedMultibulk }
            throw .invalidMultibulkLength
        }
        var position = head + 2
        if count <= 0 { return .command(consumed: position) }
        for _ in 0..<count {
            guard position < bytes.count else { return .incomplete }
            guard bytes[position] == UInt8(ascii: "$") else { throw .expectedDollar(bytes[position]) }
            guard let end = RESPRequestParser.lineEnd(bytes, from: position + 1, limits.line) else {
                if bytes.count - position > limits.line + 1 { throw .invalidBulkLength }
                return .incomplete
            }
            guard let length = Decimal.integer(bytes[(position + 1)..<end]), length >= 0, length <= limits.bulk else {
                if !isAuthenticated { throw .unauthenticatedBulk }
                throw .invalidBulkLength
            }
            let start = end + 2
            let stop = start + Int(length)
            guard stop + 2 <= bytes.count else {
                needed = stop + 2
                return .incomplete
            }
            arguments.append(start..<stop)
            position = stop + 2
        }
        return .command(consumed: position)
    }

    private static func lineEnd(_ bytes: UnsafeRawBufferPointer, from start: Int, _ limit: Int) -> Int? {
        var position = start
        let stop = min(bytes.count - 1, start + limit)
        while position < stop {
            if bytes[position] == 13 { return position }
            position += 1
        }
        return nil
    }

    // MARK: Inline

    private mutating func parseInline(
        _ bytes: UnsafeRawBufferPointer,
        _ limits: RESPLimits
    ) throws(RESPProtocolError) -> Outcome {
        guard let feed = bytes.firstIndex(of: 10) else {
            if bytes.count > limits.line { throw .inlineTooBig }
            return .incomplete
        }
        guard feed <= limits.line else { throw .inlineTooBig }
        let end = feed > 0 && bytes[feed - 1] == 13 ? feed - 1 : feed
        inline.removeAll(keepingCapacity: true)
        var position = 0
        while true {
            while position < end, RESPRequestParser.isBlank(bytes[position]) { position += 1 }
            guard position < end else { break }
            let start = inline.count
            position = try word(UnsafeRawBufferPointer(rebasing: bytes[0..<end]), position)
            arguments.append(start..<inline.count)
        }
        if let first = arguments.first {
            let name = inline[first]
            if name.elementsEqual("POST".utf8) || name.elementsEqual("Host:".utf8) { throw .crossProtocol }
        }
        return .command(consumed: feed + 1)
    }

    /// Takes a word, quoted as in redis-cli (sds.c: sdssplitargs), into `inline`.
    private mutating func word(
        _ line: UnsafeRawBufferPointer,
        _ start: Int
    ) throws(RESPProtocolError) -> Int {
        var position = start
        while position < line.count, !RESPRequestParser.isBlank(line[position]) {
            let quote = line[position]
            guard quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else {
                inline.append(quote)
                position += 1
                continue
            }
            position += 1
            while true {
                guard position < line.count else { throw .unbalancedQuotes }
                let byte = line[position]
                if byte == quote { break }
                if byte == UInt8(ascii: "\\"), position + 1 < line.count {
                    position = escape(line, position, quote)
                } else {
                    inline.append(byte)
                    position += 1
                }
            }
            position += 1
            // A closing quote ends the word.
            if position < line.count, !RESPRequestParser.isBlank(line[position]) { throw .unbalancedQuotes }
        }
        return position
    }

    private mutating func escape(_ line: UnsafeRawBufferPointer, _ start: Int, _ quote: UInt8) -> Int {
        let next = line[start + 1]
        guard quote == UInt8(ascii: "\"") else {
            // Between single quotes only the quote itself is escaped.
            if next == quote {
                inline.append(quote)
                return start + 2
            }
            inline.append(UInt8(ascii: "\\"))
            return start + 1
        }
        if next == UInt8(ascii: "x"), start + 3 < line.count, let high = RESPRequestParser.hex(line[start + 2]),
            let low = RESPRequestParser.hex(line[start + 3])
        {
            inline.append(high << 4 | low)
            return start + 4
        }
        switch next {
        case UInt8(ascii: "n"): inline.append(10)
        case UInt8(ascii: "r"): inline.append(13)
        case UInt8(ascii: "t"): inline.append(9)
        case UInt8(ascii: "b"): inline.append(8)
        case UInt8(ascii: "a"): inline.append(7)
        default: inline.append(next)
        }
        return start + 2
    }

    private static func hex(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 32 || (byte >= 9 && byte <= 13) || byte == 0 }
}
