import ClientProtocol

/// One message of the server, decoded: a reply, a push or a ping. Members that this client has no use for are skipped.
struct ServerMessage {
    struct Failure {
        var code: UInt32 = 0
        var message = ""
        var isTemporary = false
    }

    /// The union of the results that matter to us; the method is known from the request's id.
    struct Reply {
        var epoch: UInt64?
        var offset: UInt64 = 0
        var isDuplicate = false
        var recovered = false
        var wasRecovering = false
        var isPositioned = false
        var pingInterval: UInt64 = 0
        var client: [UInt8] = []
        var publications: [Publication] = []
        /// Server-side subscriptions of a connect reply.
        var subscriptions: [(channel: [UInt8], reply: Reply)] = []
    }

    struct Publication {
        var data: [UInt8] = []
        var offset: UInt64 = 0
        var time: UInt64 = 0
        var id: [UInt8] = []
        var tags: [UInt8] = []
    }

    enum Push {
        case publication(Publication)
        case gap(from: UInt64, to: UInt64, reason: String)
        case dropped(count: UInt64)
        case unsubscribe(code: UInt32)
        case other
    }

    enum Content {
        case ping
        case reply(id: UInt64, Result<Reply, ClientFailure>)
        case push(channel: [UInt8], Push)
    }

    /// Decodes a frame: messages separated by line feeds.
    static func decode(_ frame: [UInt8]) throws(JSONError) -> [Content] {
        try frame.withUnsafeBytes { raw -> Result<[Content], JSONError> in
            var scanner = Source(raw)
            var messages: [Content] = []
            do throws(JSONError) {
                scanner.skipWhitespace()
                while !scanner.isAtEnd {
                    messages.append(try message(&scanner))
                    scanner.skipWhitespace()
                }
                return .success(messages)
            } catch {
                return .failure(error)
            }
        }.get()
    }

    private static func message(_ scanner: inout Source) throws(JSONError) -> Content {
        var id: UInt64 = 0
        var failure: ClientFailure?
        var reply = Reply()
        var push: Content?
        var isEmpty = true
        try object(&scanner) { (name, scanner) throws(JSONError) in
            isEmpty = false
            switch name {
            case "id": id = try number(&scanner)
            case "error":
                var found = Failure()
                try object(&scanner) { (name, scanner) throws(JSONError) in
                    switch name {
                    case "code": found.code = UInt32(clamping: try number(&scanner))
                    case "message": found.message = String(decoding: try text(&scanner), as: UTF8.self)
                    case "temporary": found.isTemporary = try flag(&scanner)
                    default: _ = try scanner.value()
                    }
                }
                failure = .server(code: found.code, message: found.message, isTemporary: found.isTemporary)
            case "push": push = try self.push(&scanner)
            default: reply = try self.reply(&scanner)
            }
        }
        if isEmpty { return .ping }
        if let push { return push }
        return .reply(id: id, failure.map { .failure($0) } ?? .success(reply))
    }

    private static func reply(_ scanner: inout Source) throws(JSONError) -> Reply {
        var reply = Reply()
        try object(&scanner) { (name, scanner) throws(JSONError) in
            switch name {
            case "epoch": reply.epoch = EpochText.parse(try text(&scanner)[...])
            case "offset": reply.offset = try number(&scanner)
            case "duplicate": reply.isDuplicate = try flag(&scanner)
            case "recovered": reply.recovered = try flag(&scanner)
            case "was_recovering": reply.wasRecovering = try flag(&scanner)
            case "positioned": reply.isPositioned = try flag(&scanner)
            case "ping": reply.pingInterval = try number(&scanner)
            case "client": reply.client = try text(&scanner)
            case "publications":
                guard try scanner.peek() == UInt8(ascii: "[") else {
                    _ = try scanner.value()
                    return
                }
                try scanner.enterArray()
                while try scanner.nextElement() { reply.publications.append(try publication(&scanner)) }
            case "subs":
                try object(&scanner) { (name, scanner) throws(JSONError) in
                    reply.subscriptions.append((Array(name.utf8), try self.reply(&scanner)))
                }
            default: _ = try scanner.value()
            }
        }
        return reply
    }

