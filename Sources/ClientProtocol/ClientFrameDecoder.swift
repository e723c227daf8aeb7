import Primitives

/// Why a frame ends the connection with `Disconnect.badRequest` (3501).
package enum ClientFrameError: Error, Equatable {
    case json(JSONError)
    /// No command at all.
    case empty
    /// Something else than an object.
    case notAnObject(at: Int)
    /// Two commands without a line feed between them.
    case missingSeparator(at: Int)
    case tooManyCommands(limit: Int)
    /// A command that needs a reply has no positive `id`.
    case missingID
}

/// Decodes a frame of the Centrifugo client protocol v2, JSON: one or more commands separated by line feeds.
/// Source: centrifugal.dev, "Client protocol"; `client.proto` (MIT).
///
///     {"id": n, "<method>": {…}}       one method a command; {} is a pong; "send" has no id
///
/// Deviations, all towards refusal: a name twice in one object ends the connection (two readers could disagree on which
/// one counts), a second method in a command is a bad request, members that change the meaning and that we do not
/// support are reported by `unsupported`. Other unknown members are ignored. Null is the same as absent, except as a
/// payload.
///
/// Our extensions: `subscribe.ack`, `publish.{idempotency_key,producer,ttl_ms,tags,b64data}`, and the command
/// `{"id": n, "ack": {"channel": …, "offset": n, "epoch": …}}`.
package struct ClientFrameDecoder {
    private let frame: ArraySlice<UInt8>
    private let limits: ClientProtocolLimits
    private var position = 0
    private var count = 0

    /// The commands' slices will share `frame`'s storage.
    package init(_ frame: ArraySlice<UInt8>, limits: ClientProtocolLimits = ClientProtocolLimits()) {
        self.frame = frame
        self.limits = limits
    }

    package init(_ frame: [UInt8], limits: ClientProtocolLimits = ClientProtocolLimits()) {
        self.init(frame[...], limits: limits)
    }

    /// The next command, or nil at the frame's end. Not to be called again after an error.
    package mutating func next() throws(ClientFrameError) -> ClientCommand? {
        // `withUnsafeBytes` does not carry typed errors, so the outcome travels as a value.
        try frame.withUnsafeBytes { raw -> Result<ClientCommand?, ClientFrameError> in
            do throws(ClientFrameError) { return .success(try decode(raw)) } catch { return .failure(error) }
        }.get()
    }

    private mutating func decode(_ raw: UnsafeRawBufferPointer) throws(ClientFrameError) -> ClientCommand? {
        var reader = FieldReader(raw, frame: frame, from: position, depthLimit: limits.depth)
        reader.scanner.skipWhitespace()
        if reader.scanner.isAtEnd {
            guard count > 0 else { throw .empty }
            return nil
        }
        let start = reader.scanner.position
        guard count < limits.commands else { throw .tooManyCommands(limit: limits.commands) }
        guard raw[start] == UInt8(ascii: "{") else {
            // Tell broken JSON from the wrong kind of JSON.
            do { _ = try reader.scanner.value() } catch { throw .json(error) }
            throw .notAnObject(at: start)
        }
        if count > 0, !raw[position..<start].contains(0x0A) { throw .missingSeparator(at: start) }
        count += 1
        var command = CommandReader(limits: limits)
        do throws(JSONError) {
            try reader.object { (reader, name) throws(JSONError) in try command.member(name, &reader) }
        } catch {
            throw .json(error)
        }
        position = reader.scanner.position
        return try command.finish(isBad: reader.isBad)
    }
}

/// One command while its members are read.
private struct CommandReader {
    let limits: ClientProtocolLimits
    private var id: UInt64 = 0
    private var hasMembers = false
    private var method: ClientCommand.Method?
    private var isRepeated = false

    init(limits: ClientProtocolLimits) { self.limits = limits }

