/// Appends what the server says unasked: `{"push":{"channel":…,"<kind>":{…}}}` and the ping `{}`.
///
/// `gap` and `dropped` are our extensions. Stock SDKs look for the kinds that they know and ignore a push without one.
package enum PushEncoder {
    private static func open(_ channel: ArraySlice<UInt8>, _ kind: StaticString, _ out: inout [UInt8]) {
        JSONWriter.append(literal: "{\"push\":{", to: &out)
        if !channel.isEmpty {
            JSONWriter.append(literal: "\"channel\":", to: &out)
            JSONWriter.append(text: channel, to: &out)
            out.append(UInt8(ascii: ","))
        }
        out.append(UInt8(ascii: "\""))
        JSONWriter.append(literal: kind, to: &out)
        JSONWriter.append(literal: "\":", to: &out)
    }

    private static func close(_ out: inout [UInt8]) { JSONWriter.append(literal: "}}", to: &out) }

    /// The ping, which the client answers with an empty command.
    package static func appendPing(to out: inout [UInt8]) { JSONWriter.append(literal: "{}", to: &out) }

    package static func appendPublication(
        channel: ArraySlice<UInt8>,
        _ publication: OutgoingPublication,
        to out: inout [UInt8]
    ) {
        open(channel, "pub", &out)
        append(publication, to: &out)
        close(&out)
    }

    /// A publication object, as in pushes, histories and recoveries.
    package static func append(_ publication: OutgoingPublication, to out: inout [UInt8]) {
        out.append(UInt8(ascii: "{"))
        appendData(publication.data, publication.form, to: &out)
        if publication.offset > 0 {
            JSONWriter.append(literal: ",\"offset\":", to: &out)
            JSONWriter.append(number: publication.offset, to: &out)
        }
        if publication.time > 0 {
            JSONWriter.append(literal: ",\"time\":", to: &out)
            JSONWriter.append(number: publication.time, to: &out)
        }
        if !publication.id.isEmpty {
            JSONWriter.append(literal: ",\"id\":", to: &out)
            JSONWriter.append(text: publication.id, to: &out)
        }
        if !publication.tags.isEmpty {
            JSONWriter.append(literal: ",\"tags\":", to: &out)
            JSONWriter.append(value: publication.tags, to: &out)
        }
        if !publication.info.isEmpty {
            JSONWriter.append(literal: ",\"info\":", to: &out)
            JSONWriter.append(value: publication.info, to: &out)
        }
        out.append(UInt8(ascii: "}"))
    }

    /// The member that carries a payload: `"data":<json>`, `"data":"text"`, or `"b64data":"…"`.
    package static func appendData(_ data: ArraySlice<UInt8>, _ form: PayloadForm, to out: inout [UInt8]) {
        switch form {
        case .json:
            JSONWriter.append(literal: "\"data\":", to: &out)
            JSONWriter.append(value: data, to: &out)
        case .text:
            JSONWriter.append(literal: "\"data\":", to: &out)
            JSONWriter.append(text: data, to: &out)
        case .binary:
            JSONWriter.append(literal: "\"b64data\":\"", to: &out)
            Base64Text.append(data, to: &out)
            out.append(UInt8(ascii: "\""))
        }
    }

    /// A client-info object.
    package static func appendInfo(_ info: ClientInfo, to out: inout [UInt8]) {
        var object = JSONObjectWriter(&out)
        object.text("user", info.user, &out)
        object.text("client", info.client, &out)
        if !info.connectionInfo.isEmpty { object.value("conn_info", info.connectionInfo, &out) }
        if !info.channelInfo.isEmpty { object.value("chan_info", info.channelInfo, &out) }
        object.end(&out)
    }

    package static func appendJoin(channel: ArraySlice<UInt8>, _ info: ClientInfo, to out: inout [UInt8]) {
        presence("join", channel, info, &out)
    }

    package static func appendLeave(channel: ArraySlice<UInt8>, _ info: ClientInfo, to out: inout [UInt8]) {
        presence("leave", channel, info, &out)
    }

    private static func presence(
        _ kind: StaticString,
        _ channel: ArraySlice<UInt8>,
        _ info: ClientInfo,
        _ out: inout [UInt8]
    ) {
        open(channel, kind, &out)
        JSONWriter.append(literal: "{\"info\":", to: &out)
        appendInfo(info, to: &out)
        out.append(UInt8(ascii: "}"))
        close(&out)
    }

    /// A server-side subscription that began; `epoch` nil when the room has no position.
    package static func appendSubscribe(
        channel: ArraySlice<UInt8>,
        recoverable: Bool,
        positioned: Bool,
        epoch: UInt64?,
        offset: UInt64,
        to out: inout [UInt8]
    ) {
        open(channel, "subscribe", &out)
        var object = JSONObjectWriter(&out)
        if recoverable { object.boolean("recoverable", true, &out) }
        if let epoch {
            object.epoch("epoch", epoch, &out)
            object.number("offset", offset, &out)
        }
        if positioned { object.boolean("positioned", true, &out) }
        object.end(&out)
        close(&out)
    }

    package static func appendUnsubscribe(
        channel: ArraySlice<UInt8>,
        _ code: UnsubscribeCode,
        to out: inout [UInt8]
    ) {
        open(channel, "unsubscribe", &out)
        var object = JSONObjectWriter(&out)
        object.number("code", UInt64(code.code), &out)
        object.text("reason", code.reason, &out)
        object.end(&out)
        close(&out)
    }

    /// For transports without close frames (SSE, HTTP streaming).
    package static func appendDisconnect(_ disconnect: Disconnect, to out: inout [UInt8]) {
        open([], "disconnect", &out)
        var object = JSONObjectWriter(&out)
        object.number("code", UInt64(disconnect.code), &out)
        object.text("reason", disconnect.reason, &out)
        object.boolean("reconnect", disconnect.reconnects, &out)
        object.end(&out)
        close(&out)
    }

    /// A message to the connection, outside any channel.
    package static func appendMessage(_ data: ArraySlice<UInt8>, _ form: PayloadForm = .json, to out: inout [UInt8]) {
        open([], "message", &out)
        out.append(UInt8(ascii: "{"))
        appendData(data, form, to: &out)
        out.append(UInt8(ascii: "}"))
        close(&out)
    }

    /// Our extension: the publications `first...last` are lost for this client and will not come; `reason` says why
    /// (`"trimmed"`, `"epoch"`, …).
    package static func appendGap(
        channel: ArraySlice<UInt8>,
        epoch: UInt64,
        first: UInt64,
        last: UInt64,
        reason: String,
        to out: inout [UInt8]
    ) {
        open(channel, "gap", &out)
        var object = JSONObjectWriter(&out)
        object.epoch("epoch", epoch, &out)
        object.number("from", first, &out)
        object.number("to", last, &out)
        object.text("reason", reason, &out)
        object.end(&out)
        close(&out)
    }

    /// Our extension: `count` best-effort publications were dropped for this client because it reads too slowly or they
    /// went stale.
    package static func appendDropped(
        channel: ArraySlice<UInt8>,
        count: UInt64,
        reason: String,
        to out: inout [UInt8]
    ) {
        open(channel, "dropped", &out)
        var object = JSONObjectWriter(&out)
        object.number("count", count, &out)
        object.text("reason", reason, &out)
        object.end(&out)
        close(&out)
    }
}
