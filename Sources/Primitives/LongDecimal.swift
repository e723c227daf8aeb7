/// A decimal number of many digits, for INCRBYFLOAT and HINCRBYFLOAT: read, added and written without an error in
/// between, so that every replica, on whatever processor, replies the same.
///
/// Redis calculates with C's `long double` and writes 17 decimals. Where that type has 128 bits its replies are these;
/// on x86, with 64 bits of mantissa, Redis shows noise behind numbers above 1000 (1234.56 + 1 =
/// 1235.56000000000000005).
package struct LongDecimal: Equatable, Sendable {
    private var isNegative = false
    /// Without leading zeros; empty for zero.
    private var digits: [UInt8] = []
    /// The power of ten of the last digit.
    private var exponent = 0
    package private(set) var isInfinite = false

    /// The bounds of C's `long double`.
    private static let largest = 4932
    private static let smallest = -4951
    /// Decimals that are written.
    private static let decimals = 17

    /// Nil for what is not a number, and for one too large or too small. No blanks.
    package init?(_ text: some Collection<UInt8>) {
        guard text.count < 5120 else { return nil }
        var rest = text[...]
        if let sign = rest.first, sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+") {
            isNegative = sign == UInt8(ascii: "-")
            rest = rest.dropFirst()
        }
        if rest.count == 3 || rest.count == 8 {
            let word = rest.map { $0 | 32 }
            if word == Array("inf".utf8) || word == Array("infinity".utf8) {
                isInfinite = true
                return
            }
        }
        var hasDigits = false
        var isFraction = false
        while let byte = rest.first {
            if byte == UInt8(ascii: "."), !isFraction {
                isFraction = true
            } else if byte >= 48, byte <= 57 {
                hasDigits = true
                if byte > 48 || !digits.isEmpty { digits.append(byte - 48) }
                if isFraction { exponent -= 1 }
            } else {
                break
            }
            rest = rest.dropFirst()
        }
        guard hasDigits else { return nil }
        if let mark = rest.first {
            guard mark | 32 == UInt8(ascii: "e"), let power = LongDecimal.power(rest.dropFirst()) else { return nil }
            exponent += power
        }
        trim()
        if digits.isEmpty { return }
        let lead = exponent + digits.count - 1
        guard lead <= LongDecimal.largest, lead >= LongDecimal.smallest else { return nil }
    }

    private static func power(_ text: some Collection<UInt8>) -> Int? {
        guard let first = text.first else { return nil }
        let isNegative = first == UInt8(ascii: "-")
        let digits = isNegative || first == UInt8(ascii: "+") ? text.dropFirst() : text[...]
        guard !digits.isEmpty else { return nil }
        var value = 0
        for byte in digits {
            guard byte >= 48, byte <= 57 else { return nil }
            value = min(value * 10 + Int(byte - 48), 100_000)
        }
        return isNegative ? -value : value
    }

    private mutating func trim() {
        while digits.last == 0 {
            digits.removeLast()
            exponent += 1
        }
        let zeros = digits.prefix { $0 == 0 }.count
        digits.removeFirst(zeros)
        if digits.isEmpty {
            exponent = 0
            isNegative = false
        }
    }

    /// Nil when the sum is infinite or not a number.
    package static func sum(_ a: LongDecimal, _ b: LongDecimal) -> LongDecimal? {
        if a.isInfinite || b.isInfinite { return nil }
        let low = min(a.exponent, b.exponent)
        var large = a.aligned(to: low)
        var small = b.aligned(to: low)
        var result = a
        if large.count < small.count || (large.count == small.count && large.lexicographicallyPrecedes(small)) {
            swap(&large, &small)
            result = b
        }
        let isDifference = a.isNegative != b.isNegative
        var carry = 0
        for distance in 1...max(1, large.count) where distance <= large.count {
            let position = large.count - distance
            let other = distance <= small.count ? Int(small[small.count - distance]) : 0
            let digit = Int(large[position]) + (isDifference ? -other : other) + carry
            carry = digit < 0 ? -1 : digit / 10
            large[position] = UInt8(digit < 0 ? digit + 10 : digit % 10)
        }
        if carry > 0 { large.insert(UInt8(carry), at: 0) }
        result.digits = large
        result.exponent = low
        result.trim()
        return result.exponent + result.digits.count - 1 > largest ? nil : result
    }

    private func aligned(to low: Int) -> [UInt8] {
        digits.isEmpty ? [] : digits + Array(repeating: 0, count: exponent - low)
    }

    /// At most 17 decimals, rounded to the nearest (a half: to the even one); no exponent, no trailing zeros.
    package var text: [UInt8] {
        if isInfinite { return Array((isNegative ? "-inf" : "inf").utf8) }
        var number = self
        number.round()
        if number.digits.isEmpty { return [48] }
        var text: [UInt8] = number.isNegative ? [UInt8(ascii: "-")] : []
        let digits = number.digits.map { $0 + 48 }
        if number.exponent >= 0 {
            return text + digits + Array(repeating: 48, count: number.exponent)
        }
        let whole = digits.count + number.exponent
        if whole > 0 {
            text += digits[..<whole]
        } else {
            text.append(48)
        }
        text.append(UInt8(ascii: "."))
        if whole < 0 { text += Array(repeating: 48, count: -whole) }
        return text + digits[max(0, whole)...]
    }

    private mutating func round() {
        let excess = -LongDecimal.decimals - exponent
        guard excess > 0 else { return }
        guard excess <= digits.count else {
            digits = []
            return trim()
        }
        let cut = digits.count - excess
        let dropped = digits[cut...]
        let isOdd = cut > 0 && digits[cut - 1] % 2 == 1
        let isUp = dropped[cut] > 5 || (dropped[cut] == 5 && (isOdd || dropped.dropFirst().contains { $0 > 0 }))
        digits.removeSubrange(cut...)
        exponent = -LongDecimal.decimals
        if isUp {
            var position = digits.count - 1
            while position >= 0, digits[position] == 9 {
                digits[position] = 0
                position -= 1
            }
            if position >= 0 { digits[position] += 1 } else { digits.insert(1, at: 0) }
        }
        trim()
    }
}
