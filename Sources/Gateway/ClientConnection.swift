import Broker
import ClientProtocol
import EventLoops
import NIOCore
import Primitives
import Rooms
import WebSocket

/// One client socket, from accept to close: an HTTP head first, then a WebSocket session or one HTTP request after the
/// other. Confined to its shard's event loop.
final class ClientConnection: ByteStreamHandler {
    enum Phase {
        /// Waits for an HTTP request head.
        case head
        /// Waits for the body of a publish request.
        case body(HTTPRequestHead)
        /// An HTTP request waits for the broker's answer; nothing is read meanwhile.
        case answering(keepAlive: Bool)
        case webSocket
        /// Our close frame, or the last HTTP response, was written.
        case closing
        case closed
    }

    /// What was decided when the socket was accepted.
    enum Admission {
        case open
        /// The node is crowded: to another one, if one has room.
        case redirected
        /// Every request is answered by 307 or 503.
        case refused
    }

    enum Dialect {
        case centrifugo
        case plain
    }

    /// A room that this session is in, or asked to be in.
    struct Membership {
        var name: RoomName
        /// -1 until the broker has answered.
        var room: HubRoomID = -1
        /// The row of the room's namespace.
        var namespace: Int32
        /// The server made it: listed in the connect reply, or one of the rooms that `/ws` is in from the start.
        var isServerSide: Bool
        var ackWindow: UInt32?
        var cursor: ArraySlice<UInt8> = []
    }

    unowned let shard: GatewayShard
    let stream: ByteStream
    /// Place in the shard's table of connections.
    let entry: TimerWheel.Entry
    let admission: Admission

    var phase = Phase.head
    var dialect = Dialect.centrifugo
    var session: SessionID?
    /// Who the client says that it is; empty = nobody.
    var user: [UInt8] = []
    /// What is left of the namespaces' publish rates.
    var allowance = PublishAllowance()
    /// The HTTP request in hand came with the API key.
    var isTrusted = false
    /// An HTTP connection between two requests.
    var isResting = false

    // Inbound.
    var requestParser: HTTPRequestParser
    var frameParser: FrameParser?
    /// Requests that the broker has not answered.
    var outstanding = 0
    /// The rest of a Centrifugo frame whose commands wait until replies have left.
    var pausedFrame: ClientFrameDecoder?
    var isReadingPaused = false
    /// Told to go by a drain: nothing is read any more, and what it waits for is still written.
    var isLeaving = false

    // Outbound.
    /// Exists while frames wait for the socket.
    var backlog: OutboundQueue?
    /// Nothing is written: the connect reply must be first.
    var isHeld = false
    /// Rooms whose messages wait in the log.
    var pausedRooms: [HubRoomID] = []
    var droppedCount: UInt64 = 0
    /// The room of all dropped messages since the last notice, -1 when there were several.
    var droppedRoom: HubRoomID?
    var stalledSince: Instant?
    /// Something was written since the last flush.
    var hasUnflushed = false
    /// As NIO last said; asking the channel three times a flush costs more than the flush's own work.
    var isSocketWritable = true

    // Rooms and requests.
    var memberships: [Membership] = []
    var connecting: ConnectState?
    var isConnected = false
    /// Raw JSON ids of plain requests in flight, by the number in their token.
    var plainIDs: [UInt32: [UInt8]] = [:]
    var nextRequest: UInt32 = 0

    // Time.
    let acceptedAt: Instant
    var lastHeard: Instant
    /// The tightest of the rooms' and the node's own.
    var heartbeat: Heartbeat
    var nextPing = Instant.distantFuture
    /// Of the ping that is not answered.
    var pongDeadline = Instant.distantFuture
    /// Handshake, connect, request or close must be done by then.
    var deadline: Instant
    /// When the wheel looks at this connection next.
    var armed = Instant.distantFuture
    /// What the close is counted under; nil while nobody has said.
    var closeCode: UInt16?

    init(shard: GatewayShard, stream: ByteStream, entry: TimerWheel.Entry, admission: Admission) {
        self.shard = shard
        self.stream = stream
        self.entry = entry
        self.admission = admission
        acceptedAt = shard.now
        lastHeard = shard.now
        heartbeat = shard.heartbeat
        deadline = shard.now + shard.configuration.handshakeTimeout
        requestParser = HTTPRequestParser(byteLimit: shard.configuration.httpHead)
    }

    // MARK: Inbound bytes

