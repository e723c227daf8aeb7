/// Finds the end of an HTTP/1.1 head in bytes that arrive piecemeal. Each byte is looked at once, however small the
/// reads are, and a byte that no head may hold (a TLS hello on a plain port, say) is refused where it stands.
struct HTTPHeadScanner: Sendable {
    let byteLimit: Int
    private var scanned = 0
    private var hasFirstLine = false

    init(byteLimit: Int) { self.byteLimit = byteLimit }

    /// The length of the head including its empty line, or nil when it is not complete. `buffer` begins with the head
    /// and holds at least what it held at the last call.
    mutating func end(in buffer: UnsafeRawBufferPointer) throws(HTTPError) -> Int? {
        let end = min(buffer.count, byteLimit)
        while scanned < end {
            let byte = buffer[scanned]
            if scanned > 0, buffer[scanned - 1] == Octet.carriageReturn, byte != Octet.lineFeed {
                throw .bareLineBreak
            }
            if byte == Octet.lineFeed {
                guard scanned > 0, buffer[scanned - 1] == Octet.carriageReturn else { throw .bareLineBreak }
                guard scanned > 1 else { throw .malformedStartLine }
                scanned += 1
                if hasFirstLine, buffer[scanned - 3] == Octet.lineFeed { return scanned }
                hasFirstLine = true
                continue
            }
            let isAllowed = byte >= 0x20 ? byte != 0x7F : byte == 0x09 || byte == Octet.carriageReturn
            guard isAllowed else { throw .controlCharacter }
            scanned += 1
        }
        guard buffer.count < byteLimit else {
            throw hasFirstLine ? .headTooLarge(limit: byteLimit) : .targetTooLong(limit: byteLimit)
        }
        return nil
    }
}
