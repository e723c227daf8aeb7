/// Redis's glob patterns: `*`, `?`, `[a-z]`, `[^…]`, and `\` before a byte that means itself.
///
/// Only the last `*` is ever returned to, so matching takes at most pattern x text steps: no pattern is exponential
/// (CVE-2024-31228 was one that recursed).
/// Source: https://redis.io/docs/latest/commands/keys/ and util.c's stringmatchlen of Redis 7.0.
package struct Glob: Hashable, Sendable {
    package let pattern: [UInt8]

    package init(_ pattern: [UInt8]) { self.pattern = pattern }

    /// The pattern says nothing: it matches everything.
    package var matchesAll: Bool { pattern == [UInt8(ascii: "*")] }

    package func matches(_ text: [UInt8]) -> Bool { text.withUnsafeBytes { walk($0) } }

    package func matches(_ text: some RandomAccessCollection<UInt8>) -> Bool {
        if let result = text.withContiguousStorageIfAvailable({ walk(UnsafeRawBufferPointer($0)) }) { return result }
        return Array(text).withUnsafeBytes { walk($0) }
    }

    private func walk(_ text: UnsafeRawBufferPointer) -> Bool {
        pattern.withUnsafeBytes { pattern in
            var p = 0
            var t = 0
            var starP = -1
            var starT = 0
            while true {
                if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
                    starP = p
                    starT = t
                    p += 1
                    continue
                }
                if t == text.count, p == pattern.count { return true }
                if t < text.count, p < pattern.count, let next = Glob.step(pattern, p, text[t]) {
                    p = next
                    t += 1
                    continue
                }
                guard starP >= 0, starT < text.count else { return false }
                starT += 1
                t = starT
                p = starP + 1
            }
        }
    }

    /// Where the pattern goes on after the element at `p` has taken `byte`; nil when it does not take it.
    private static func step(_ pattern: UnsafeRawBufferPointer, _ p: Int, _ byte: UInt8) -> Int? {
        switch pattern[p] {
        case UInt8(ascii: "?"): return p + 1
        case UInt8(ascii: "["): return classStep(pattern, p + 1, byte)
        case UInt8(ascii: "\\") where p + 1 < pattern.count: return pattern[p + 1] == byte ? p + 2 : nil
        default: return pattern[p] == byte ? p + 1 : nil
        }
    }

    /// A class; one that is never closed ends with the pattern.
    private static func classStep(_ pattern: UnsafeRawBufferPointer, _ start: Int, _ byte: UInt8) -> Int? {
        var p = start
        var isNegated = false
        if p < pattern.count, pattern[p] == UInt8(ascii: "^") {
            isNegated = true
            p += 1
        }
        var isMatch = false
        while p < pattern.count, pattern[p] != UInt8(ascii: "]") {
            if pattern[p] == UInt8(ascii: "\\"), p + 1 < pattern.count {
                p += 1
                if pattern[p] == byte { isMatch = true }
            } else if p + 2 < pattern.count, pattern[p + 1] == UInt8(ascii: "-") {
                let low = min(pattern[p], pattern[p + 2])
                let high = max(pattern[p], pattern[p + 2])
                if byte >= low, byte <= high { isMatch = true }
                p += 2
            } else if pattern[p] == byte {
                isMatch = true
            }
            p += 1
        }
        return isMatch != isNegated ? min(p + 1, pattern.count) : nil
    }
}
