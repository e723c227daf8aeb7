/// Commands of the Centrifugo client protocol v2, with command numbers counted per connection.
extension LoadLoop {
    /// Subscribes; with `after`, asks for what came behind that position.
    func subscribe(_ connection: Connection, room: String, after position: (epoch: String, offset: UInt64)? = nil) {
        connection.lastCommand += 1
        var text = "{\"id\":\(connection.lastCommand),\"subscribe\":{\"channel\":\"\(room)\""
        if let position {
            text += ",\"recover\":true,\"epoch\":\"\(position.epoch)\",\"offset\":\(position.offset)"
        }
        send(text + "}}", on: connection)
    }

    /// Publishes message `number`; returns the command's number.
    @discardableResult
    func publish(
        _ connection: Connection,
        room: [UInt8],
        message number: UInt64,
        size: Int,
        idempotent: Bool = false
    ) -> UInt64 {
        connection.lastCommand += 1
        scratch.removeAll(keepingCapacity: true)
        append("{\"id\":")
        appendNumber(connection.lastCommand)
        append(",\"publish\":{\"channel\":\"")
        scratch.append(contentsOf: room)
        append("\",\"data\":")
        Payload.append(number, size: size, to: &scratch)
        if idempotent {
            append(",\"idempotency_key\":\"b")
            appendNumber(number)
            append("\"")
        }
        append("}}")
        scratch.withUnsafeBytes { ClientFrame.append($0, to: &connection.output) }
        markDirty(connection)
        return connection.lastCommand
    }

    /// A page of a room's history behind `since`.
    func history(_ connection: Connection, room: String, since: (epoch: String, offset: UInt64)?, limit: Int) {
        connection.lastCommand += 1
        var text = "{\"id\":\(connection.lastCommand),\"history\":{\"channel\":\"\(room)\",\"limit\":\(limit)"
        if let since { text += ",\"since\":{\"offset\":\(since.offset),\"epoch\":\"\(since.epoch)\"}" }
        send(text + "}}", on: connection)
    }

    /// `PUBLISH room payload`, as RESP.
    func redisPublish(_ connection: Connection, room: [UInt8], message number: UInt64, size: Int) {
        scratch.removeAll(keepingCapacity: true)
        append("*3\r\n$7\r\nPUBLISH\r\n$")
        appendNumber(UInt64(room.count))
        append("\r\n")
        scratch.append(contentsOf: room)
        append("\r\n$")
        appendNumber(UInt64(max(size, Payload.minimumSize)))
        append("\r\n")
        Payload.append(number, size: size, to: &scratch)
        append("\r\n")
        connection.output.append(contentsOf: scratch)
        markDirty(connection)
    }

    func redisSubscribe(_ connection: Connection, room: String) {
        connection.output.append(
            contentsOf: "*2\r\n$9\r\nSUBSCRIBE\r\n$\(room.utf8.count)\r\n\(room)\r\n".utf8
        )
        markDirty(connection)
    }

    private func append(_ text: StaticString) {
        scratch.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    private func appendNumber(_ number: UInt64) {
        if number >= 10 { appendNumber(number / 10) }
        scratch.append(0x30 + UInt8(number % 10))
    }
}
