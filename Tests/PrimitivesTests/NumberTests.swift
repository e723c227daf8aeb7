import Primitives
import Testing

@Suite struct DecimalTests {
    private func integer(_ text: String) -> Int64? { Decimal.integer(Array(text.utf8)) }
    private func double(_ text: String) -> Double? { Decimal.double(Array(text.utf8)) }

    @Test("RS-11 an integer has nothing around it: no blanks, no plus, no leading zeros, no negative zero")
    func integers() {
        for value in [0, 1, -1, 9, 10, 99, 12345, Int64.max, Int64.min, Int64.max - 1, Int64.min + 1] {
            #expect(integer(String(value)) == value)
            #expect(Decimal.bytes(of: value) == Array(String(value).utf8))
        }
        for text in [
            "", " 1", "1 ", "+1", "01", "-0", "-", "--1", "1.0", "0x1", "1e3", "9223372036854775808",
            "-9223372036854775809", "99999999999999999999", "100000000000000000000", "1\0",
        ] {
            #expect(integer(text) == nil, "\(text)")
        }
        var random = Xoshiro256(seed: 1)
        for _ in 0..<10_000 {
            let value = Int64(truncatingIfNeeded: random.next()) >> Int64(random.below(64))
            #expect(integer(String(value)) == value && Decimal.bytes(of: value) == Array(String(value).utf8))
        }
    }

    @Test("RS-11 a double is what strtod takes, without blanks, NaN and what no double can hold")
    func doubles() {
        let good: [(String, Double)] = [
            ("1", 1), ("-1.5", -1.5), ("+2", 2), (".5", 0.5), ("5.", 5), ("1e3", 1000), ("1E-3", 0.001), ("0x10", 16),
            ("inf", .infinity), ("-INF", -.infinity), ("+Infinity", .infinity), ("0", 0), ("0e-999", 0), ("-0.0", 0),
            ("17976931348623157e292", 1.797_693_134_862_315_7e308),
        ]
        for (text, value) in good { #expect(double(text) == value, "\(text)") }
        for text in ["", " 1", "1 ", "abc", "nan", "1e400", "-1e400", "1e-400", "1,5", "--1", "1\0", "e5", ".", "1e"] {
            #expect(double(text) == nil, "\(text)")
        }
    }

    @Test("RS-12 the shortest text that reads back as the same double, in the form of %.17g")
    func text() {
        let rows: [(Double, String)] = [
            (0, "0"), (-0.0, "-0"), (3, "3"), (-17, "-17"), (0.1, "0.1"), (0.3, "0.3"), (3.14, "3.14"),
            (1_795_220_306.374_104_5, "1795220306.3741045"), (1e15, "1000000000000000"), (1e16, "10000000000000000"),
            (1e17, "1e+17"), (1.5e20, "1.5e+20"), (1e100, "1e+100"),
            (1.234_567_890_123_456_8e20, "1.2345678901234568e+20"),
            (0.0001, "0.0001"), (0.00001, "1e-05"), (0.000012345, "1.2345e-05"), (1e-300, "1e-300"),
            (.leastNonzeroMagnitude, "5e-324"), (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (-2.5, "-2.5"), (.infinity, "inf"), (-.infinity, "-inf"), (.nan, "nan"), (100.25, "100.25"),
            (0.001234, "0.001234"),
        ]
        for (value, text) in rows { #expect(Decimal.text(of: value) == text) }
        var random = Xoshiro256(seed: 2)
        for _ in 0..<20_000 {
            let value = Double(bitPattern: random.next())
            guard value.isFinite else { continue }
            #expect(double(Decimal.text(of: value)) == value)
        }
    }
}

@Suite struct LongDecimalTests {
    private func sum(_ a: String, _ b: String) -> String? {
        guard let a = LongDecimal(Array(a.utf8)), let b = LongDecimal(Array(b.utf8)) else { return "not a number" }
        return LongDecimal.sum(a, b).map { String(decoding: $0.text, as: UTF8.self) }
    }

    @Test("RS-11 sums of decimals are exact, with 17 decimals at most")
    func sums() {
        #expect(sum("0.1", "0.2") == "0.3")
        #expect(sum("10.50", "0.1") == "10.6")
        #expect(sum("5.0e3", "2.0e2") == "5200")
        #expect(sum("1234.56", "1") == "1235.56")
        #expect(sum("1", "-1.1") == "-0.1")
        #expect(sum("-1.5", "1.5") == "0")
        #expect(sum("999.99", "0.01") == "1000")
        #expect(sum("1000", "-0.001") == "999.999")
        #expect(sum("0", "0") == "0")
        #expect(sum("-0", "-0.0") == "0")
        #expect(sum("17179869184", "17179869184") == "34359738368")
        #expect(sum("1e-17", "0") == "0.00000000000000001")
        #expect(sum("4e-18", "0") == "0")
        #expect(sum("5e-18", "0") == "0")
        #expect(sum("15e-18", "0") == "0.00000000000000002")
        #expect(sum("0.999999999999999996", "0") == "1")
        #expect(sum("1e4932", "-1e4932") == "0")
        #expect(sum("9e4932", "1e4932") == nil)
        #expect(sum("inf", "1") == nil)
        #expect(sum("-Infinity", "inf") == nil)
        #expect(sum("1e30", "0.5") == "1" + String(repeating: "0", count: 30) + ".5")
        #expect(sum("+.5", "5.") == "5.5")
    }

    @Test("RS-11 what is no decimal number is refused")
    func refused() {
        for text in ["", " 1", "1 ", "abc", "nan", "1e", "e1", ".", "-", "1e5000", "1e-5000", "1.2.3", "1\0", "0x10"] {
            #expect(LongDecimal(Array(text.utf8)) == nil, "\(text)")
        }
        #expect(LongDecimal(Array(repeating: 49, count: 6000)) == nil)
    }

    @Test("RS-11 sums of scaled integers agree with integer arithmetic")
    func random() {
        var random = Xoshiro256(seed: 3)
        for _ in 0..<20_000 {
            let scale = Int(random.below(12))
            let a = Int64(truncatingIfNeeded: random.next()) >> Int64(2 + random.below(60))
            let b = Int64(truncatingIfNeeded: random.next()) >> Int64(2 + random.below(60))
            let expected = sum("\(a + b)e-\(scale)", "0")
            #expect(sum("\(a)e-\(scale)", "\(b)e-\(scale)") == expected)
            if scale == 0 { #expect(expected == String(a + b)) }
        }
    }
}