    private static func push(_ scanner: inout Source) throws(JSONError) -> Content {
        var channel: [UInt8] = []
        var push = Push.other
        try object(&scanner) { (name, scanner) throws(JSONError) in
            switch name {
            case "channel": channel = try text(&scanner)
            case "pub": push = .publication(try publication(&scanner))
            case "gap", "dropped", "unsubscribe":
                var from: UInt64 = 0
                var to: UInt64 = 0
                var count: UInt64 = 0
                var code: UInt64 = 0
                var reason = ""
                try object(&scanner) { (name, scanner) throws(JSONError) in
                    switch name {
                    case "from": from = try number(&scanner)
                    case "to": to = try number(&scanner)
                    case "count": count = try number(&scanner)
                    case "code": code = try number(&scanner)
                    case "reason": reason = String(decoding: try text(&scanner), as: UTF8.self)
                    default: _ = try scanner.value()
                    }
                }
                switch name {
                case "gap": push = .gap(from: from, to: to, reason: reason)
                case "dropped": push = .dropped(count: count)
                default: push = .unsubscribe(code: UInt32(clamping: code))
                }
            default: _ = try scanner.value()
            }
        }
        return .push(channel: channel, push)
    }

    private static func publication(_ scanner: inout Source) throws(JSONError) -> Publication {
        var publication = Publication()
        try object(&scanner) { (name, scanner) throws(JSONError) in
            switch name {
            case "data":
                let value = try scanner.value()
                publication.data = scanner.raw(value)
            case "b64data": publication.data = try text(&scanner)
            case "offset": publication.offset = try number(&scanner)
            case "time": publication.time = try number(&scanner)
            case "id": publication.id = try text(&scanner)
            case "tags":
                let value = try scanner.value()
                publication.tags = scanner.raw(value)
            default: _ = try scanner.value()
            }
        }
        return publication
    }

    // MARK: Steps

    private static func object(
        _ scanner: inout Source,
        _ body: (String, inout Source) throws(JSONError) -> Void
    ) throws(JSONError) {
        guard try scanner.peek() == UInt8(ascii: "{") else {
            _ = try scanner.value()
            return
        }
        try scanner.enterObject()
        while let token = try scanner.nextMember() {
            try body(String(decoding: scanner.text(token), as: UTF8.self), &scanner)
        }
    }

    private static func number(_ scanner: inout Source) throws(JSONError) -> UInt64 {
        let value = try scanner.value()
        return scanner.unsigned(value) ?? 0
    }

    private static func flag(_ scanner: inout Source) throws(JSONError) -> Bool {
        let value = try scanner.value()
        return scanner.boolean(value) ?? false
    }

    private static func text(_ scanner: inout Source) throws(JSONError) -> [UInt8] {
        let value = try scanner.value()
        return value.kind == .string ? scanner.text(value) : []
    }

    /// The scanner, and the bytes that it reads.
    private struct Source {
        private var scanner: JSONScanner
        private let bytes: UnsafeRawBufferPointer

        init(_ bytes: UnsafeRawBufferPointer) {
            self.bytes = bytes
            scanner = JSONScanner(bytes)
        }

        var isAtEnd: Bool { scanner.isAtEnd }
        mutating func skipWhitespace() { scanner.skipWhitespace() }
        mutating func peek() throws(JSONError) -> UInt8 { try scanner.peek() }
        mutating func value() throws(JSONError) -> JSONValue { try scanner.value() }
        mutating func enterObject() throws(JSONError) { try scanner.enterObject() }
        mutating func enterArray() throws(JSONError) { try scanner.enterArray() }
        mutating func nextMember() throws(JSONError) -> JSONValue? { try scanner.nextMember() }
        mutating func nextElement() throws(JSONError) -> Bool { try scanner.nextElement() }
        func text(_ value: JSONValue) -> [UInt8] { scanner.text(value) }
        func unsigned(_ value: JSONValue) -> UInt64? { scanner.unsigned(value) }
        func boolean(_ value: JSONValue) -> Bool? { scanner.boolean(value) }
        /// A value's JSON as it stands there.
        func raw(_ value: JSONValue) -> [UInt8] { [UInt8](bytes[value.range]) }
    }
}
