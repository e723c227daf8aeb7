/// Appends replies `{"id":n,"<method>":{…}}` of the Centrifugo client protocol v2 to an array that the caller owns.
///
/// Members that are false, 0 or empty are left out, as the reference server does. No line feed is written: put one
/// between two messages that share a frame. Payloads and `data` are JSON that was validated when it came in.
package enum ReplyEncoder {
    private static func open(_ id: UInt32, _ method: StaticString, _ out: inout [UInt8]) {
        JSONWriter.append(literal: "{\"id\":", to: &out)
        JSONWriter.append(number: UInt64(id), to: &out)
        JSONWriter.append(literal: ",\"", to: &out)
        JSONWriter.append(literal: method, to: &out)
        JSONWriter.append(literal: "\":", to: &out)
    }

    private static func close(_ out: inout [UInt8]) { out.append(UInt8(ascii: "}")) }

    private static func empty(_ id: UInt32, _ method: StaticString, _ out: inout [UInt8]) {
        open(id, method, &out)
        JSONWriter.append(literal: "{}}", to: &out)
    }

    package static func appendError(id: UInt32, _ error: ClientError, to out: inout [UInt8]) {
        open(id, "error", &out)
        error.append(to: &out)
        close(&out)
    }

    package static func appendConnect(id: UInt32, _ result: ConnectResult, to out: inout [UInt8]) {
        open(id, "connect", &out)
        var object = JSONObjectWriter(&out)
        object.text("client", result.client, &out)
        object.text("version", result.version, &out)
        if result.expires {
            object.boolean("expires", true, &out)
            object.number("ttl", UInt64(result.timeToLive), &out)
        }
        if !result.data.isEmpty { object.value("data", result.data, &out) }
        if !result.subscriptions.isEmpty {
            object.name("subs", &out)
            var subscriptions = JSONObjectWriter(&out)
            for subscription in result.subscriptions {
                subscriptions.name(text: subscription.channel, &out)
                append(subscription.result, &out)
            }
            subscriptions.end(&out)
        }
        if result.pingInterval > 0 {
            object.number("ping", UInt64(result.pingInterval), &out)
            if result.expectsPong { object.boolean("pong", true, &out) }
        }
        if !result.session.isEmpty { object.text("session", result.session, &out) }
        if !result.node.isEmpty { object.text("node", result.node, &out) }
        object.end(&out)
        close(&out)
    }

    package static func appendSubscribe(id: UInt32, _ result: SubscribeResult, to out: inout [UInt8]) {
        open(id, "subscribe", &out)
        append(result, &out)
        close(&out)
    }

    private static func append(_ result: SubscribeResult, _ out: inout [UInt8]) {
        var object = JSONObjectWriter(&out)
        if result.expires {
            object.boolean("expires", true, &out)
            object.number("ttl", UInt64(result.timeToLive), &out)
        }
        if result.recoverable { object.boolean("recoverable", true, &out) }
        if result.positioned { object.boolean("positioned", true, &out) }
        if let epoch = result.epoch {
            object.epoch("epoch", epoch, &out)
            object.number("offset", result.offset, &out)
        }
        if !result.publications.isEmpty {
            object.name("publications", &out)
            append(result.publications, &out)
        }
        if result.recovered { object.boolean("recovered", true, &out) }
        if result.wasRecovering { object.boolean("was_recovering", true, &out) }
        if let grant = result.acknowledgement {
            object.name("ack", &out)
            var inner = JSONObjectWriter(&out)
            if !grant.cursor.isEmpty { inner.text("cursor", grant.cursor, &out) }
            inner.number("window", UInt64(grant.window), &out)
            inner.number("offset", grant.offset, &out)
            inner.end(&out)
        }
        object.end(&out)
    }

    private static func append(_ publications: [OutgoingPublication], _ out: inout [UInt8]) {
        out.append(UInt8(ascii: "["))
        for (index, publication) in publications.enumerated() {
            if index > 0 { out.append(UInt8(ascii: ",")) }
            PushEncoder.append(publication, to: &out)
        }
        out.append(UInt8(ascii: "]"))
    }

    package static func appendUnsubscribe(id: UInt32, to out: inout [UInt8]) { empty(id, "unsubscribe", &out) }

    /// The answer to a publish, with our extension: the position that the room gave it, and whether it was a repeat of
    /// one that had been accepted before. Without `epoch` (best effort) it is the plain empty result.
    package static func appendPublish(
        id: UInt32,
        epoch: UInt64? = nil,
        offset: UInt64 = 0,
        isDuplicate: Bool = false,
        to out: inout [UInt8]
    ) {
        open(id, "publish", &out)
        appendOutcome(epoch: epoch, offset: offset, isDuplicate: isDuplicate, to: &out)
        close(&out)
    }

    static func appendOutcome(epoch: UInt64?, offset: UInt64, isDuplicate: Bool, to out: inout [UInt8]) {
        var object = JSONObjectWriter(&out)
        if let epoch {
            object.number("offset", offset, &out)
            object.epoch("epoch", epoch, &out)
        }
        if isDuplicate { object.boolean("duplicate", true, &out) }
        object.end(&out)
    }

    /// `publications` are in the order that was asked for; `epoch` and `offset` are the room's top.
    package static func appendHistory(
        id: UInt32,
        _ publications: [OutgoingPublication],
        epoch: UInt64,
        offset: UInt64,
        to out: inout [UInt8]
    ) {
        open(id, "history", &out)
        var object = JSONObjectWriter(&out)
        object.name("publications", &out)
        append(publications, &out)
        object.epoch("epoch", epoch, &out)
        object.number("offset", offset, &out)
        object.end(&out)
        close(&out)
    }

    /// `clients` must have different `client` ids.
    package static func appendPresence(id: UInt32, _ clients: [ClientInfo], to out: inout [UInt8]) {
        open(id, "presence", &out)
        var object = JSONObjectWriter(&out)
        object.name("presence", &out)
        var members = JSONObjectWriter(&out)
        for info in clients {
            members.name(text: info.client, &out)
            PushEncoder.appendInfo(info, to: &out)
        }
        members.end(&out)
        object.end(&out)
        close(&out)
    }

    package static func appendPresenceStats(id: UInt32, clients: UInt64, users: UInt64, to out: inout [UInt8]) {
        open(id, "presence_stats", &out)
        var object = JSONObjectWriter(&out)
        object.number("num_clients", clients, &out)
        object.number("num_users", users, &out)
        object.end(&out)
        close(&out)
    }

    /// `data` is JSON; empty is left out.
    package static func appendRPC(id: UInt32, data: ArraySlice<UInt8>, to out: inout [UInt8]) {
        open(id, "rpc", &out)
        var object = JSONObjectWriter(&out)
        if !data.isEmpty { object.value("data", data, &out) }
        object.end(&out)
        close(&out)
    }

    /// `timeToLive` in seconds; 0 = the new token does not expire.
    package static func appendRefresh(
        id: UInt32,
        client: ArraySlice<UInt8>,
        version: ArraySlice<UInt8>,
        timeToLive: UInt32,
        to out: inout [UInt8]
    ) {
        open(id, "refresh", &out)
        var object = JSONObjectWriter(&out)
        object.text("client", client, &out)
        object.text("version", version, &out)
        if timeToLive > 0 {
            object.boolean("expires", true, &out)
            object.number("ttl", UInt64(timeToLive), &out)
        }
        object.end(&out)
        close(&out)
    }

    /// `timeToLive` in seconds; 0 = the new token does not expire.
    package static func appendSubRefresh(id: UInt32, timeToLive: UInt32, to out: inout [UInt8]) {
        open(id, "sub_refresh", &out)
        var object = JSONObjectWriter(&out)
        if timeToLive > 0 {
            object.boolean("expires", true, &out)
            object.number("ttl", UInt64(timeToLive), &out)
        }
        object.end(&out)
        close(&out)
    }

    package static func appendPing(id: UInt32, to out: inout [UInt8]) { empty(id, "ping", &out) }

    /// The answer to our `ack` command: the cursor's value now, which may be beyond the one acknowledged.
    package static func appendAcknowledge(id: UInt32, offset: UInt64, to out: inout [UInt8]) {
        open(id, "ack", &out)
        var object = JSONObjectWriter(&out)
        object.number("offset", offset, &out)
        object.end(&out)
        close(&out)
    }
}

extension ClientError {
    func append(to out: inout [UInt8]) {
        var object = JSONObjectWriter(&out)
        object.number("code", UInt64(code), &out)
        object.text("message", message, &out)
        if isTemporary { object.boolean("temporary", true, &out) }
        object.end(&out)
    }
}
