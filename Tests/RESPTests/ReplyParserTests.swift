import Primitives
import RESP
import Testing

/// Everything that a server said, cut into pieces of `size` bytes as a connection would offer them.
private func parse(_ text: String, size: Int = .max, limits: RESPReplyLimits = RESPReplyLimits())
    throws(RESPReplyError) -> [RESPValue]
{
    var parser = RESPReplyParser(limits: limits)
    var values: [RESPValue] = []
    var held: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
        held += rest.prefix(size)
        rest = rest.dropFirst(size)
        var failure: RESPReplyError?
        let consumed = held.withUnsafeBytes { raw in
            var position = 0
            do throws(RESPReplyError) {
                while let value = try parser.next(raw, from: &position) { values.append(value) }
            } catch {
                failure = error
            }
            return position
        }
        if let failure { throw failure }
        held.removeFirst(consumed)
    }
    return values
}

private func bulk(_ text: String) -> RESPValue { .bulk(Array(text.utf8)) }

@Suite struct ReplyParserTests {
    private static let samples: [(String, [RESPValue])] = [
        ("+OK\r\n", [.simple("OK")]),
        ("-NOAUTH Authentication required.\r\n", [.error("NOAUTH Authentication required.")]),
        (":-42\r\n:0\r\n", [.integer(-42), .integer(0)]),
        (":9223372036854775807\r\n:-9223372036854775808\r\n", [.integer(.max), .integer(.min)]),
        ("$5\r\na\r\nbc\r\n$0\r\n\r\n", [bulk("a\r\nbc"), bulk("")]),
        ("$-1\r\n*-1\r\n_\r\n", [.null, .null, .null]),
        ("*0\r\n%0\r\n~0\r\n", [.array([]), .map([]), .set([])]),
        ("*2\r\n*1\r\n:1\r\n$1\r\nx\r\n", [.array([.array([.integer(1)]), bulk("x")])]),
        ("#t\r\n#f\r\n,1.5\r\n,inf\r\n", [.boolean(true), .boolean(false), .double(1.5), .double(.infinity)]),
        (
            "(3492890328409238509324850943850943825024385\r\n",
            [.bigNumber("3492890328409238509324850943850943825024385")]
        ),
        ("!9\r\nERR no go\r\n=15\r\ntxt:Some string\r\n", [.error("ERR no go"), bulk("Some string")]),
        ("%1\r\n$5\r\nproto\r\n:3\r\n", [.map([bulk("proto"), .integer(3)])]),
        (
            ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n+PONG\r\n",
            [.push([bulk("message"), bulk("c"), bulk("hi")]), .simple("PONG")]
        ),
        ("|1\r\n+ttl\r\n:3600\r\n*1\r\n|0\r\n:7\r\n", [.array([.integer(7)])]),
    ]

