import Glibc

/// The load generator's event loop: one thread, one epoll, one read buffer, one write a connection and round.
///
/// It shares the machine with what it measures, so nothing is parsed that need not be, and nothing is allocated for a
/// message.
final class LoadLoop {
    private let epoll: Epoll
    private let buffer: UnsafeMutableRawBufferPointer
    private(set) var connections: [Connection?] = []
    private var free: [Int] = []
    private var dirty: [Connection] = []
    /// A command under construction.
    var scratch: [UInt8] = []

    /// A WebSocket message or a RESP value on a ready connection.
    var onMessage: (Connection, UnsafeRawBufferPointer) -> Void = { _, _ in }
    /// A connection became usable.
    var onReady: (Connection) -> Void = { _ in }
    /// The server closed a connection, or broke it.
    var onClose: (Connection) -> Void = { _ in }
    /// Connections that are not ready yet.
    private(set) var opening = 0

    init() throws {
        epoll = try Epoll()
        buffer = .allocate(byteCount: 1 << 20, alignment: 4096)
    }

    deinit {
        for connection in connections { if let connection { Glibc.close(connection.descriptor) } }
        epoll.close()
        buffer.deallocate()
    }

    // MARK: Connections

    /// Opens a WebSocket and sends the connect command; `onReady` follows.
    func openWebSocket(
        host: String = loopbackHost,
        port: UInt16,
        tag: Int,
        source: UInt8 = 1
    ) throws -> Connection {
        let socket = try connectNonBlocking(host: host, port: port, source: source)
        let connection = try add(socket, tag: tag, framing: .httpHead)
        opening += 1
        connection.output.append(
            contentsOf: """
                GET /connection/websocket HTTP/1.1\r\nHost: \(host):\(port)\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Version: 13\r\n\r\n
                """.utf8
        )
        markDirty(connection)
        return connection
    }

    /// Opens a Redis connection, usable at once.
    func openRedis(port: UInt16, tag: Int, source: UInt8 = 1) throws -> Connection {
        let connection = try add(try connectNonBlocking(port: port, source: source), tag: tag, framing: .resp)
        connection.state = .ready
        return connection
    }

    private func add(_ descriptor: Int32, tag: Int, framing: Framing) throws -> Connection {
        let token = free.popLast() ?? connections.count
        let connection = Connection(descriptor: descriptor, token: token, tag: tag, framing: framing)
        if token == connections.count { connections.append(connection) } else { connections[token] = connection }
        guard epoll.add(descriptor, token: token, .read) else { throw BenchError("epoll_ctl: \(lastError())") }
        return connection
    }

    /// Closes it without calling `onClose`.
    func close(_ connection: Connection) {
        guard connection.state != .closed else { return }
        if connection.state == .opening, connection.framing != .resp { opening -= 1 }
        connection.state = .closed
        Glibc.close(connection.descriptor)
        connections[connection.token] = nil
        free.append(connection.token)
    }

    func closeAll() { for connection in connections { if let connection { close(connection) } } }

    // MARK: Sending

    /// Has the connection's `output` written at the end of this round.
    @inline(__always)
    func markDirty(_ connection: Connection) {
        guard !connection.isDirty else { return }
        connection.isDirty = true
        dirty.append(connection)
    }

    /// Sends a WebSocket text message.
    func send(_ text: String, on connection: Connection) {
        ClientFrame.append(text, to: &connection.output)
        markDirty(connection)
    }

    /// Writes what the round has produced.
    func flush() {
        for connection in dirty {
            connection.isDirty = false
            if connection.state != .closed, !connection.waitsForWrite { write(connection) }
        }
        dirty.removeAll(keepingCapacity: true)
    }

    private func write(_ connection: Connection) {
        while connection.sent < connection.output.count {
            let count = connection.output.withUnsafeBytes {
                Glibc.send(
                    connection.descriptor,
                    $0.baseAddress! + connection.sent,
                    $0.count - connection.sent,
                    Int32(MSG_NOSIGNAL)
                )
            }
            if count > 0 {
                connection.sent += count
            } else if errno == EAGAIN {
                waitForWrite(connection, true)
                return
            } else if errno != EINTR {
                // Read what is left; the end of the stream is seen there.
                connection.output.removeAll(keepingCapacity: true)
                connection.sent = 0
                return
            }
        }
        connection.output.removeAll(keepingCapacity: true)
        connection.sent = 0
        if connection.waitsForWrite { waitForWrite(connection, false) }
    }

