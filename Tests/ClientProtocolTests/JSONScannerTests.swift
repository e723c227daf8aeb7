import Primitives
import Testing

@testable import ClientProtocol

@Suite("JSON scanner (RFC 8259)")
struct JSONScannerTests {
    @Test(
        "valid documents are accepted",
        arguments: [
            "null", "true", "false", "0", "-0", "1", "-1", "123456789", "0.1", "1.0e5", "1E+2", "1e-2", "-0.0E0",
            "\"\"", "\"a\"",
            " 1 ", "\t\r\n[ ]\n", "[]", "{}", "[[]]", "{\"a\":{}}", "[1,2,3]", "[ 1 , \"a\" , null ]",
            "{\"a\":1,\"b\":[true,{}]}",
            "{\"\":0}", "{\"a\":1,\"a\":2}", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0041\\u00e9\\u2603\"",
            "\"\\uD83D\\uDE00\"",
            "\"\\u0000\"", "\"é☃😀\"", "\"\u{7F}\"", "\"\u{2028}\"", "\"\\uFFFF\"", "[\"a\",[[[]]],{\"b\":{\"c\":[]}}]",
            "12345678901234567890123", "1e999", "\"12345678\"", "\"1234567\\n\"", "[\"\",\"\"]",
        ]
    )
    func valid(text: String) throws {
        let bytes = ascii(text)
        let value = try validate(bytes)
        #expect(string(bytes[value.range]) == text.trimmedASCII)
    }

    @Test(
        "SE-07 invalid documents are refused",
        arguments: [
            "", " ", "nul", "nulll", "True", "tru", "NaN", "Infinity", "-", "+1", "01", "-01", "1.", ".1", "1.e1", "1e",
            "1e+", "0x1",
            "1 2", "1,", "1a", "1.5.5", "--1", "0e", "00", "-a", "2.", "1e1.5", "\"", "\"a", "\"\\", "\"\\\"",
            "\"\\x\"", "\"\\u\"",
            "\"\\u12\"", "\"\\u123g\"", "\"\\u123", "\"\\uD800\"", "\"\\uDC00\"", "\"\\uD800\\u0041\"",
            "\"\\uD800\\uD800\"",
            "\"\\uD83D\\uDE0\"", "\"\\uD83D\\", "\"\\uD83D\"", "\"\\'\"", "'a'", "\"a\nb\"", "\"\t\"", "\"\u{0}\"",
            "\"\u{1F}\"",
            "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1:2]", "[1}", "{", "}", "{\"a\"", "{\"a\":", "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}", "{,}", "{\"a\" 1}", "{\"a\":1 \"b\":2}", "{a:1}", "{1:1}", "{null:1}", "{\"a\":1]",
            "{\"a\",\"b\"}", "{]",
            "[}", "{\"a\"::1}", "{}{}", "[][]", "1[]", "// x\n1", "/* */1", "[1]//", "\u{FEFF}1", "\u{A0}1", "\u{0B}1",
            "\u{0C}1",
            "*", "[\"a\",\n4\n,1,", "[a", "{\"a\":/*c*/1}",
        ]
    )
    func invalid(text: String) {
        #expect(!isValid(text), "\(text.debugDescription)")
    }

    @Test("SE-07 strings must be UTF-8, and the scanner agrees with the standard library on what that is")
    func utf8() {
        func check(_ inner: [UInt8]) {
            let expected = String(validating: inner, as: UTF8.self) != nil
            #expect(((try? validate([0x22] + inner + [0x22])) != nil) == expected, "\(inner)")
        }
        for a in UInt8(0x80)...0xFF { for b in UInt8(0x7E)...0xFF { check([a, b]) } }
        let edges: [UInt8] = [0x20, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xED, 0xFF]
        for lead in UInt8(0xE0)...0xFF {
            for b in edges { for c in edges { for d in edges { check([lead, b, c, d]) } } }
        }
        for pad in 0...17 {
            check([UInt8](repeating: 0x41, count: pad) + ascii("é☃😀") + [UInt8](repeating: 0x42, count: pad))
            check([UInt8](repeating: 0x41, count: pad) + [0xE2, 0x98])
        }
        #expect((try? validate([0xFF])) == nil)
        #expect((try? validate(ascii("[1,") + [0x80] + ascii("]"))) == nil)
    }

    @Test("every special byte is found at every place of a string")
    func specialBytes() {
        for length in 0...20 {
            for place in 0...length {
                for byte in UInt8(0)...0x7F {
                    var inner = [UInt8](repeating: 0x61, count: length)
                    inner.insert(byte, at: place)
                    let expected = byte >= 0x20 && byte != 0x22 && byte != 0x5C
                    let isWhole = (try? validate([0x22] + inner + [0x22]))?.range.count == length + 3
                    // An escape may happen to be valid: `\a` never is, but `\` before the quote eats it.
                    #expect(isWhole == expected, "\(byte) at \(place) of \(length)")
                }
            }
        }
    }