    mutating func member(_ name: MemberName, _ reader: inout FieldReader) throws(JSONError) {
        hasMembers = true
        if try reader.scanner.peek() == UInt8(ascii: "n") { return try reader.skip() }
        switch name {
        case "id": id = try reader.number(limit: UInt64(UInt32.max))
        case "connect": set(.connect(try connect(&reader)))
        case "subscribe":
            var request = SubscribeRequest()
            try subscribe(&reader, into: &request)
            requireChannel(request.channel, &reader)
            set(.subscribe(request))
        case "unsubscribe": set(.unsubscribe(channel: try onlyChannel(&reader)))
        case "publish": set(.publish(try PublishRequest.read(&reader, limits: limits)))
        case "history": set(.history(try history(&reader)))
        case "presence": set(.presence(channel: try onlyChannel(&reader)))
        case "presence_stats": set(.presenceStats(channel: try onlyChannel(&reader)))
        case "rpc":
            let (method, data) = try rpc(&reader)
            set(.rpc(method: method, data: data))
        case "send": set(.send(data: try rpc(&reader).data))
        case "refresh": set(.refresh(token: try token(&reader).token))
        case "sub_refresh":
            let (channel, token) = try token(&reader)
            requireChannel(channel, &reader)
            set(.subRefresh(channel: channel, token: token))
        case "ping":
            try reader.object { (reader, _) throws(JSONError) in try reader.skip() }
            set(.ping)
        case "ack": set(try acknowledge(&reader))
        default: try reader.skip()
        }
    }

    private mutating func set(_ new: ClientCommand.Method) {
        if method != nil { isRepeated = true }
        method = new
    }

    func finish(isBad: Bool) throws(ClientFrameError) -> ClientCommand {
        guard hasMembers else { return ClientCommand(id: 0, method: .pong) }
        let id = UInt32(id)
        if case .send = method {
            return ClientCommand(id: 0, method: isBad || isRepeated ? .invalid(.badRequest) : method!)
        }
        guard id > 0 else { throw .missingID }
        if isBad || isRepeated { return ClientCommand(id: id, method: .invalid(.badRequest)) }
        return ClientCommand(id: id, method: method ?? .invalid(.methodNotFound))
    }

    private func requireChannel(_ channel: ArraySlice<UInt8>, _ reader: inout FieldReader) {
        if channel.isEmpty { reader.isBad = true }
    }

    private func onlyChannel(_ reader: inout FieldReader) throws(JSONError) -> ArraySlice<UInt8> {
        let channel = try token(&reader).channel
        requireChannel(channel, &reader)
        return channel
    }

    private func token(
        _ reader: inout FieldReader
    ) throws(JSONError) -> (channel: ArraySlice<UInt8>, token: ArraySlice<UInt8>) {
        var channel: ArraySlice<UInt8> = []
        var token: ArraySlice<UInt8> = []
        let limits = limits
        try reader.object { (reader, name) throws(JSONError) in
            switch name {
            case "channel": channel = try reader.channel(limit: limits.channel)
            case "token": token = try reader.text()
            default: try reader.skip()
            }
        }
        return (channel, token)
    }

    private func rpc(
        _ reader: inout FieldReader
    ) throws(JSONError) -> (method: ArraySlice<UInt8>, data: ArraySlice<UInt8>) {
        var method: ArraySlice<UInt8> = []
        var data: ArraySlice<UInt8> = []
        let limits = limits
        try reader.object { (reader, name) throws(JSONError) in
            switch name {
            case "method": method = try reader.text(limit: limits.name)
            case "data": data = try reader.raw()
            default: try reader.skip()
            }
        }
        return (method, data)
    }

