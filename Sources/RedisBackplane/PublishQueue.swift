import DequeModule
import Primitives
import Rooms

/// Best-effort publishes on their way to Redis, in order, and the rule by which none of them reaches a local member
/// twice.
///
/// While Redis is there, a publish reaches everybody, members of this node too, through Redis; without it, only the
/// members here, directly. In between the fate of what was sent and not answered is unknown: but this node listens to
/// the same channel, and what it has heard has been delivered. Only the rest is sent again, or delivered locally.
/// Other nodes may hear what is sent again twice: that is what `retry_on_timeout` says, and what `false` prevents.
package struct PublishQueue: Sendable {
    package struct Item: Sendable {
        package var room: RoomName
        package var body: ArraySlice<UInt8>
        package var channel: [UInt8]
        package var payload: [UInt8]
        /// This node is subscribed to the channel.
        package var expectsEcho: Bool
        /// Beyond it a message that is not sent is delivered locally.
        package var deadline: Instant
        var isEchoed = false

        package init(
            room: RoomName,
            body: ArraySlice<UInt8>,
            channel: [UInt8],
            payload: [UInt8],
            expectsEcho: Bool,
            deadline: Instant
        ) {
            self.room = room
            self.body = body
            self.channel = channel
            self.payload = payload
            self.expectsEcho = expectsEcho
            self.deadline = deadline
        }
    }

    private let limit: Int
    private let byteLimit: Int
    private let window: Int
    private var waiting: Deque<Item> = []
    private var sent: Deque<Item> = []
    private var waitingBytes = 0
    /// The first of `sent` whose echo has not come; those before it are settled in this respect.
    private var nextEcho = 0

    /// At most `limit` messages and `byteLimit` bytes wait; at most `window` are sent and not answered.
    package init(limit: Int, byteLimit: Int, window: Int) {
        self.limit = max(1, limit)
        self.byteLimit = byteLimit
        self.window = max(1, window)
    }

    package var waitingCount: Int { waiting.count }
    package var sentCount: Int { sent.count }

    /// Returns what no longer fits, oldest first, to be delivered locally.
    package mutating func append(_ item: Item) -> [Item] {
        waiting.append(item)
        waitingBytes += item.payload.count
        var displaced: [Item] = []
        while waiting.count > limit || waitingBytes > byteLimit { displaced.append(takeFirst()) }
        return displaced
    }

    private mutating func takeFirst() -> Item {
        let item = waiting.removeFirst()
        waitingBytes -= item.payload.count
        return item
    }

    /// The next one to send, if the window has room.
    package mutating func next() -> Item? {
        guard sent.count < window, !waiting.isEmpty else { return nil }
        let item = takeFirst()
        sent.append(item)
        return item
    }

    /// The server has answered the oldest one that was sent.
    package mutating func answered() {
        guard !sent.isEmpty else { return }
        sent.removeFirst()
        if nextEcho > 0 { nextEcho -= 1 }
    }

    /// A message was heard: the server answers and publishes in the order in which it was asked, so only the first one
    /// that has not come back yet can be it.
    package mutating func heard(channel: [UInt8], payload: [UInt8]) {
        while nextEcho < sent.count, !sent[nextEcho].expectsEcho { nextEcho += 1 }
        guard nextEcho < sent.count, sent[nextEcho].channel == channel, sent[nextEcho].payload == payload else {
            return
        }
        sent[nextEcho].isEchoed = true
        nextEcho += 1
    }

    /// The connection is lost. What was not heard back is sent again first, if `retry`; else it is returned, to be
    /// delivered locally.
    package mutating func lost(retry: Bool) -> [Item] {
        let unknown = sent.filter { !$0.isEchoed }
        sent.removeAll()
        nextEcho = 0
        guard retry else { return Array(unknown) }
        for item in unknown.reversed() {
            waiting.prepend(item)
            waitingBytes += item.payload.count
        }
        return []
    }

    /// What has waited for too long, to be delivered locally.
    package mutating func expired(at now: Instant) -> [Item] {
        var late: [Item] = []
        while let first = waiting.first, first.deadline <= now { late.append(takeFirst()) }
        return late
    }

    /// Everything that waits, to be delivered locally.
    package mutating func drain() -> [Item] {
        let all = Array(waiting)
        waiting.removeAll()
        waitingBytes = 0
        return all
    }
}
