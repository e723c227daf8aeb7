/// One argument of a command: bytes, written as text or a number where that reads better.
package struct RESPArgument: Equatable, Sendable, ExpressibleByStringLiteral {
    package let bytes: ArraySlice<UInt8>

    package init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }
    package init(_ bytes: [UInt8]) { self.bytes = bytes[...] }
    package init(_ text: String) { bytes = Array(text.utf8)[...] }
    package init(_ number: some BinaryInteger) { self.init(String(number)) }
    package init(stringLiteral text: String) { self.init(text) }
}

/// A command as a client sends it.
package struct RESPCommand: Equatable, Sendable {
    package var arguments: [RESPArgument]

    package init(_ arguments: RESPArgument...) { self.arguments = arguments }
    package init(_ arguments: [RESPArgument]) { self.arguments = arguments }

    /// The command's name in capitals.
    package var name: String {
        arguments.first.map { String(decoding: $0.bytes, as: UTF8.self).uppercased() } ?? ""
    }

    /// It may hold its connection back for as long as it likes, and so has no place on one that others share (RA-19):
    /// commands that block by nature, reads of streams that say `BLOCK`, and those that turn the connection into
    /// something else.
    package var isBlocking: Bool {
        switch name {
        case "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX", "BLMPOP", "BZMPOP", "WAIT", "WAITAOF",
            "MONITOR", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE":
            true
        case "XREAD", "XREADGROUP":
            arguments.contains { String(decoding: $0.bytes, as: UTF8.self).uppercased() == "BLOCK" }
        default: false
        }
    }
}

/// Writes commands: arrays of bulk strings, as every server takes them.
package enum RESPCommandEncoder {
    /// Appends a command behind others: together they are a pipeline.
    package static func append(_ command: RESPCommand, to out: inout [UInt8]) {
        head(UInt8(ascii: "*"), command.arguments.count, &out)
        for argument in command.arguments {
            head(UInt8(ascii: "$"), argument.bytes.count, &out)
            out.append(contentsOf: argument.bytes)
            out.append(13)
            out.append(10)
        }
    }

    private static func head(_ type: UInt8, _ number: Int, _ out: inout [UInt8]) {
        out.append(type)
        withUnsafeTemporaryAllocation(byteCount: 20, alignment: 1) { digits in
            var first = 20
            var rest = number
            repeat {
                first -= 1
                digits[first] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            out.append(contentsOf: UnsafeRawBufferPointer(rebasing: digits[first...]))
        }
        out.append(13)
        out.append(10)
    }
}
