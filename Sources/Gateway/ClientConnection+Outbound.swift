import Broker
import ClientProtocol
import EventLoops
import NIOCore
import Primitives
import Rooms
import WebSocket

extension ClientConnection {
    // MARK: Queueing

    /// Queues a whole frame that answers the client or concerns the connection; it is never dropped.
    func send(reply frame: [UInt8]) {
        guard case .webSocket = phase else { return }
        enqueue(OutboundFrame(reply: shard.allocator.buffer(bytes: frame)))
    }

    /// Queues a text frame.
    func send(_ body: (inout [UInt8]) -> Void) {
        var frame: [UInt8] = []
        frame.reserveCapacity(192)
        FrameWriter.append(.text, lengthHint: 120, to: &frame, body: body)
        send(reply: frame)
    }

    func enqueue(_ frame: OutboundFrame) {
        guard let session else { return }
        if !shard.delivery.give(frame, to: session.slot) { enqueueBehind(frame) }
    }

    /// Queues a frame that cannot go by this tick's list: the socket is not writable, something waits already, or the
    /// list is full.
    func enqueueBehind(_ frame: OutboundFrame) {
        guard let session else { return }
        if frame.isStored, pausedRooms.contains(frame.room) { return }
        if writeEarly(), shard.delivery.give(frame, to: session.slot) { return }
        guard self.session != nil else { return }
        // What is queued still goes out. What comes now and does not fit is for the node that the client goes to.
        if isLeaving, !frame.isReply {
            return frame.isStored ? pause(session, frame.room, nextOffset: frame.offset) : countDrop(frame.room)
        }
        spill()
        let queue = openBacklog()
        let before = queue.bytes
        defer { shard.metrics.queuedBytes += queue.bytes - before }
        let configuration = shard.configuration
        while !queue.isEmpty,
            queue.bytes + frame.count > configuration.queueBytes || queue.count >= configuration.writeMessages
        {
            if let dropped = queue.dropBestEffort(notBetterThan: frame.rank) {
                countDrop(dropped.room)
            } else if let evicted = queue.evictRoom(worseThan: frame.rank) {
                pause(session, evicted.room, nextOffset: evicted.from)
            } else if frame.isStored {
                return pause(session, frame.room, nextOffset: frame.offset)
            } else if frame.isReply {
                shard.closeLater(self, .slow)
                return
            } else {
                return countDrop(frame.room)
            }
        }
        queue.append(frame)
        shard.delivery.mark(session.slot)
    }

    /// A full list of a socket that takes it leaves before the tick's end: a burst is no reason to drop anything. False
    /// when the socket does not take it all.
    private func writeEarly() -> Bool {
        guard let session, backlog == nil, !isHeld, isSocketWritable else { return false }
        let node = shard.delivery.take(session.slot)
        guard node != TickFrames.root else { return false }
        writeList(node)
        hasUnflushed = false
        shard.metrics.flushes += 1
        stream.flush()
        return isSocketWritable
    }

    /// What was listed for this tick goes into the queue, ahead of what follows.
    private func spill() {
        guard let session else { return }
        let node = shard.delivery.take(session.slot)
        if node != TickFrames.root { spill(node) }
    }

    @discardableResult
    func openBacklog() -> OutboundQueue {
        if let backlog { return backlog }
        let queue = OutboundQueue()
        backlog = queue
        if let session { shard.delivery.setDirect(session.slot, false) }
        return queue
    }

    private func pause(_ session: SessionID, _ room: HubRoomID, nextOffset: UInt64) {
        if !pausedRooms.contains(room) { pausedRooms.append(room) }
        shard.metrics.pauses += 1
        shard.broker.pause(session, room, nextOffset: nextOffset)
        shard.calledBroker()
    }

    private func countDrop(_ room: HubRoomID) {
        droppedRoom = droppedCount == 0 || droppedRoom == room ? room : -1
        droppedCount += 1
        shard.metrics.drop(shard.rooms[room]?.deliveryClass ?? .bestEffort, .slow)
    }

    // MARK: Writing

    /// Writes this tick's list and what waits, as far as the socket takes it, and flushes once.
    func flush(_ node: TickFrames.Node) {
        if node != TickFrames.root {
            if backlog == nil, !isHeld, isSocketWritable {
                writeList(node)
            } else {
                spill(node)
            }
        }
        if !isHeld { drain() }
        if hasUnflushed {
            hasUnflushed = false
            shard.metrics.flushes += 1
            stream.flushAtEndOfTick()
        }
        if case .webSocket = phase { noteWritability() }
    }

    private func spill(_ node: TickFrames.Node) {
        var listed: ContiguousArray<OutboundFrame> = []
        shard.delivery.collect(node, into: &listed)
        let queue = openBacklog()
        for frame in listed {
            queue.append(frame)
            shard.metrics.queuedBytes += frame.count
        }
    }

    private func writeList(_ node: TickFrames.Node) {
        let bytes = shard.delivery.frames.bytes(of: node)
        let count = shard.delivery.frames.count(of: node)
        shard.metrics.messagesSent &+= UInt64(count)
        if count == 1 || shard.delivery.frames.users(of: node) > 1 && bytes <= 64 << 10 {
            write(shard.delivery.shared(node, allocator: shard.allocator))
        } else if bytes <= GatewayShard.corkCapacity {
            shard.cork.clear()
            shard.delivery.append(node, to: &shard.cork)
            write(shard.cork)
        } else {
            var listed: ContiguousArray<OutboundFrame> = []
            shard.delivery.collect(node, into: &listed)
            for frame in listed { write(frame.bytes) }
        }
    }