    @Test("SE-07 nesting is bounded and costs no stack")
    func depth() {
        func nested(_ count: Int) -> [UInt8] {
            [UInt8](repeating: 0x5B, count: count) + [UInt8](repeating: 0x5D, count: count)
        }
        #expect((try? validate(nested(64))) != nil)
        #expect(throws: JSONError(.tooDeep, at: 64)) { try validate(nested(65)) }
        #expect(throws: JSONError(.tooDeep, at: 64)) { try validate([UInt8](repeating: 0x5B, count: 1_000_000)) }
        #expect(throws: JSONError(.tooDeep, at: 2)) { try validate(nested(3), depthLimit: 2) }
        let objects = String(repeating: "{\"a\":", count: 64) + "1" + String(repeating: "}", count: 64)
        #expect(isValid(objects))
        #expect(!isValid("[" + objects + "]"))
        // Siblings do not add up.
        #expect(isValid("[" + (0..<200).map { _ in "[[]]" }.joined(separator: ",") + "]"))
    }

    @Test("objects and arrays are read member by member")
    func members() throws {
        let bytes = ascii("{\"a\" : 1 ,\"b\":[ 1, [2] ,{}],\"c\":{\"d\":\"x\\ny\"}}")
        try bytes.withUnsafeBytes { raw in
            var scanner = JSONScanner(raw)
            var names: [String] = []
            try scanner.enterObject()
            while let name = try scanner.nextMember() {
                names.append(string(scanner.text(name)))
                switch names.last {
                case "a":
                    let value = try scanner.value()
                    #expect(scanner.unsigned(value) == 1)
                case "b":
                    var kinds: [JSONValue.Kind] = []
                    try scanner.enterArray()
                    while try scanner.nextElement() { kinds.append(try scanner.value().kind) }
                    #expect(kinds == [.number, .array, .object])
                default:
                    try scanner.enterObject()
                    _ = try #require(try scanner.nextMember())
                    let value = try scanner.value()
                    #expect(scanner.isText(value, "x\ny") && !scanner.isText(value, "x"))
                    #expect(try scanner.nextMember() == nil)
                }
            }
            try scanner.expectEnd()
            #expect(names == ["a", "b", "c"])
        }
    }

