import Primitives

/// A range of scores, `5 (7` or `-inf +inf`: a bound with a parenthesis does not belong to it.
struct ScoreRange {
    private var min: Double
    private var max: Double
    private var excludesMin: Bool
    private var excludesMax: Bool

    init(_ min: [UInt8], _ max: [UInt8]) throws(CommandError) {
        (self.min, excludesMin) = try ScoreRange.bound(min)
        (self.max, excludesMax) = try ScoreRange.bound(max)
    }

    /// Reads as strtod does, in places where Redis does not check more: blanks in front, numbers out of range, and
    /// nothing at all for 0.
    private static func bound(_ text: [UInt8]) throws(CommandError) -> (Double, Bool) {
        let excludes = text.first == UInt8(ascii: "(")
        let number = text.dropFirst(excludes ? 1 : 0)
        if number.isEmpty { return (0, excludes) }
        let trimmed = number.drop { $0 == 32 || ($0 >= 9 && $0 <= 13) }
        guard trimmed.count <= 512, let value = Double(String(decoding: trimmed, as: UTF8.self)), !value.isNaN else {
            throw .message("ERR min or max is not a float")
        }
        return (value, excludes)
    }

    func ranks(in rows: SortedRows) -> Range<Int> {
        let low = rows.rank { excludesMin ? $0.score <= min : $0.score < min }
        let high = rows.rank { excludesMax ? $0.score < max : $0.score <= max }
        return low..<Swift.max(low, high)
    }
}

/// A range of members that have the same score: `[a (c`, `- +`.
struct LexRange {
    private enum Bound {
        case first
        case last
        case including([UInt8])
        case excluding([UInt8])
    }

    private var min: Bound
    private var max: Bound

    init(_ min: [UInt8], _ max: [UInt8]) throws(CommandError) {
        self.min = try LexRange.bound(min)
        self.max = try LexRange.bound(max)
    }

    private static func bound(_ text: [UInt8]) throws(CommandError) -> Bound {
        switch text.first {
        case UInt8(ascii: "-") where text.count == 1: return .first
        case UInt8(ascii: "+") where text.count == 1: return .last
        case UInt8(ascii: "["): return .including(Array(text.dropFirst()))
        case UInt8(ascii: "("): return .excluding(Array(text.dropFirst()))
        default: throw .message("ERR min or max not valid string range item")
        }
    }

    func ranks(in rows: SortedRows) -> Range<Int> {
        let low =
            switch min {
            case .first: 0
            case .last: rows.count
            case .including(let text): rows.rank { SortedRows.precedes($0.member, text) }
            case .excluding(let text): rows.rank { !SortedRows.precedes(text, $0.member) }
            }
        let high =
            switch max {
            case .first: 0
            case .last: rows.count
            case .including(let text): rows.rank { !SortedRows.precedes(text, $0.member) }
            case .excluding(let text): rows.rank { SortedRows.precedes($0.member, text) }
            }
        return low..<Swift.max(low, high)
    }
}

/// From one rank to another, both included; negative ones count from the end.
struct RankRange {
    var start: Int64
    var stop: Int64

    func ranks(in rows: SortedRows) -> Range<Int> {
        let count = Int64(rows.count)
        let low = start < 0 ? Swift.max(0, start + count) : start
        let high = stop < 0 ? stop + count : Swift.min(stop, count - 1)
        guard low <= high, low < count else { return 0..<0 }
        return Int(low)..<(Int(high) + 1)
    }
}

/// What a command means by a part of a sorted set.
enum SortedSetRange {
    case rank(RankRange)
    case score(ScoreRange)
    case lex(LexRange)

    enum Kind {
        case rank
        case score
        case lex
    }

    init(_ kind: Kind, _ call: Call, min: Int, max: Int) throws(CommandError) {
        switch kind {
        case .rank: self = .rank(RankRange(start: try call.integer(min), stop: try call.integer(max)))
        case .score: self = .score(try ScoreRange(call[min], call[max]))
        case .lex: self = .lex(try LexRange(call[min], call[max]))
        }
    }

    func ranks(in rows: SortedRows) -> Range<Int> {
        switch self {
        case .rank(let range): range.ranks(in: rows)
        case .score(let range): range.ranks(in: rows)
        case .lex(let range): range.ranks(in: rows)
        }
    }
}
