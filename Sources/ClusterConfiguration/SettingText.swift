import Primitives

/// The textual forms of a duration (`"250ms"`, `"5s"`, `"24h"`), a size (`"64KiB"`, `"1MiB"`) and a string.
package enum SettingText {
    private static let durationUnits: [(suffix: String, nanoseconds: UInt64)] = [
        ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000),
        ("ms", 1_000_000), ("us", 1000),
    ]

    private static let sizeUnits: [(suffix: String, bytes: Int)] = [
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1),
    ]

    /// `"5s"`, `"100ms"`, `"24h"`; `"0"` and `"0s"` are zero. Nil for anything else, fractions and overflow included.
    package static func duration(_ text: String) -> Interval? {
        guard let (number, suffix) = split(text) else { return nil }
        if suffix.isEmpty { return number == 0 ? .zero : nil }
        for unit in durationUnits where unit.suffix == suffix {
            let (product, overflow) = UInt64(number).multipliedReportingOverflow(by: unit.nanoseconds)
            return overflow ? nil : Interval(nanoseconds: product)
        }
        return nil
    }

    /// The shortest exact form, e.g. `90s` rather than `1.5m`.
    package static func duration(_ interval: Interval) -> String {
        if interval == .zero { return "0s" }
        for unit in durationUnits where interval.nanoseconds % unit.nanoseconds == 0 {
            return "\(interval.nanoseconds / unit.nanoseconds)\(unit.suffix)"
        }
        return "\(interval.nanoseconds / 1000)us"
    }

    /// `"64KiB"`, `"1MiB"`, `"512B"`, `"512"`. Nil for anything else; `KB` and `MB` are refused, being ambiguous.
    package static func size(_ text: String) -> Int? {
        guard let (number, suffix) = split(text) else { return nil }
        if suffix.isEmpty { return number }
        for unit in sizeUnits where unit.suffix == suffix {
            let (product, overflow) = number.multipliedReportingOverflow(by: unit.bytes)
            return overflow ? nil : product
        }
        return nil
    }

    /// The shortest exact form.
    package static func size(_ bytes: Int) -> String {
        if bytes == 0 { return "0" }
        for unit in sizeUnits where bytes % unit.bytes == 0 { return "\(bytes / unit.bytes)\(unit.suffix)" }
        return "\(bytes)B"
    }

    /// A TOML basic string.
    package static func quote(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            default:
                if scalar.value < 0x20 || scalar.value == 0x7f {
                    let hex = String(scalar.value, radix: 16)
                    quoted += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                } else {
                    quoted.unicodeScalars.append(scalar)
                }
            }
        }
        return quoted + "\""
    }

    private static func split(_ text: String) -> (number: Int, suffix: String)? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard !digits.isEmpty, let number = Int(digits) else { return nil }
        return (number, String(text[digits.endIndex...].drop { $0 == " " }))
    }
}