    private func waitForWrite(_ connection: Connection, _ waits: Bool) {
        connection.waitsForWrite = waits
        _ = epoll.modify(connection.descriptor, token: connection.token, waits ? [.read, .write] : .read)
    }

    // MARK: Running

    /// Writes, waits for events at most `milliseconds`, and handles them.
    func turn(milliseconds: Int32) {
        flush()
        let count = epoll.wait(milliseconds: milliseconds)
        guard count > 0 else { return }
        for index in 0..<count {
            let event = epoll.event(index)
            // A token freed and given away again in this round would be rare and harmless: its read finds nothing.
            guard let connection = connections[event.token] else { continue }
            if event.interest.contains(.write) { write(connection) }
            if event.interest.contains(.read) { read(connection) }
        }
        flush()
    }

    /// Turns until `condition` holds; false when `seconds` have passed first.
    func turn(seconds: Double, until condition: () -> Bool) -> Bool {
        let deadline = Clock.now() + UInt64(seconds * 1e9)
        while !condition() {
            guard Clock.now() < deadline else { return false }
            turn(milliseconds: 20)
        }
        return true
    }

    private func read(_ connection: Connection) {
        let carried = connection.carry.count
        if carried > 0 {
            guard carried < buffer.count / 2 else {
                fail(connection)
                return
            }
            connection.carry.withUnsafeBytes {
                buffer.baseAddress!.copyMemory(from: $0.baseAddress!, byteCount: carried)
            }
        }
        let count = recv(connection.descriptor, buffer.baseAddress! + carried, buffer.count - carried, 0)
        guard count > 0 else {
            if count < 0, errno == EAGAIN || errno == EINTR { return }
            fail(connection)
            return
        }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<(carried + count)])
        var at = 0
        do throws(BenchError) {
            while at < bytes.count {
                let rest = UnsafeRawBufferPointer(rebasing: bytes[at...])
                guard let cut = try Cut.first(connection.framing, in: rest) else { break }
                at += cut.length
                handle(connection, cut, UnsafeRawBufferPointer(rebasing: rest[cut.payload]))
                if connection.state == .closed { return }
            }
        } catch {
            fail(connection)
            return
        }
        if carried > 0 { connection.carry.removeAll(keepingCapacity: true) }
        if at < bytes.count { connection.carry.append(contentsOf: bytes[at...]) }
    }

    private func fail(_ connection: Connection) {
        close(connection)
        onClose(connection)
    }

    @inline(__always)
    private func handle(_ connection: Connection, _ cut: Cut, _ payload: UnsafeRawBufferPointer) {
        // The empty command is the server's ping, and the client's answer to it.
        if connection.state == .ready, cut.opcode < 3, payload.count != 2 || connection.framing == .resp {
            onMessage(connection, payload)
        } else {
            handleControl(connection, cut, payload)
        }
    }

    private func handleControl(_ connection: Connection, _ cut: Cut, _ payload: UnsafeRawBufferPointer) {
        if connection.framing == .httpHead {
            guard payload.starts(with: "HTTP/1.1 101".utf8) else {
                fail(connection)
                return
            }
            connection.framing = .webSocket
            connection.lastCommand = 1
            send("{\"id\":1,\"connect\":{\"name\":\"bench\"}}", on: connection)
        } else if cut.opcode == 9 {
            ClientFrame.append(payload, opcode: 10, to: &connection.output)
            markDirty(connection)
        } else if cut.opcode == 8 {
            fail(connection)
        } else if cut.opcode == 1, payload.count == 2 {
            send("{}", on: connection)
        } else if connection.state == .opening, cut.opcode == 1 {
            guard Scan.contains("\"connect\":", in: payload) else {
                fail(connection)
                return
            }
            opening -= 1
            connection.state = .ready
            onReady(connection)
        }
    }
}