    /// Writes from the queue while the socket is writable. When the queue is empty the session goes back to direct
    /// delivery, learns what was dropped, and its paused rooms catch up.
    private func drain() {
        guard let queue = backlog, case .webSocket = phase else { return }
        let before = queue.bytes
        while isSocketWritable, !queue.isEmpty {
            shard.cork.clear()
            while shard.cork.readableBytes < GatewayShard.corkCapacity, let frame = queue.popFirst() {
                shard.metrics.messagesSent += 1
                if frame.count > GatewayShard.corkCapacity {
                    if shard.cork.readableBytes > 0 { write(shard.cork) }
                    write(frame.bytes)
                    shard.cork.clear()
                    break
                }
                shard.cork.writeImmutableBuffer(frame.bytes)
            }
            if shard.cork.readableBytes > 0 { write(shard.cork) }
        }
        shard.metrics.queuedBytes -= before - queue.bytes
        guard queue.isEmpty, isSocketWritable else { return }
        backlog = nil
        if let session { shard.delivery.setDirect(session.slot, true) }
        if droppedCount > 0 {
            var frame: [UInt8] = []
            FrameWriter.append(.text, lengthHint: 96, to: &frame) { appendDropNotice(to: &$0) }
            droppedCount = 0
            write(shard.allocator.buffer(bytes: frame))
        }
        if !pausedRooms.isEmpty, !isLeaving, let session {
            pausedRooms.removeAll(keepingCapacity: true)
            shard.broker.sessionWritable(session)
            shard.calledBroker()
        }
    }

    private func write(_ bytes: ByteBuffer) {
        shard.metrics.bytesOut &+= UInt64(bytes.readableBytes)
        hasUnflushed = true
        stream.write(bytes)
    }

    private func appendDropNotice(to out: inout [UInt8]) {
        let name = droppedRoom.flatMap { shard.rooms[$0]?.name } ?? []
        switch dialect {
        case .centrifugo:
            PushEncoder.appendDropped(channel: name, count: droppedCount, reason: "slow", to: &out)
        case .plain: PlainNotice.appendDropped(count: droppedCount, room: name, to: &out)
        }
    }

    func writabilityChanged(_ isWritable: Bool) {
        isSocketWritable = isWritable
        guard case .webSocket = phase, let session else { return }
        shard.readClocks()
        noteWritability()
        if isWritable, backlog != nil { shard.delivery.mark(session.slot) }
        shard.finishInput()
    }

    private func noteWritability() {
        guard let session else { return }
        if isSocketWritable {
            stalledSince = nil
            if backlog == nil { shard.delivery.setDirect(session.slot, true) }
        } else {
            shard.delivery.setDirect(session.slot, false)
            if stalledSince == nil {
                stalledSince = shard.now
                shard.arm(self, at: shard.now + shard.configuration.slowTimeout)
            }
        }
    }

    // MARK: Time

    /// When the client has been silent for too long.
    var idleDeadline: Instant {
        let limit = shard.configuration.idleTimeout
        return limit > .zero ? lastHeard + limit : .distantFuture
    }

    /// Does what is due; returns when to look again.
    func onTimer() -> Instant {
        let now = shard.now
        let configuration = shard.configuration
        switch phase {
        case .closed: return .distantFuture
        case .head, .body:
            if deadline > now { return deadline }
            if isResting { closeSocket() } else { timeOutRequest() }
            return .distantFuture
        case .answering, .closing: return .distantFuture
        case .webSocket: break
        }
        if dialect == .centrifugo, !isConnected, deadline <= now {
            close(.stale)
            return .distantFuture
        }
        if let stalled = stalledSince, stalled + configuration.slowTimeout <= now {
            close(.slow, waitsForPeer: false)
            return .distantFuture
        }
        if pongDeadline <= now {
            close(.noPong, waitsForPeer: false)
            return .distantFuture
        }
        if idleDeadline <= now {
            close(Disconnect(code: dialect == .centrifugo ? 3000 : 1001, reason: "idle"), waitsForPeer: false)
            return .distantFuture
        }
        if nextPing <= now {
            nextPing = now + heartbeat.pingInterval
            pongDeadline = min(pongDeadline, now + heartbeat.pingTimeout)
            enqueue(OutboundFrame(reply: dialect == .centrifugo ? shard.pingFrame : shard.webSocketPingFrame))
        }
        var next = min(nextPing, pongDeadline, idleDeadline)
        if dialect == .centrifugo, !isConnected { next = min(next, deadline) }
        if let stalledSince { next = min(next, stalledSince + configuration.slowTimeout) }
        return next
    }
}

/// Notices of `/ws` that the protocol's encoder does not have: our own losses are never silent.
enum PlainNotice {
    static func appendDropped(count: UInt64, room: ArraySlice<UInt8>, to out: inout [UInt8]) {
        out.append(contentsOf: #"{"type":"dropped","count":"#.utf8)
        JSONWriter.append(number: count, to: &out)
        appendRoom(room, to: &out)
        out.append(UInt8(ascii: "}"))
    }

    static func appendGap(_ gap: Gap, room: ArraySlice<UInt8>, to out: inout [UInt8]) {
        out.append(contentsOf: #"{"type":"gap","from":"#.utf8)
        JSONWriter.append(number: gap.from, to: &out)
        out.append(contentsOf: #","to":"#.utf8)
        JSONWriter.append(number: gap.to, to: &out)
        appendRoom(room, to: &out)
        out.append(UInt8(ascii: "}"))
    }

    private static func appendRoom(_ room: ArraySlice<UInt8>, to out: inout [UInt8]) {
        guard !room.isEmpty else { return }
        out.append(contentsOf: #","room":"#.utf8)
        JSONWriter.append(text: room, to: &out)
    }
}
