import Primitives
import Testing

@Suite struct GlobTests {
    private func matches(_ pattern: String, _ text: String) -> Bool {
        Glob(Array(pattern.utf8)).matches(Array(text.utf8))
    }

    @Test("RS-05 the patterns of Redis's documentation and stringmatchlen")
    func patterns() {
        let rows: [(String, String, Bool)] = [
            ("*", "", true), ("*", "anything", true), ("", "", true), ("", "a", false), ("h?llo", "hello", true),
            ("h?llo", "hllo", false), ("h*llo", "heeeello", true), ("h*llo", "hllo", true), ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false), ("h[^e]llo", "hallo", true), ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true), ("h[b-a]llo", "hbllo", true), ("h[a-b]llo", "hcllo", false),
            ("h\\*llo", "h*llo", true), ("h\\*llo", "hello", false), ("a\\", "a\\", true), ("\\\\a", "\\a", true),
            ("[\\]]", "]", true), ("[abc", "b", true), ("[abc", "d", false), ("[", "a", false), ("[]", "a", false),
            ("[^]", "a", true), ("[^", "a", true), ("a*b*c", "aXbYbZc", true), ("a*b*c", "aXbYbZ", false),
            ("**", "x", true), ("*a", "aaaa", true), ("*a*", "bbb", false), ("news.*", "news.", true), ("?", "", false),
            ("a?", "a", false), ("*?", "", false), ("*\\?", "a?", true), ("[a-]", "-", false), ("[a-]", "^", true),
            ("[--0]", "/", true),
            ("user:*:name", "user:17:name", true), ("a**b", "ab", true), ("a", "A", false),
        ]
        for (pattern, text, expected) in rows { #expect(matches(pattern, text) == expected, "\(pattern) \(text)") }
    }

    @Test("RS-05 a pattern that would take exponential time takes little")
    func bounded() {
        let text = String(repeating: "a", count: 30_000)
        #expect(!matches(String(repeating: "a*", count: 200) + "b", text))
        #expect(matches(String(repeating: "*a", count: 200) + "*", text))
    }

    /// The plain recursive definition, for short inputs.
    private func slow(_ pattern: ArraySlice<UInt8>, _ text: ArraySlice<UInt8>) -> Bool {
        guard let first = pattern.first else { return text.isEmpty }
        if first == UInt8(ascii: "*") {
            if slow(pattern.dropFirst(), text) { return true }
            return !text.isEmpty && slow(pattern, text.dropFirst())
        }
        guard let byte = text.first, first == byte || first == UInt8(ascii: "?") else { return false }
        return slow(pattern.dropFirst(), text.dropFirst())
    }

    @Test("RS-05 stars and question marks match as their definition says")
    func definition() {
        var random = Xoshiro256(seed: 1)
        let letters = Array("ab*?".utf8)
        for _ in 0..<20_000 {
            let pattern = (0..<random.below(8)).map { _ in letters[Int(random.below(4))] }
            let text = (0..<random.below(8)).map { _ in letters[Int(random.below(2))] }
            #expect(Glob(pattern).matches(text) == slow(pattern[...], text[...]))
        }
    }

    @Test("RS-05 random patterns never trap, and a text whose bytes are all escaped matches itself alone")
    func noise() {
        var random = Xoshiro256(seed: 2)
        let special = Array("[]^-\\*?ab".utf8)
        for _ in 0..<20_000 {
            let pattern = (0..<random.below(12)).map { _ in
                random.chance(4, in: 5) ? special[Int(random.below(9))] : UInt8(truncatingIfNeeded: random.next())
            }
            let text = (0..<random.below(12)).map { _ in special[Int(random.below(9))] }
            #expect(Glob(pattern).matches(text) == Glob([42] + pattern).matches(text) || !Glob(pattern).matches(text))
            let escaped = Glob(text.flatMap { [UInt8(ascii: "\\"), $0] })
            #expect(escaped.matches(text) && !escaped.matches(text + [97]))
        }
    }
}
