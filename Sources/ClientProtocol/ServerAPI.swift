/// The bodies of the server API, `POST /api/<method>`, as Centrifugo v6 has them.
///
///     /api/publish     {"channel": …, "data": …, …}       -> {"result": {"offset": n, "epoch": "…"}}
///     /api/broadcast   {"channels": […], "data": …, …}    -> {"result": {"responses": [{"result": …}, …]}}
///     any error                                           -> {"error": {"code": n, "message": "…"}}
///
/// `X-API-Key` and the HTTP status are the caller's. Publish members are those of the client protocol's publish.
package enum ServerAPI {
    /// Channels of one broadcast.
    package static let channelLimit = 1000

    /// A publish body. Throws for a body that is not exactly one JSON value; nil (bad request, 107) for JSON of the
    /// wrong shape. Slices share `body`'s storage.
    package static func decodePublish(
        _ body: ArraySlice<UInt8>,
        limits: ClientProtocolLimits = ClientProtocolLimits()
    ) throws(JSONError) -> PublishRequest? {
        try read(body, limits) { (reader) throws(JSONError) in
            try PublishRequest.read(&reader, limits: limits)
        }
    }

    /// A broadcast body: the publish without channel, and the channels. Throws and returns nil as `decodePublish`.
    package static func decodeBroadcast(
        _ body: ArraySlice<UInt8>,
        limits: ClientProtocolLimits = ClientProtocolLimits()
    ) throws(JSONError) -> (channels: [ArraySlice<UInt8>], publish: PublishRequest)? {
        try read(body, limits) { (reader) throws(JSONError) in
            var channels: [ArraySlice<UInt8>] = []
            var publish = PublishRequest()
            var payloads = 0
            try reader.object { (reader, name) throws(JSONError) in
                if case "channels" = name {
                    try readChannels(&reader, limits, into: &channels)
                } else if try publish.member(name, &reader, limits) {
                    payloads += 1
                }
            }
            if channels.isEmpty || payloads != 1 || !publish.channel.isEmpty { reader.isBad = true }
            return (channels, publish)
        }
    }

    private static func readChannels(
        _ reader: inout FieldReader,
        _ limits: ClientProtocolLimits,
        into channels: inout [ArraySlice<UInt8>]
    ) throws(JSONError) {
        guard try reader.scanner.peek() == UInt8(ascii: "[") else {
            reader.isBad = true
            return try reader.skip()
        }
        try reader.scanner.enterArray()
        while try reader.scanner.nextElement() {
            let channel = try reader.channel(limit: limits.channel)
            if channels.count < channelLimit { channels.append(channel) } else { reader.isBad = true }
        }
    }

    private static func read<Request>(
        _ body: ArraySlice<UInt8>,
        _ limits: ClientProtocolLimits,
        _ decode: (inout FieldReader) throws(JSONError) -> Request
    ) throws(JSONError) -> Request? {
        try body.withUnsafeBytes { raw -> Result<Request?, JSONError> in
            var reader = FieldReader(raw, frame: body, from: 0, depthLimit: limits.depth)
            do throws(JSONError) {
                let request = try decode(&reader)
                try reader.scanner.expectEnd()
                return .success(reader.isBad ? nil : request)
            } catch {
                return .failure(error)
            }
        }.get()
    }

    /// The outcome of one publish; `epoch` nil for rooms without positions.
    package static func appendPublishResult(
        epoch: UInt64?,
        offset: UInt64,
        isDuplicate: Bool = false,
        to out: inout [UInt8]
    ) {
        JSONWriter.append(literal: "{\"result\":", to: &out)
        ReplyEncoder.appendOutcome(epoch: epoch, offset: offset, isDuplicate: isDuplicate, to: &out)
        out.append(UInt8(ascii: "}"))
    }

    package static func appendError(_ error: ClientError, to out: inout [UInt8]) {
        JSONWriter.append(literal: "{\"error\":", to: &out)
        error.append(to: &out)
        out.append(UInt8(ascii: "}"))
    }

    /// The outcome of a broadcast: `append` writes the response of each channel, in the request's order, with
    /// `appendPublishResult` or `appendError`.
    package static func appendBroadcastResult(
        count: Int,
        to out: inout [UInt8],
        append: (Int, inout [UInt8]) -> Void
    ) {
        JSONWriter.append(literal: "{\"result\":{\"responses\":[", to: &out)
        for index in 0..<count {
            if index > 0 { out.append(UInt8(ascii: ",")) }
            append(index, &out)
        }
        JSONWriter.append(literal: "]}}", to: &out)
    }
}
