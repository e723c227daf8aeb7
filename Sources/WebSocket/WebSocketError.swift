/// Why a peer's frames were refused. Every case ends the connection with `closeCode`.
package enum WebSocketError: Error, Equatable {
    /// RSV1-3 set without a negotiated extension.
    case reservedBits(UInt8)
    case reservedOpcode(UInt8)
    /// A client's frame without a mask (RFC 6455, 5.1).
    case maskRequired
    /// A server's frame with a mask (RFC 6455, 5.1).
    case maskForbidden
    case fragmentedControlFrame
    /// A control frame whose length field is above 125.
    case controlFrameTooLong
    /// The most significant bit of a 64-bit length is set.
    case lengthOutOfRange
    /// A continuation frame while no message is open.
    case unexpectedContinuation
    /// A new message while another one is open.
    case continuationExpected
    /// A frame or a reassembled message above the limit; known from the header, before the payload is read.
    case messageTooBig(length: UInt64, limit: Int)
    /// A text message that is not UTF-8.
    case invalidText
    /// A close payload of exactly one byte.
    case truncatedCloseCode
    case invalidCloseCode(UInt16)
    /// A close reason that is not UTF-8.
    case invalidCloseReason

    /// The code for the close frame that answers this error: 1002, 1007 or 1009.
    package var closeCode: CloseCode {
        switch self {
        case .messageTooBig: .messageTooBig
        case .invalidText, .invalidCloseReason: .invalidPayload
        default: .protocolError
        }
    }

    /// A short reason for the close frame and the log; never contains the peer's bytes.
    package var reason: String {
        switch self {
        case .reservedBits: "reserved bits set"
        case .reservedOpcode: "reserved opcode"
        case .maskRequired: "client frame without mask"
        case .maskForbidden: "server frame with mask"
        case .fragmentedControlFrame: "fragmented control frame"
        case .controlFrameTooLong: "control frame too long"
        case .lengthOutOfRange: "frame length out of range"
        case .unexpectedContinuation: "unexpected continuation frame"
        case .continuationExpected: "continuation frame expected"
        case .messageTooBig: "message too big"
        case .invalidText: "text is not UTF-8"
        case .truncatedCloseCode: "truncated close code"
        case .invalidCloseCode: "invalid close code"
        case .invalidCloseReason: "close reason is not UTF-8"
        }
    }
}
