/// One complete message or control frame that `FrameParser` found.
package struct FrameEvent: Equatable, Sendable {
    package enum Kind: Sendable {
        /// Valid UTF-8.
        case text
        case binary
        case ping
        case pong
        case close
    }

    package let kind: Kind
    /// Where the unmasked payload lies in the buffer that was parsed; for a close frame, its reason. Not meaningful
    /// when `assembled` is set.
    package let range: Range<Int>
    /// The payload of a message that came in several fragments.
    package let assembled: [UInt8]?
    /// The code of a close frame; nil when it had none (to be counted as 1005).
    package let closeCode: CloseCode?

    @inlinable init(kind: Kind, range: Range<Int>, assembled: [UInt8]? = nil, closeCode: CloseCode? = nil) {
        self.kind = kind
        self.range = range
        self.assembled = assembled
        self.closeCode = closeCode
    }

    /// The payload's length in bytes.
    @inlinable package var count: Int { assembled?.count ?? range.count }

    /// Lends the payload. `buffer` is the one that was handed to `FrameParser.next`, not yet moved or refilled.
    @inlinable package func withPayload<Result>(
        in buffer: UnsafeMutableRawBufferPointer,
        _ body: (UnsafeRawBufferPointer) throws -> Result
    ) rethrows -> Result {
        guard let assembled else { return try body(UnsafeRawBufferPointer(rebasing: buffer[range])) }
        return try assembled.withUnsafeBytes(body)
    }

    /// The payload in an array of its own; a reassembled one is handed over without a copy.
    package func payload(in buffer: UnsafeMutableRawBufferPointer) -> [UInt8] {
        assembled ?? [UInt8](buffer[range])
    }
}
