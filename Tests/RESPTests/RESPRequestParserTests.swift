import Primitives
import RESP
import Testing

@Suite struct RESPRequestParserTests {
    /// What a connection makes of bytes that arrive in pieces: the commands, and how it ended.
    private struct Run: Equatable {
        var commands: [[[UInt8]]] = []
        var error: RESPProtocolError?
        /// Bytes of an incomplete command.
        var rest = 0
    }

    private func run(
        _ pieces: [[UInt8]],
        limits: RESPLimits = RESPLimits(),
        isAuthenticated: Bool = true
    ) -> Run {
        var run = Run()
        var parser = RESPRequestParser()
        var buffer: [UInt8] = []
        for piece in pieces {
            buffer += piece
            while true {
                let outcome: RESPRequestParser.Outcome
                do throws(RESPProtocolError) {
                    outcome = try parse(&parser, buffer, limits, isAuthenticated)
                } catch {
                    run.error = error
                    return run
                }
                guard case .command(let consumed) = outcome else { break }
                #expect(consumed > 0 && consumed <= buffer.count)
                let source = parser.isInline ? parser.inline : buffer
                if !parser.arguments.isEmpty { run.commands.append(parser.arguments.map { Array(source[$0]) }) }
                buffer.removeFirst(consumed)
            }
        }
        run.rest = buffer.count
        return run
    }

    private func parse(
        _ parser: inout RESPRequestParser,
        _ bytes: [UInt8],
        _ limits: RESPLimits,
        _ isAuthenticated: Bool
    ) throws(RESPProtocolError) -> RESPRequestParser.Outcome {
        try bytes.withUnsafeBufferPointer { (buffer) throws(RESPProtocolError) in
            try parser.parse(UnsafeRawBufferPointer(buffer), limits: limits, isAuthenticated: isAuthenticated)
        }
    }

    private func run(_ text: String, limits: RESPLimits = RESPLimits(), isAuthenticated: Bool = true) -> Run {
        run([Array(text.utf8)], limits: limits, isAuthenticated: isAuthenticated)
    }

    private func commands(_ text: String) -> [[String]] {
        run(text).commands.map { $0.map { String(decoding: $0, as: UTF8.self) } }
    }

