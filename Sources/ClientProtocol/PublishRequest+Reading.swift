import Primitives

extension PublishRequest {
    /// Reads a publish of the client protocol or the server API; the two have the same members. Bad without channel,
    /// and unless exactly one of `data` and `b64data` is there.
    static func read(_ reader: inout FieldReader, limits: ClientProtocolLimits) throws(JSONError) -> PublishRequest {
        var request = PublishRequest()
        var payloads = 0
        try reader.object { (reader, name) throws(JSONError) in
            if try request.member(name, &reader, limits) { payloads += 1 }
        }
        if request.channel.isEmpty || payloads != 1 { reader.isBad = true }
        return request
    }

    /// Takes one member; true when it was the payload.
    mutating func member(
        _ name: MemberName,
        _ reader: inout FieldReader,
        _ limits: ClientProtocolLimits
    ) throws(JSONError) -> Bool {
        switch name {
        case "channel": channel = try reader.channel(limit: limits.channel)
        case "data":
            data = try reader.raw()
            return true
        case "b64data":
            let text = try reader.text()
            if text.isEmpty { return false }
            isBinary = true
            if let decoded = Base64Text.decode(text) { data = decoded[...] } else { reader.isBad = true }
            return true
        case "idempotency_key": idempotencyKey = try reader.text(limit: limits.name)
        case "ttl_ms": timeToLive = try reader.number()
        case "tags": tags = try PublishRequest.tags(&reader)
        case "producer": producer = try PublishRequest.producer(&reader, limits)
        case "delta": if try !reader.isUnused() { unsupported.append("delta") }
        case "skip_history": if try !reader.isUnused() { unsupported.append("skip_history") }
        case "version": if try !reader.isUnused() { unsupported.append("version") }
        case "version_epoch": if try !reader.isUnused() { unsupported.append("version_epoch") }
        default: try reader.skip()
        }
        return false
    }

    private static func tags(_ reader: inout FieldReader) throws(JSONError) -> ArraySlice<UInt8> {
        reader.scanner.skipWhitespace()
        let start = reader.scanner.position
        let isPresent = try reader.object { (reader, _) throws(JSONError) in
            if try reader.scanner.value().kind != .string { reader.isBad = true }
        }
        return isPresent ? reader.slice(start..<reader.scanner.position) : []
    }

    private static func producer(
        _ reader: inout FieldReader,
        _ limits: ClientProtocolLimits
    ) throws(JSONError) -> ProducerField? {
        var producer = ProducerField(id: [], epoch: 0, sequence: 0)
        var found = 0
        let isPresent = try reader.object { (reader, name) throws(JSONError) in
            switch name {
            case "id": producer.id = try reader.text(limit: limits.name)
            case "epoch":
                producer.epoch = try reader.number()
                found |= 1
            case "seq":
                producer.sequence = try reader.number()
                found |= 2
            default: try reader.skip()
            }
        }
        guard isPresent else { return nil }
        if producer.id.isEmpty || found != 3 { reader.isBad = true }
        return producer
    }
}
