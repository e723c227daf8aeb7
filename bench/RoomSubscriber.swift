import HistoryChecker
import Primitives

/// The subscriber of one room in the failover benchmark: it resumes where it was, at whichever node answers.
struct RoomSubscriber {
    let room: String
    let number: UInt32
    private let index: Int
    private var node: Int
    private var connection: Connection?
    private var openedAt: UInt64 = 0
    private var reconnectAt: UInt64 = 0
    private var resubscribeAt = UInt64.max
    private var position: (epoch: String, offset: UInt64)?
    private var epoch: UInt32 = 0
    private(set) var isSubscribed = false
    private(set) var lastReceived: UInt64 = 0
    /// The process number of the first subscriber, in the history.
    static let firstProcess: UInt32 = 100_001

    init(index: Int, room: String, number: UInt32, node: Int) {
        self.index = index
        self.room = room
        self.number = number
        self.node = node
    }

    mutating func pump(_ now: UInt64, _ load: FailoverLoad) {
        guard let connection else {
            guard now >= reconnectAt else { return }
            self.connection = load.open(node, tag: index)
            openedAt = now
            if self.connection == nil { isClosed(load, now) }
            return
        }
        guard connection.state == .ready else {
            if now - openedAt > FailoverLoad.openTimeout {
                load.abandon(connection)
                isClosed(load, now)
            }
            return
        }
        guard now >= resubscribeAt else { return }
        resubscribeAt = .max
        load.subscribe(connection, room, after: position)
    }

    func isReady(_ loop: LoadLoop, _ connection: Connection) {
        loop.subscribe(connection, room: room, after: position)
    }

    mutating func isClosed(_ load: FailoverLoad, _ now: UInt64) {
        connection = nil
        node = load.next(after: node)
        reconnectAt = now + FailoverLoad.retryDelay / 2
        resubscribeAt = .max
    }

    mutating func receive(_ line: UnsafeRawBufferPointer, _ now: UInt64, _ load: FailoverLoad) {
        if line.starts(with: "{\"push\":".utf8) {
            push(line, now, load)
        } else if Scan.contains("\"subscribe\":", in: line), let page = HistoryPage(line) {
            subscribed(page, isRecovered: Scan.contains("\"recovered\":true", in: line), now, load)
        } else if Scan.contains("\"error\":", in: line) {
            // 112: the position cannot be resumed; the room begins anew for this subscriber.
            if Scan.number(after: "\"code\":", in: line) == 112 { position = nil }
            resubscribeAt = now + 2 * FailoverLoad.retryDelay
        }
    }

    private mutating func subscribed(_ page: HistoryPage, isRecovered: Bool, _ now: UInt64, _ load: FailoverLoad) {
        isSubscribed = true
        epoch = page.epoch.isEmpty ? 0 : load.epochs.number(of: page.epoch)
        let start: UInt64
        if let position, isRecovered { start = position.offset } else { start = page.top }
        record(.subscribe, offset: start, message: 0, now, load)
        position = (page.epoch, start)
        guard isRecovered else { return }
        for entry in page.entries { received(entry.offset, entry.message, now, load) }
    }

    private mutating func push(_ line: UnsafeRawBufferPointer, _ now: UInt64, _ load: FailoverLoad) {
        var at = 0
        if let message = Payload.next(in: line, &at), let offset = Scan.number(after: "\"offset\":", in: line, from: at)
        {
            received(offset, message, now, load)
        } else if Scan.contains("\"gap\":", in: line), let last = Scan.number(after: "\"to\":", in: line) {
            record(.subscribe, offset: last, message: 0, now, load)
            position?.offset = last
        } else if Scan.contains("\"unsubscribe\":", in: line) {
            resubscribeAt = now
        }
    }

    private mutating func received(_ offset: UInt64, _ message: UInt64, _ now: UInt64, _ load: FailoverLoad) {
        record(.receive, offset: offset, message: message, now, load)
        lastReceived = now
        position?.offset = offset
    }

    private func record(_ kind: RecordKind, offset: UInt64, message: UInt64, _ now: UInt64, _ load: FailoverLoad) {
        load.observations.append(
            HistoryRecord(
                invoked: Instant(nanoseconds: now),
                returned: Instant(nanoseconds: now),
                process: Self.firstProcess + UInt32(index),
                kind: kind,
                room: number,
                epoch: epoch,
                message: message,
                offset: offset
            )
        )
    }
}