    @Test("numbers and booleans are read exactly or not at all")
    func numbers() throws {
        func unsigned(_ text: String) throws -> UInt64? {
            let bytes = ascii(text)
            return try bytes.withUnsafeBytes { JSONScanner($0).unsigned(try JSONScanner.validate($0)) }
        }
        func signed(_ text: String) throws -> Int64? {
            let bytes = ascii(text)
            return try bytes.withUnsafeBytes { JSONScanner($0).signed(try JSONScanner.validate($0)) }
        }
        #expect(try unsigned("18446744073709551615") == .max)
        #expect(try unsigned("0") == 0)
        for text in ["18446744073709551616", "99999999999999999999999", "-1", "1.0", "1e3", "\"1\"", "true"] {
            #expect(try unsigned(text) == nil, "\(text)")
        }
        #expect(try signed("-9223372036854775807") == -.max)
        #expect(try signed("9223372036854775807") == .max)
        #expect(try signed("-1") == -1)
        for text in ["9223372036854775808", "-9223372036854775809", "-1.5", "null"] { #expect(try signed(text) == nil) }
    }

    @Test("strings are unescaped")
    func unescape() throws {
        let bytes = ascii(#""a\"\\\/\b\f\n\r\t\u0041\u00e9\u2603\uD83D\uDE00é""#)
        let text = try bytes.withUnsafeBytes { JSONScanner($0).text(try JSONScanner.validate($0)) }
        #expect(string(text) == "a\"\\/\u{8}\u{C}\n\r\tAé☃😀é")
    }

    @Test("SE-07 written strings are read back, whatever their bytes")
    func writer() throws {
        func roundTrip(_ bytes: [UInt8]) throws -> [UInt8] {
            var out: [UInt8] = []
            JSONWriter.append(text: bytes[...], to: &out)
            return try out.withUnsafeBytes { JSONScanner($0).text(try JSONScanner.validate($0)) }
        }
        for byte in UInt8(0)...0x7F { #expect(try roundTrip([0x61, byte, 0x62]) == [0x61, byte, 0x62]) }
        #expect(try roundTrip(ascii("é☃😀\"\\\n")) == ascii("é☃😀\"\\\n"))
        #expect(try roundTrip([0x61, 0xFF, 0x62, 0xE2, 0x98]) == ascii("a\u{FFFD}b\u{FFFD}\u{FFFD}"))
        var random = Xoshiro256(seed: 3)
        for _ in 0..<2000 {
            let bytes = (0..<random.below(30)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            let back = try roundTrip(bytes)
            if String(validating: bytes, as: UTF8.self) != nil { #expect(back == bytes) }
        }
        #expect(encoded { JSONWriter.append(text: "a\u{1}\u{1F}\"", to: &$0) } == #""a\u0001\u001f\"""#)
        for number in [0, 7, 10, 65535, UInt64.max] {
            #expect(encoded { JSONWriter.append(number: number, to: &$0) } == String(number))
        }
        #expect(encoded { JSONWriter.append(value: slice("{\n\"a\":\r\n1}"), to: &$0) } == "{ \"a\":  1}")
    }

    @Test("every line break of a value is found, wherever it stands")
    func lineBreaks() {
        for length in 0...20 {
            for place in 0...length {
                for byte in UInt8(0)...0xFF {
                    var bytes = [UInt8](repeating: 0x61, count: length)
                    bytes.insert(byte, at: place)
                    let expected = byte == 0x0A || byte == 0x0D ? place : bytes.count
                    #expect(bytes.withUnsafeBytes { JSONText.firstLineBreak(in: $0, from: 0) } == expected)
                }
            }
        }
        #expect(encoded { JSONWriter.append(value: slice("[\r\n\n1,\r2\n]"), to: &$0) } == "[   1, 2 ]")
    }

    @Test("base64 and epochs are read back and nothing else is accepted")
    func smallTexts() {
        let vectors = [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy"),
        ]
        for (plain, text) in vectors {
            var out: [UInt8] = []
            Base64Text.append(slice(plain), to: &out)
            #expect(string(out) == text)
            #expect(Base64Text.decode(slice(text)) == ascii(plain))
        }
        for bad in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 9", "Zm9_"] {
            #expect(Base64Text.decode(slice(bad)) == nil, "\(bad)")
        }
        for epoch in [0, 1, 15, 16, 0xABC, 0x1000, UInt64.max, 1 << 60] {
            var out: [UInt8] = []
            EpochText.append(epoch, to: &out)
            #expect(string(out) == String(epoch, radix: 16))
            #expect(EpochText.parse(out[...]) == epoch)
        }
        for bad in ["", "00", "01", "A", "g", "11112222333344445", "-1"] { #expect(EpochText.parse(slice(bad)) == nil) }
    }

    @Test("SE-07 mutated documents never trap, and what is accepted is one whole value")
    func fuzz() {
        let seeds = [
            #"{"id":1,"publish":{"channel":"a","data":{"x":[1,2.5e3,"é\u00e9\uD83D\uDE00",null,true]},"#
                + #""tags":{"a":"b"}}}"#,
            #"[[[{"a":[]}]],-0.5,"\\\"",{}]"#,
        ].map(ascii)
        let interesting = ascii("{}[]\",:\\u0-e.\n ") + [0, 0x1F, 0x7F, 0x80, 0xC0, 0xE2, 0xF0, 0xFF]
        var random = Xoshiro256(seed: 17)
        var accepted = 0
        for round in 0..<20_000 {
            var bytes = seeds[round % seeds.count]
            for _ in 0...random.below(3) where !bytes.isEmpty {
                let index = Int(random.below(UInt64(bytes.count)))
                switch random.below(4) {
                case 0: bytes[index] = interesting[Int(random.below(UInt64(interesting.count)))]
                case 1: bytes.remove(at: index)
                case 2: bytes.insert(interesting[Int(random.below(UInt64(interesting.count)))], at: index)
                default: bytes.removeLast(index)
                }
            }
            guard let value = try? validate(bytes) else { continue }
            accepted += 1
            #expect(String(validating: bytes, as: UTF8.self) != nil)
            #expect(value.range.lowerBound >= 0 && value.range.upperBound <= bytes.count)
            // What is valid stays valid when it is re-emitted.
            _ = encoded { JSONWriter.append(value: bytes[value.range], to: &$0) }
        }
        #expect(accepted > 100)
    }
}

extension String {
    fileprivate var trimmedASCII: String {
        let blank: [UInt8] = [0x20, 0x09, 0x0A, 0x0D]
        let bytes = Array(utf8)
        guard let first = bytes.firstIndex(where: { !blank.contains($0) }),
            let last = bytes.lastIndex(where: { !blank.contains($0) })
        else { return "" }
        return String(decoding: bytes[first...last], as: UTF8.self)
    }
}
