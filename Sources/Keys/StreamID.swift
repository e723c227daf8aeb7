import Primitives
import RESP

/// The name of a stream's entry: milliseconds and a sequence, ordered as a number of 128 bits.
package struct StreamID: Hashable, Comparable, Sendable {
    package var ms: UInt64
    package var seq: UInt64

    package init(_ ms: UInt64, _ seq: UInt64) {
        self.ms = ms
        self.seq = seq
    }

    package static let zero = StreamID(0, 0)
    package static let max = StreamID(.max, .max)

    package static func < (a: StreamID, b: StreamID) -> Bool { a.ms != b.ms ? a.ms < b.ms : a.seq < b.seq }

    /// The next greater one; nil after the last.
    var next: StreamID? {
        if seq < .max { return StreamID(ms, seq + 1) }
        return ms < .max ? StreamID(ms + 1, 0) : nil
    }

    /// The next smaller one; nil before the first.
    var previous: StreamID? {
        if seq > 0 { return StreamID(ms, seq - 1) }
        return ms > 0 ? StreamID(ms - 1, .max) : nil
    }

    // MARK: Text

    /// An ID as clients write it: `ms-seq`, or `ms` alone, to which `missingSequence` is added.
    init?(_ text: some Collection<UInt8>, missingSequence: UInt64 = 0) {
        guard text.count < 128 else { return nil }
        guard let dash = text.firstIndex(of: UInt8(ascii: "-")) else {
            guard let ms = StreamID.number(text) else { return nil }
            self.init(ms, missingSequence)
            return
        }
        guard let ms = StreamID.number(text[..<dash]),
            let seq = StreamID.number(text[text.index(after: dash)...])
        else { return nil }
        self.init(ms, seq)
    }

    /// A number as Redis's string2ull takes it: what strtoull reads, with blanks, a sign and zeros in front, but no
    /// negative number of 64 bits.
    static func number(_ text: some Collection<UInt8>) -> UInt64? {
        var rest = text.drop { $0 == 32 || ($0 >= 9 && $0 <= 13) }
        let isNegative = rest.first == UInt8(ascii: "-")
        if isNegative || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
        guard !rest.isEmpty else { return nil }
        var value: UInt64 = 0
        for byte in rest {
            guard byte >= 48, byte <= 57 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(byte - 48))
            if overflow || carry { return nil }
            value = sum
        }
        guard isNegative else { return value }
        return Decimal.integer(Array(text)) == nil ? 0 &- value : nil
    }

    var text: String { "\(ms)-\(seq)" }
}

extension RESPWriter {
    /// An ID as a bulk string.
    mutating func bulk(_ id: StreamID) {
        let length = RESPWriter.digits(id.ms) + RESPWriter.digits(id.seq) + 1
        bytes.append(UInt8(ascii: "$"))
        append(UInt64(length))
        raw("\r\n")
        append(id.ms)
        bytes.append(UInt8(ascii: "-"))
        append(id.seq)
        raw("\r\n")
    }

    private static func digits(_ value: UInt64) -> Int {
        var count = 1
        var rest = value
        while rest >= 10 {
            rest /= 10
            count += 1
        }
        return count
    }

    private mutating func append(_ value: UInt64) {
        if let small = Int64(exactly: value) { return Decimal.append(small, to: &bytes) }
        bytes.append(contentsOf: String(value).utf8)
    }
}