    @Test("RS-01 arrays of bulk strings, one after the other, binary-safe")
    func arrays() {
        #expect(
            commands("*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$5\r\na\r\nb \r\n") == [["PING"], ["GET", "a\r\nb "]]
        )
        #expect(commands("*3\r\n$3\r\nset\r\n$0\r\n\r\n$1\r\n\0\r\n") == [["set", "", "\0"]])
        #expect(commands("*0\r\n*-10\r\n*1\r\n$4\r\nPING\r\n") == [["PING"]])
    }

    @Test("RS-01 inline commands with redis-cli's quoting")
    func inline() {
        #expect(commands("PING\r\nPING\n\r\n\n") == [["PING"], ["PING"]])
        #expect(commands("  set  a\t\"b c\"  \n") == [["set", "a", "b c"]])
        #expect(commands("set \"a\\x41\\n\\t\\\"\\\\\\q\" 'b\\'\\n'\n") == [["set", "aA\n\t\"\\q", "b'\\n"]])
        #expect(commands("set \"\" ''\n") == [["set", "", ""]])
        #expect(commands("set \"\\xzz\"\n") == [["set", "xzz"]])
        #expect(run("set \"a\n").error == .unbalancedQuotes)
        #expect(run("set 'a\n").error == .unbalancedQuotes)
        #expect(run("set \"a\"b\n").error == .unbalancedQuotes)
    }

    @Test("RS-01 what breaks the protocol is named as Redis names it")
    func errors() {
        #expect(run("*x\r\n").error?.text == "ERR Protocol error: invalid multibulk length")
        #expect(run("*2000000000\r\n").error == .invalidMultibulkLength)
        #expect(run("*1\r\n$-5\r\n").error?.text == "ERR Protocol error: invalid bulk length")
        #expect(run("*1\r\n$999999999999\r\n").error == .invalidBulkLength)
        #expect(run("*1\r\nfoo\r\n").error?.text == "ERR Protocol error: expected '$', got 'f'")
        #expect(run("*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n").error == .expectedDollar(UInt8(ascii: "f")))
        #expect(run("*1\r\n\r\n").error?.text == "ERR Protocol error: expected '$', got ' '")
        #expect(run("POST / HTTP/1.1\r\nHost: x\r\n\r\n") == Run(error: .crossProtocol))
        #expect(run("Host: x\r\n").error?.text == nil)
        #expect(run(String(repeating: "a", count: 70_000)).error?.text == "ERR Protocol error: too big inline request")
        #expect(run("*" + String(repeating: "1", count: 70_000)).error == .multibulkTooBig)
        #expect(run("*1\r\n$" + String(repeating: "1", count: 70_000)).error == .invalidBulkLength)
    }

    @Test("RS-01 before AUTH a command has 10 arguments of 16384 bytes at most")
    func unauthenticated() {
        func run(_ text: String) -> Run { self.run(text, limits: .unauthenticated, isAuthenticated: false) }
        #expect(run("*11\r\n").error?.text == "ERR Protocol error: unauthenticated multibulk length")
        #expect(run("*1\r\n$16385\r\n").error?.text == "ERR Protocol error: unauthenticated bulk length")
        #expect(run("*10\r\n$16384\r\n").error == nil)
    }

    @Test("RS-01 nothing is lost or made up, wherever the bytes are split", arguments: 1...8 as ClosedRange<UInt64>)
    func splits(seed: UInt64) {
        var random = Xoshiro256(seed: seed)
        for _ in 0..<400 {
            var expected: [[[UInt8]]] = []
            var bytes: [UInt8] = []
            for _ in 0...random.below(5) {
                let arguments = (0...random.below(4)).map { _ in noise(Int(random.below(40)), &random) }
                expected.append(arguments)
                bytes += Array("*\(arguments.count)\r\n".utf8)
                for argument in arguments { bytes += Array("$\(argument.count)\r\n".utf8) + argument + [13, 10] }
            }
            #expect(run(split(bytes, &random)) == Run(commands: expected))
            #expect(run(bytes.map { [$0] }) == Run(commands: expected))
        }
    }

    @Test(
        "RS-01 random bytes give the same whether they come at once or in pieces",
        arguments: 1...16 as ClosedRange<UInt64>
    )
    func fuzz(seed: UInt64) {
        var random = Xoshiro256(seed: seed)
        var limits = RESPLimits()
        limits.line = 24
        limits.bulk = 40
        limits.arguments = 6
        let phrases = [
            "*1\r\n", "*3\r\n", "$3\r\n", "$0\r\n", "$12\r\n", "\r\n", "abc\r\n", "*", "$", "\"", "'", "\\", "\n", "\r",
            " ", "-1", "99999", "*0\r\n", "POST", "*2\r\n$1\r\na\r\n$2\r\nbc\r\n", "PING\r\n", "\0", "\\x4",
        ].map { Array($0.utf8) }
        for _ in 0..<1500 {
            var bytes: [UInt8] = []
            for _ in 0...random.below(20) {
                bytes +=
                    random.chance(1, in: 6)
                    ? noise(Int(random.below(30)), &random) : phrases[Int(random.below(UInt64(phrases.count)))]
            }
            let isAuthenticated = random.chance(1, in: 2)
            let whole = run([bytes], limits: limits, isAuthenticated: isAuthenticated)
            for pieces in [split(bytes, &random), bytes.map { [$0] }] {
                let again = run(pieces, limits: limits, isAuthenticated: isAuthenticated)
                #expect(again == whole, "\(String(decoding: bytes, as: UTF8.self).debugDescription)")
            }
        }
    }

    private func noise(_ count: Int, _ random: inout Xoshiro256) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private func split(_ bytes: [UInt8], _ random: inout Xoshiro256) -> [[UInt8]] {
        var pieces: [[UInt8]] = []
        var position = 0
        while position < bytes.count {
            let end = min(bytes.count, position + 1 + Int(random.below(12)))
            pieces.append(Array(bytes[position..<end]))
            position = end
        }
        return pieces
    }
}
