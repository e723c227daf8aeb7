/// Appends what the server says on `/ws`.
package enum PlainEncoder {
    /// The payload of a broadcast, for clients and for storage alike.
    package static func appendMessage(
        content: ArraySlice<UInt8>,
        user: ArraySlice<UInt8>,
        room: ArraySlice<UInt8>? = nil,
        to out: inout [UInt8]
    ) {
        var object = open("message", &out)
        object.value("content", content, &out)
        object.value("user", user, &out)
        if let room { object.text("room", room, &out) }
        object.end(&out)
    }

    /// A publication as it goes to a client: JSON as it is; text and bytes, which only other protocols' publishers can
    /// send, as the content of a message without user (`content`, or `b64content`).
    package static func appendDelivery(_ payload: ArraySlice<UInt8>, _ form: PayloadForm, to out: inout [UInt8]) {
        switch form {
        case .json: JSONWriter.append(value: payload, to: &out)
        case .text:
            var object = open("message", &out)
            object.text("content", payload, &out)
            object.end(&out)
        case .binary:
            var object = open("message", &out)
            object.name("b64content", &out)
            out.append(UInt8(ascii: "\""))
            Base64Text.append(payload, to: &out)
            out.append(UInt8(ascii: "\""))
            object.end(&out)
        }
    }

    package static func appendJoined(room: ArraySlice<UInt8>, to out: inout [UInt8]) { simple("joined", room, &out) }
    package static func appendLeft(room: ArraySlice<UInt8>, to out: inout [UInt8]) { simple("left", room, &out) }

    package static func appendPing(to out: inout [UInt8]) { open("ping", &out).end(&out) }
    package static func appendPong(to out: inout [UInt8]) { open("pong", &out).end(&out) }

    /// `id` is the raw JSON that `PlainMessage.decode` returned, not empty.
    package static func appendAcknowledge(
        id: ArraySlice<UInt8>,
        epoch: UInt64? = nil,
        offset: UInt64 = 0,
        to out: inout [UInt8]
    ) {
        var object = open("ack", &out)
        object.value("id", id, &out)
        if let epoch {
            object.number("offset", offset, &out)
            object.epoch("epoch", epoch, &out)
        }
        object.end(&out)
    }

    /// `id` as above; empty is left out.
    package static func appendError(_ error: ClientError, id: ArraySlice<UInt8> = [], to out: inout [UInt8]) {
        var object = open("error", &out)
        if !id.isEmpty { object.value("id", id, &out) }
        object.number("code", UInt64(error.code), &out)
        object.text("message", error.message, &out)
        object.end(&out)
    }

    private static func open(_ type: StaticString, _ out: inout [UInt8]) -> JSONObjectWriter {
        var object = JSONObjectWriter(&out)
        object.name("type", &out)
        out.append(UInt8(ascii: "\""))
        JSONWriter.append(literal: type, to: &out)
        out.append(UInt8(ascii: "\""))
        return object
    }

    private static func simple(_ type: StaticString, _ room: ArraySlice<UInt8>, _ out: inout [UInt8]) {
        var object = open(type, &out)
        object.text("room", room, &out)
        object.end(&out)
    }
}
