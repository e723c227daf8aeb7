/// One validated JSON value, as a place in the buffer that was scanned.
package struct JSONValue: Equatable, Sendable {
    package enum Kind: Sendable {
        case object
        case array
        case string
        case number
        case boolean
        case null
    }

    package let kind: Kind
    /// The whole value; a string's quotes included.
    package let range: Range<Int>
    /// A string with at least one escape, which must be unescaped before it is used.
    package let isEscaped: Bool

    @inlinable init(kind: Kind, range: Range<Int>, isEscaped: Bool = false) {
        self.kind = kind
        self.range = range
        self.isEscaped = isEscaped
    }

    /// The bytes between a string's quotes.
    package var content: Range<Int> { (range.lowerBound + 1)..<(range.upperBound - 1) }
}
