import Glibc

/// Points of time for readers.
enum TimeText {
    /// `08:31:02.417` UTC from milliseconds since 1970.
    static func utc(_ milliseconds: UInt64) -> String {
        let seconds = milliseconds / 1000 % 86_400
        func two(_ number: UInt64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let fraction = String(milliseconds % 1000 + 1000).dropFirst()
        return "\(two(seconds / 3600)):\(two(seconds / 60 % 60)):\(two(seconds % 60)).\(fraction)"
    }
}