    private func connect(_ reader: inout FieldReader) throws(JSONError) -> ConnectRequest {
        var request = ConnectRequest()
        let limits = limits
        try reader.object { (reader, name) throws(JSONError) in
            switch name {
            case "token": request.token = try reader.text()
            case "data": request.data = try reader.raw()
            case "name": request.name = try reader.text(limit: limits.name)
            case "version": request.version = try reader.text(limit: limits.name)
            case "subs":
                try reader.object { (reader, name) throws(JSONError) in
                    var entry = SubscribeRequest()
                    try subscribe(&reader, into: &entry)
                    // The member's name is the channel, whatever the entry says.
                    entry.channel = reader.text(name)
                    if !FieldReader.isChannel(entry.channel, limit: limits.channel) { reader.isBad = true }
                    request.subscriptions.append(entry)
                }
            case "headers":
                try reader.object { (reader, name) throws(JSONError) in
                    request.headers.append(.init(name: reader.text(name), value: try reader.text()))
                }
            default: try reader.skip()
            }
        }
        if request.subscriptions.count > limits.connectEntries || request.headers.count > limits.connectEntries {
            reader.isBad = true
        }
        return request
    }

    private func subscribe(_ reader: inout FieldReader, into request: inout SubscribeRequest) throws(JSONError) {
        let limits = limits
        try reader.object { (reader, name) throws(JSONError) in
            switch name {
            case "channel": request.channel = try reader.channel(limit: limits.channel)
            case "token": request.token = try reader.text()
            case "recover": request.recover = try reader.boolean()
            case "epoch": request.position.epoch = try reader.epoch()
            case "offset": request.position.offset = try reader.number()
            case "positioned": request.positioned = try reader.boolean()
            case "recoverable": request.recoverable = try reader.boolean()
            case "join_leave": request.joinLeave = try reader.boolean()
            case "data": request.data = try reader.raw()
            case "ack":
                var acknowledgement = AcknowledgementRequest()
                let isPresent = try reader.object { (reader, name) throws(JSONError) in
                    switch name {
                    case "cursor": acknowledgement.cursor = try reader.text(limit: limits.name)
                    case "window": acknowledgement.window = UInt32(try reader.number(limit: UInt64(UInt32.max)))
                    default: try reader.skip()
                    }
                }
                if isPresent { request.acknowledgement = acknowledgement }
            case "delta": if try !reader.isUnused() { request.unsupported.append("delta") }
            case "tf": if try !reader.isUnused() { request.unsupported.append("tf") }
            case "type": if try !reader.isUnused() { request.unsupported.append("type") }
            case "flag":
                // Bit 0 only offers channel compaction, which stock SDKs always do; the others change the meaning.
                if try reader.number() & ~1 != 0 { request.unsupported.append("flag") }
            default: try reader.skip()
            }
        }
    }

    private func history(_ reader: inout FieldReader) throws(JSONError) -> HistoryRequest {
        var request = HistoryRequest()
        let limits = limits
        try reader.object { (reader, name) throws(JSONError) in
            switch name {
            case "channel": request.channel = try reader.channel(limit: limits.channel)
            case "limit":
                let limit = try reader.signed() ?? 0
                request.limit = limit < 0 ? nil : Int(limit)
            case "since":
                var since = StreamPosition()
                let isPresent = try reader.object { (reader, name) throws(JSONError) in
                    try since.member(name, &reader)
                }
                if isPresent { request.since = since }
            case "reverse": request.reverse = try reader.boolean()
            default: try reader.skip()
            }
        }
        requireChannel(request.channel, &reader)
        return request
    }

    private func acknowledge(_ reader: inout FieldReader) throws(JSONError) -> ClientCommand.Method {
        var channel: ArraySlice<UInt8> = []
        var position = StreamPosition()
        var hasOffset = false
        let limits = limits
        try reader.object { (reader, name) throws(JSONError) in
            switch name {
            case "channel": channel = try reader.channel(limit: limits.channel)
            case "offset":
                hasOffset = true
                try position.member(name, &reader)
            default: try position.member(name, &reader)
            }
        }
        requireChannel(channel, &reader)
        if !hasOffset || position.epoch == .none { reader.isBad = true }
        return .acknowledge(channel: channel, position: position)
    }
}

extension StreamPosition {
    mutating func member(_ name: MemberName, _ reader: inout FieldReader) throws(JSONError) {
        switch name {
        case "offset": offset = try reader.number()
        case "epoch": epoch = try reader.epoch()
        default: try reader.skip()
        }
    }
}
