/// The plain JSON protocol of `/ws`: one JSON object in one text frame, no handshake, no ids. It is the guide's
/// protocol (GW-13, RM-01, RM-02) and the few messages that rooms need.
///
/// Client to server; `id` (a string or an integer) is optional everywhere and asks for an acknowledgement:
///
///     {"content": C, "user": U}                                   broadcast to everyone
///     {"content": C, "user": U, "room": "r"}                      to the members of r only
///     {"type": "message", …}                                      the same two, spelled out
///     {"type": "join", "room": "r"}   {"type": "leave", "room": "r"}
///     {"type": "ping"}                {"type": "pong"}
///
/// C and U are any JSON values and travel untouched; both must be there, as in the guide's handler.
///
/// Server to client:
///
///     {"type": "message", "content": C, "user": U}                exactly these members, plus "room" in a room
///     {"type": "joined", "room": "r"}   {"type": "left", "room": "r"}
///     {"type": "pong"}                  {"type": "ping"}
///     {"type": "ack", "id": …}          with "offset" and "epoch" where the room has positions
///     {"type": "error", "code": n, "message": "…"}                codes of `ClientError`; "id" if the cause had one
///
/// A message is stored as the finished `{"type":"message",…}` object. It is delivered as it is, and so is any other
/// JSON that a backend publishes, so that existing publishers and readers of the guide's channels need no change.
package enum PlainMessage: Equatable, Sendable {
    /// A broadcast; `room` nil = to everyone. `content` and `user` are raw JSON.
    case message(content: ArraySlice<UInt8>, user: ArraySlice<UInt8>, room: ArraySlice<UInt8>?)
    case join(room: ArraySlice<UInt8>)
    case leave(room: ArraySlice<UInt8>)
    case ping
    case pong
    /// JSON that is none of these: answer with the error.
    case invalid(ClientError)

    /// Decodes one frame. `id` is the raw JSON of the message's id, empty without one. Slices share `frame`'s storage.
    /// Throws when the frame is not exactly one JSON value: answer with 107 or close with 1007, as configured.
    package static func decode(
        _ frame: ArraySlice<UInt8>,
        limits: ClientProtocolLimits = ClientProtocolLimits()
    ) throws(JSONError) -> (message: PlainMessage, id: ArraySlice<UInt8>) {
        let result = frame.withUnsafeBytes { raw -> Result<(PlainMessage, ArraySlice<UInt8>), JSONError> in
            var reader = FieldReader(raw, frame: frame, from: 0, depthLimit: limits.depth)
            var members = PlainMembers(limits: limits)
            do throws(JSONError) {
                let isObject = try reader.object { (reader, name) throws(JSONError) in
                    try members.member(name, &reader)
                }
                try reader.scanner.expectEnd()
                return .success((members.finish(isBad: reader.isBad || !isObject), members.id))
            } catch {
                return .failure(error)
            }
        }
        let (message, id) = try result.get()
        return (message, id)
    }

    package static func decode(
        _ frame: [UInt8],
        limits: ClientProtocolLimits = ClientProtocolLimits()
    ) throws(JSONError) -> (message: PlainMessage, id: ArraySlice<UInt8>) {
        try decode(frame[...], limits: limits)
    }
}

/// The members of one inbound message while they are read.
private struct PlainMembers {
    private enum Kind {
        case message
        case join
        case leave
        case ping
        case pong
        case unknown
    }

    let limits: ClientProtocolLimits
    private(set) var id: ArraySlice<UInt8> = []
    private var kind = Kind.message
    private var content: ArraySlice<UInt8>?
    private var user: ArraySlice<UInt8>?
    private var room: ArraySlice<UInt8>?

    init(limits: ClientProtocolLimits) { self.limits = limits }

    mutating func member(_ name: MemberName, _ reader: inout FieldReader) throws(JSONError) {
        switch name {
        case "type":
            let value = try reader.scanner.value()
            guard value.kind == .string else {
                reader.isBad = true
                return
            }
            let scanner = reader.scanner
            if scanner.isText(value, "message") {
                kind = .message
            } else if scanner.isText(value, "join") {
                kind = .join
            } else if scanner.isText(value, "leave") {
                kind = .leave
            } else if scanner.isText(value, "ping") {
                kind = .ping
            } else if scanner.isText(value, "pong") {
                kind = .pong
            } else {
                kind = .unknown
            }
        case "content": content = try reader.raw()
        case "user": user = try reader.raw()
        case "room":
            if try reader.scanner.peek() == UInt8(ascii: "n") {
                try reader.skip()
            } else {
                room = try reader.channel(limit: limits.channel)
            }
        case "id":
            let value = try reader.scanner.value()
            let isID =
                value.kind == .string && value.range.count <= limits.name
                || reader.scanner.unsigned(value) != nil
            if isID { id = reader.slice(value.range) } else if value.kind != .null { reader.isBad = true }
        default: try reader.skip()
        }
    }

    func finish(isBad: Bool) -> PlainMessage {
        if isBad { return .invalid(.badRequest) }
        switch kind {
        case .message:
            guard let content, let user else { return .invalid(.badRequest) }
            return .message(content: content, user: user, room: room)
        case .join: return room.map(PlainMessage.join) ?? .invalid(.badRequest)
        case .leave: return room.map(PlainMessage.leave) ?? .invalid(.badRequest)
        case .ping: return .ping
        case .pong: return .pong
        case .unknown: return .invalid(.methodNotFound)
        }
    }
}
