import Primitives

/// A position in a room's history. The epoch names the incarnation of the history and never changes on failover; the
/// offset is dense from 1 within it. Offset 0 is the position before the first publication.
package struct Position: Equatable, Sendable {
    package var epoch: UInt64
    package var offset: UInt64

    package init(epoch: UInt64, offset: UInt64) {
        self.epoch = epoch
        self.offset = offset
    }
}

/// One message in its place in a room.
package struct Publication: Equatable, Sendable {
    package var offset: UInt64
    /// Wall-clock milliseconds at which the owner accepted it.
    package var timestamp: Timestamp
    /// An encoded `MessageBody`: opaque between the publisher's and the subscriber's gateway.
    package var body: ArraySlice<UInt8>

    @inlinable package init(offset: UInt64, timestamp: Timestamp, body: ArraySlice<UInt8>) {
        self.offset = offset
        self.timestamp = timestamp
        self.body = body
    }
}

/// What a publisher said: the payload, and how it wants it treated.
///
/// Bytes: flags u8, then (if flagged) time to live varint, tags length-prefixed, then the payload up to the end.
package struct MessageBody: Equatable, Sendable {
    /// The payload is one JSON value and is re-emitted as it is; otherwise it is opaque bytes.
    package var isJSON: Bool
    /// Milliseconds after `Publication.timestamp` at which the message is stale and no longer delivered; 0 = never.
    package var timeToLive: UInt64
    /// A JSON object, or empty.
    package var tags: ArraySlice<UInt8>
    package var payload: ArraySlice<UInt8>

    package init(
        payload: ArraySlice<UInt8>,
        isJSON: Bool = true,
        timeToLive: UInt64 = 0,
        tags: ArraySlice<UInt8> = []
    ) {
        self.payload = payload
        self.isJSON = isJSON
        self.timeToLive = timeToLive
        self.tags = tags
    }

    private static let json: UInt8 = 1
    private static let ttl: UInt8 = 2
    private static let tagged: UInt8 = 4

    package func encode(into writer: inout ByteWriter) {
        var flags: UInt8 = 0
        if isJSON { flags |= MessageBody.json }
        if timeToLive > 0 { flags |= MessageBody.ttl }
        if !tags.isEmpty { flags |= MessageBody.tagged }
        writer.write(flags)
        if timeToLive > 0 { writer.writeVarint(timeToLive) }
        if !tags.isEmpty { writer.writeBytes(tags) }
        writer.writeRaw(payload)
    }

    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: payload.count + tags.count + 12)
        encode(into: &writer)
        return writer.bytes
    }

    /// Of a payload alone, from where it lies.
    package static func encoded(payload: UnsafeRawBufferPointer, isJSON: Bool) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: payload.count + 1) { bytes, count in
            bytes[0] = isJSON ? json : 0
            UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(bytes)[1...])
                .copyMemory(from: payload)
            count = payload.count + 1
        }
    }

    package init(decoding body: ArraySlice<UInt8>) throws(DecodeError) {
        let result = body.withUnsafeBytes { raw -> Result<MessageBody, DecodeError> in
            var reader = ByteReader(raw)
            do throws(DecodeError) {
                let flags = try reader.readByte()
                guard flags & ~7 == 0 else { throw .unknown(field: "message flags", value: UInt64(flags)) }
                let ttl = flags & MessageBody.ttl != 0 ? try reader.readVarint() : 0
                var tags: ArraySlice<UInt8> = []
                if flags & MessageBody.tagged != 0 {
                    let count = try reader.readCount(limit: reader.remaining, "tags")
                    let start = body.startIndex + reader.position
                    _ = try reader.readRaw(count: count)
                    tags = body[start..<(start + count)]
                }
                return .success(
                    MessageBody(
                        payload: body[(body.startIndex + reader.position)...],
                        isJSON: flags & MessageBody.json != 0,
                        timeToLive: ttl,
                        tags: tags
                    )
                )
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    /// The time to live of an encoded body, without decoding the rest; 0 = none.
    package static func timeToLive(of body: ArraySlice<UInt8>) -> UInt64 {
        guard let flags = body.first, flags & ttl != 0 else { return 0 }
        return body.dropFirst().withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            return (try? reader.readVarint()) ?? 0
        }
    }
}

extension Publication {
    /// True when the message's own time limit has passed (DL-09).
    package func isStale(at now: Timestamp) -> Bool {
        let ttl = MessageBody.timeToLive(of: body)
        return ttl > 0 && now > timestamp && now - timestamp > ttl
    }
}