    @Test("every kind of RESP2 and RESP3, in one piece and byte by byte")
    func kinds() throws {
        for (text, wanted) in Self.samples {
            for size in [.max, 1, 2, 3, 7] { #expect(try parse(text, size: size) == wanted, "\(text) by \(size)") }
        }
        let all = Self.samples.map(\.0).joined()
        let wanted = Self.samples.flatMap(\.1)
        for size in [1, 5, 64] { #expect(try parse(all, size: size) == wanted) }
    }

    @Test("what is not RESP is refused with its reason")
    func refusals() {
        let wrong: [(String, RESPReplyError)] = [
            ("?1\r\n", .unknownType(UInt8(ascii: "?"))), (":x\r\n", .malformed("number")),
            (":\r\n", .malformed("number")),
            (":9223372036854775808\r\n", .malformed("number")), ("+a\rb\r\n", .malformed("end of a line")),
            ("$3\r\nabcd\r\n", .malformed("end of a string")), ("$-2\r\n", .malformed("length")),
            ("*-2\r\n", .malformed("count")), ("#x\r\n", .malformed("boolean")), (",x\r\n", .malformed("double")),
            ("=3\r\nabc\r\n", .malformed("verbatim string")), ("$?\r\n", .malformed("number")),
            ("%9223372036854775807\r\n", .tooManyElements),
        ]
        for (text, error) in wrong { #expect(throws: error, "\(text)") { try parse(text) } }
    }

    @Test("strings, lines, elements and depth have bounds, checked before anything is kept")
    func bounds() {
        var limits = RESPReplyLimits()
        limits.bulk = 10
        limits.line = 16
        limits.elements = 5
        limits.depth = 3
        #expect(throws: RESPReplyError.bulkTooLong(11)) { try parse("$11\r\n", limits: limits) }
        #expect(throws: RESPReplyError.lineTooLong) {
            try parse("+" + String(repeating: "x", count: 40), limits: limits)
        }
        #expect(throws: RESPReplyError.tooManyElements) { try parse("*6\r\n", limits: limits) }
        #expect(throws: RESPReplyError.tooManyElements) { try parse("*3\r\n*3\r\n", limits: limits) }
        #expect(throws: RESPReplyError.tooDeep) { try parse("*1\r\n*1\r\n*1\r\n*1\r\n", limits: limits) }
        // The count begins anew with each reply.
        #expect(throws: Never.self) { try parse("*2\r\n:1\r\n:2\r\n*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n", limits: limits) }
    }

    @Test("no bytes, however wrong, crash the parser")
    func garbage() {
        var random = Xoshiro256(seed: 11)
        let alphabet = Array("+-:$*_#,(!=%~|>0123456789\r\nabc".utf8)
        for _ in 0..<20_000 {
            let count = Int(random.below(40)) + 1
            let bytes = (0..<count).map { _ in alphabet[Int(random.below(UInt64(alphabet.count)))] }
            var parser = RESPReplyParser()
            bytes.withUnsafeBytes { raw in
                var position = 0
                while (try? parser.next(raw, from: &position)) != nil {}
                #expect(position <= raw.count)
            }
        }
    }

    @Test("a long string is not looked at before it is whole")
    func hint() throws {
        var parser = RESPReplyParser()
        let bytes = Array("*2\r\n:1\r\n$1000\r\nabc".utf8)
        try bytes.withUnsafeBytes { raw in
            var position = 0
            let value = try parser.next(raw, from: &position)
            #expect(value == nil)
            #expect(position == 8)
            #expect(parser.bytesNeeded == 7 + 1000 + 2)
        }
    }

    @Test("values are found by key in maps and in flat arrays")
    func members() throws {
        for head in ["%1", "*2"] {
            let value = try #require(try parse("\(head)\r\n+proto\r\n:3\r\n").first)
            #expect(value.member("proto")?.number == 3)
            #expect(value.member("other") == nil)
        }
    }
}

@Suite struct CommandTests {
    @Test("RA-22 commands behind one another are a pipeline of arrays of bulk strings")
    func encoding() {
        var bytes: [UInt8] = []
        RESPCommandEncoder.append(RESPCommand("PUBLISH", "c", RESPArgument([0, 255])), to: &bytes)
        RESPCommandEncoder.append(RESPCommand("PING", RESPArgument(1234567890)), to: &bytes)
        var wanted = Array("*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$2\r\n".utf8) + [0, 255]
        wanted += Array("\r\n*2\r\n$4\r\nPING\r\n$10\r\n1234567890\r\n".utf8)
        #expect(bytes == wanted)
    }

    @Test("RA-19 commands that block are recognized, whatever their case")
    func blocking() {
        for command in [
            RESPCommand("BLPOP", "k", "0"), RESPCommand("blmove", "a", "b"), RESPCommand("WAIT", "1", "0"),
            RESPCommand("XREAD", "COUNT", "1", "block", "0", "STREAMS", "s", "$"), RESPCommand("SUBSCRIBE", "c"),
            RESPCommand("XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"),
        ] {
            #expect(command.isBlocking, "\(command.name)")
        }
        for command in [
            RESPCommand("GET", "BLOCK"), RESPCommand("XREAD", "COUNT", "1", "STREAMS", "s", "0"),
            RESPCommand("LPOP", "k"),
            RESPCommand("PUBLISH", "BLPOP", "x"),
        ] {
            #expect(!command.isBlocking, "\(command.name)")
        }
    }
}
