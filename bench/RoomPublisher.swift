import Histogram
import HistoryChecker
import Primitives

/// The publisher of one room in the failover benchmark.
struct RoomPublisher {
    private struct Sent {
        var command: UInt64
        var message: UInt64
        var at: UInt64
    }

    let room: [UInt8]
    let number: UInt32
    /// Its own number, from 1.
    let publisher: UInt32
    private var node: Int
    private var connection: Connection?
    private var openedAt: UInt64 = 0
    private var reconnectAt: UInt64 = 0
    var nextDue: UInt64 = 0
    /// Messages that were never sent, oldest first.
    private var waiting: [UInt64] = []
    private var waitingHead = 0
    /// Messages to be sent again, with the time from which they may be.
    private var again: [(message: UInt64, at: UInt64)] = []
    private var sent: [Sent] = []
    private var epochCache = EpochCache()
    private(set) var lastAcknowledged: UInt64 = 0
    /// After refusals: nothing is sent before `resumeAt`.
    private var pause: UInt64 = 0
    private var resumeAt: UInt64 = 0

    init(index: Int, room: String, number: UInt32, node: Int) {
        publisher = UInt32(index + 1)
        self.room = Array(room.utf8)
        self.number = number
        self.node = node
    }

    var isIdle: Bool { waitingHead == waiting.count && again.isEmpty && sent.isEmpty }

    /// Makes the messages that are due by `now`.
    mutating func schedule(_ now: UInt64, _ interval: UInt64, _ load: FailoverLoad) {
        while nextDue <= now {
            for _ in 0..<load.layout.burst {
                waiting.append(load.makeMessage(room: number, publisher: publisher, due: nextDue))
            }
            nextDue += interval
        }
    }

    /// Connects, sends and repeats as far as it may.
    mutating func pump(_ now: UInt64, _ load: FailoverLoad) {
        guard let connection else {
            guard now >= reconnectAt else { return }
            self.connection = load.open(node, tag: -Int(publisher))
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
        while let oldest = sent.first, now - oldest.at > FailoverLoad.answerTimeout {
            again.append((oldest.message, now))
            sent.removeFirst()
        }
        guard now >= resumeAt else { return }
        // Who was refused asks with one message.
        let window = pause > 0 ? 1 : FailoverLoad.window
        while sent.count < window, let index = again.firstIndex(where: { $0.at <= now }) {
            send(again.remove(at: index).message, now, connection, load)
        }
        while sent.count < window, waitingHead < waiting.count {
            let message = waiting[waitingHead]
            waitingHead += 1
            send(message, now, connection, load)
        }
        if waitingHead > 4096 {
            waiting.removeFirst(waitingHead)
            waitingHead = 0
        }
    }

    private mutating func send(_ message: UInt64, _ now: UInt64, _ connection: Connection, _ load: FailoverLoad) {
        sent.append(Sent(command: load.send(connection, room, message), message: message, at: now))
    }

    /// The connection is gone: what had no answer is sent again, in order, wherever it goes next.
    mutating func isClosed(_ load: FailoverLoad, _ now: UInt64) {
        connection = nil
        node = load.next(after: node)
        reconnectAt = now + FailoverLoad.retryDelay / 2
        again.append(contentsOf: sent.map { ($0.message, now) })
        again.sort { $0.message < $1.message }
        sent.removeAll(keepingCapacity: true)
    }

    mutating func receive(_ line: UnsafeRawBufferPointer, _ now: UInt64, _ load: FailoverLoad) {
        guard let reply = PublishReply(line), let index = sent.firstIndex(where: { $0.command == reply.command }) else {
            return
        }
        let message = sent.remove(at: index).message
        let record = Int(message) - 1
        switch reply.outcome {
        case .acknowledged(let offset):
            load.publishes[record].outcome = .ok
            load.publishes[record].returned = Instant(nanoseconds: now)
            load.publishes[record].offset = offset
            load.publishes[record].epoch = epochCache.number(in: line, &load.epochs)
            load.latency.record(now - load.due[record])
            lastAcknowledged = now
            (pause, resumeAt) = (0, 0)
        case .temporary, .refused:
            // Both are repeated: an earlier attempt may have happened, and the key keeps it from happening twice.
            again.append((message, now))
            // The refusals of one window are one.
            guard now >= resumeAt else { return }
            pause = min(max(2 * pause, FailoverLoad.retryDelay), FailoverLoad.longestRetryDelay)
            resumeAt = now + pause
        }
    }
}
