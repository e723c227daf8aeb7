import ClientProtocol
import Rooms

/// What is published on a channel: the message's JSON itself, as the guide's programs write and read it (RA-11).
///
/// What plain JSON cannot say (tags, a time to live of the message's own, bytes that are no text) goes into an object
/// `{"vencejo":{…},"data":…}`; a message that looks like one is wrapped too.
package enum ChannelPayload {
    private static let mark = Array(#"{"vencejo":"#.utf8)

    /// `policyTimeToLive` is given to every message of the room by its receivers, and so is not worth a word.
    package static func encode(_ body: ArraySlice<UInt8>, policyTimeToLive: UInt64) -> [UInt8] {
        let message = (try? MessageBody(decoding: body)) ?? MessageBody(payload: body, isJSON: false)
        let form = message.isJSON ? PayloadForm.json : PayloadForm.classifyOpaque(message.payload)
        let ttl = message.timeToLive == policyTimeToLive ? 0 : message.timeToLive
        var out: [UInt8] = []
        let isPlain = ttl == 0 && message.tags.isEmpty && form == .json && !message.payload.starts(with: mark)
        if !isPlain {
            out += mark
            out.append(UInt8(ascii: "{"))
            var isFirst = true
            func name(_ text: String) {
                if !isFirst { out.append(UInt8(ascii: ",")) }
                isFirst = false
                out += Array("\"\(text)\":".utf8)
            }
            if ttl > 0 {
                name("ttl")
                JSONWriter.append(number: ttl, to: &out)
            }
            if !message.tags.isEmpty {
                name("tags")
                JSONWriter.append(value: message.tags, to: &out)
            }
            if form != .json {
                name("form")
                JSONWriter.append(text: form == .text ? "text" : "hex", to: &out)
            }
            out += Array(#"},"data":"#.utf8)
        }
        switch form {
        case .json: JSONWriter.append(value: message.payload, to: &out)
        case .text: JSONWriter.append(text: message.payload, to: &out)
        case .binary: JSONWriter.append(text: Hex.encode(message.payload)[...], to: &out)
        }
        if !isPlain { out.append(UInt8(ascii: "}")) }
        return out
    }

    /// A body for clients, from whoever published it: what is not JSON is text or bytes.
    package static func decode(_ payload: [UInt8], policyTimeToLive: UInt64) -> [UInt8] {
        if payload.starts(with: mark), let message = unwrap(payload, policyTimeToLive) { return message.encoded() }
        return MessageBody(
            payload: payload[...],
            isJSON: PayloadForm.classify(payload[...]) == .json,
            timeToLive: policyTimeToLive
        ).encoded()
    }

    private static func unwrap(_ payload: [UInt8], _ policyTimeToLive: UInt64) -> MessageBody? {
        payload.withUnsafeBytes { raw -> MessageBody? in
            var scanner = JSONScanner(raw)
            var message = MessageBody(payload: [], timeToLive: policyTimeToLive)
            var form = PayloadForm.json
            var data: JSONValue?
            do throws(JSONError) {
                try scanner.enterObject()
                while let member = try scanner.nextMember() {
                    guard scanner.isText(member, "vencejo") else {
                        guard scanner.isText(member, "data") else { return nil }
                        data = try scanner.value()
                        continue
                    }
                    try scanner.enterObject()
                    while let member = try scanner.nextMember() {
                        let value = try scanner.value()
                        if scanner.isText(member, "ttl") {
                            guard let ttl = scanner.unsigned(value) else { return nil }
                            message.timeToLive = ttl
                        } else if scanner.isText(member, "tags") {
                            guard value.kind == .object else { return nil }
                            message.tags = payload[value.range]
                        } else if scanner.isText(member, "form") {
                            guard value.kind == .string else { return nil }
                            form = scanner.isText(value, "hex") ? .binary : .text
                        } else {
                            return nil
                        }
                    }
                }
                try scanner.expectEnd()
            } catch {
                return nil
            }
            guard let data else { return nil }
            guard form != .json else {
                message.payload = payload[data.range]
                return message
            }
            guard data.kind == .string else { return nil }
            let text = scanner.text(data)
            message.isJSON = false
            if form == .text {
                message.payload = text[...]
            } else {
                guard let bytes = Hex.decode(text) else { return nil }
                message.payload = bytes[...]
            }
            return message
        }
    }
}

/// Bytes in JSON, for the rare message that is no text.
enum Hex {
    static func encode(_ bytes: some Collection<UInt8>) -> [UInt8] {
        let digits = Array("0123456789abcdef".utf8)
        var out: [UInt8] = []
        out.reserveCapacity(bytes.count * 2)
        for byte in bytes {
            out.append(digits[Int(byte >> 4)])
            out.append(digits[Int(byte & 15)])
        }
        return out
    }

    static func decode(_ text: [UInt8]) -> [UInt8]? {
        guard text.count % 2 == 0 else { return nil }
        var out: [UInt8] = []
        out.reserveCapacity(text.count / 2)
        for index in stride(from: 0, to: text.count, by: 2) {
            guard let high = nibble(text[index]), let low = nibble(text[index + 1]) else { return nil }
            out.append(high << 4 | low)
        }
        return out
    }

    private static func nibble(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - 48
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - 87
        default: nil
        }
    }
}