    func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        shard.readClocks()
        lastHeard = shard.now
        let consumed = consume(bytes)
        shard.metrics.bytesIn &+= UInt64(consumed)
        updateReading()
        shard.finishInput()
        return consumed
    }

    /// Handles as many requests as may be handled now; returns the bytes that are done with.
    private func consume(_ raw: UnsafeMutableRawBufferPointer) -> Int {
        var consumed = 0
        while true {
            let rest = UnsafeRawBufferPointer(rebasing: raw[consumed...])
            switch phase {
            case .head:
                guard let used = consumeHead(rest) else { return consumed }
                consumed += used
            case .body(let head):
                guard let used = consumeBody(rest, head) else {
                    stream.bytesNeeded = head.contentLength ?? 1
                    return consumed
                }
                consumed += used
            case .webSocket:
                consumeFrames(raw, &consumed)
                if case .webSocket = phase, !isBlocked { stream.bytesNeeded = frameParser?.bytesNeeded ?? 1 }
                return consumed
            case .answering: return consumed
            case .closing, .closed: return raw.count
            }
        }
    }

    private func consumeFrames(_ raw: UnsafeMutableRawBufferPointer, _ consumed: inout Int) {
        while !isBlocked {
            let event: FrameEvent?
            do throws(WebSocketError) {
                event = try frameParser!.next(raw, consumed: &consumed)
            } catch {
                consumed = raw.count
                close(Disconnect(code: error.closeCode.rawValue, reason: error.reason))
                return
            }
            guard let event else { return }
            handle(event, in: raw)
            guard case .webSocket = phase else { return consumed = raw.count }
        }
    }

    private func handle(_ event: FrameEvent, in raw: UnsafeMutableRawBufferPointer) {
        switch event.kind {
        case .text:
            shard.metrics.messagesReceived += 1
            switch dialect {
            case .centrifugo: handleFrame(event.payload(in: raw))
            case .plain: handlePlain(event.payload(in: raw))
            }
        case .binary:
            close(
                dialect == .centrifugo
                    ? .inappropriateProtocol
                    : Disconnect(code: CloseCode.unsupportedData.rawValue, reason: "text frames only")
            )
        case .ping:
            event.withPayload(in: raw) { payload in
                var frame: [UInt8] = []
                FrameWriter.append(.pong, payload, to: &frame)
                send(reply: frame)
            }
        case .pong: pongDeadline = .distantFuture
        case .close:
            closeCode = event.closeCode?.rawValue ?? CloseCode.noStatus.rawValue
            var frame: [UInt8] = []
            FrameWriter.appendClose(event.closeCode, to: &frame)
            finish(with: frame)
            stream.finish(linger: shard.closeLinger)
        }
    }

    // MARK: Flow control of requests

    /// Requests beyond `max_queue` wait unread (BP-04).
    var isBlocked: Bool { outstanding >= shard.configuration.maxQueue || pausedFrame != nil }

    /// A reply has left: what waited may go on, after the directive in hand.
    func answered() {
        outstanding -= 1
        if isReadingPaused || pausedFrame != nil { shard.resume(self) }
    }

    /// Handles what waited while replies were outstanding. Not from inside `received`.
    func resume() {
        if let frame = pausedFrame, outstanding < shard.configuration.maxQueue {
            pausedFrame = nil
            handleCommands(frame)
        }
        updateReading()
    }

    func updateReading() {
        let mustPause: Bool
        switch phase {
        case .webSocket: mustPause = isBlocked || isLeaving
        case .answering: mustPause = true
        default: mustPause = false
        }
        guard mustPause != isReadingPaused else { return }
        isReadingPaused = mustPause
        if mustPause, !isLeaving { shard.metrics.readPauses += 1 }
        if mustPause { stream.pauseReading() } else { stream.resumeReading() }
    }

    // MARK: Closing

    /// Ends a session with a close frame, or an HTTP connection without one.
    func close(_ disconnect: Disconnect, waitsForPeer: Bool = true) {
        switch phase {
        case .closing, .closed: return
        case .webSocket: break
        default: return closeSocket()
        }
        closeCode = disconnect.code
        var frame: [UInt8] = []
        FrameWriter.appendClose(CloseCode(disconnect.code), reason: disconnect.reason, to: &frame)
        finish(with: frame)
        if waitsForPeer { stream.finish(linger: shard.closeLinger) } else { stream.close() }
    }

    /// Writes what waits if the socket takes it, then a last frame; the session is gone after this.
    private func finish(with frame: [UInt8]) {
        isHeld = false
        if let session { flush(shard.take(session.slot)) }
        if case .closed = phase { return }
        if backlog == nil || isSocketWritable { stream.write(shard.allocator.buffer(bytes: frame)) }
        stream.flush()
        phase = .closing
        leaveShard()
    }

    /// Closes without a word.
    func closeSocket() {
        if case .closed = phase { return }
        phase = .closing
        leaveShard()
        stream.close()
    }

    /// The session's end: the broker and the tables forget it.
    func leaveShard() {
        if isReadingPaused {
            isReadingPaused = false
            stream.resumeReading()
        }
        backlog.map { shard.metrics.queuedBytes -= $0.bytes }
        backlog = nil
        pausedFrame = nil
        connecting = nil
        memberships = []
        plainIDs = [:]
        stalledSince = nil
        nextPing = .distantFuture
        pongDeadline = .distantFuture
        if let session {
            self.session = nil
            shard.end(session)
        }
    }

    func closed(_ reason: StreamCloseReason) {
        if case .closed = phase { return }
        shard.readClocks()
        if case .failed = reason, frameParser != nil { shard.metrics.sendErrors += 1 }
        leaveShard()
        phase = .closed
        shard.remove(self, code: frameParser == nil ? nil : closeCode ?? CloseCode.abnormal.rawValue)
    }
}
