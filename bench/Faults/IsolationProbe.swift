import Primitives

/// What a node without a majority does for the clients that it still has (CL-21).
struct IsolationProbe: Sendable {
    struct Finding: Sendable, Equatable {
        /// Seconds from the moment at which the fault was whole until the status said degraded.
        var degradedAfter: Double?
        /// Guaranteed publishes that were acknowledged, refused for now, refused for good, and not answered.
        var acknowledged = 0
        var refusedForNow = 0
        var refusedForGood = 0
        var unanswered = 0
        /// The slowest refusal, in milliseconds.
        var slowestRefusal = 0.0
        /// Best-effort rooms, and how many of them delivered from one local client to another.
        var bestEffortRooms = 0
        var bestEffortDelivered = 0

        /// What is not as it must be, in words.
        var faults: [String] {
            var faults: [String] = []
            if degradedAfter == nil { faults.append("its status did not say degraded") }
            if acknowledged > 0 {
                faults.append("\(acknowledged) guaranteed publishes acknowledged without a majority")
            }
            if refusedForGood > 0 { faults.append("\(refusedForGood) guaranteed publishes refused for good") }
            if unanswered > 0 { faults.append("\(unanswered) guaranteed publishes not answered") }
            if refusedForNow == 0 { faults.append("no guaranteed publish refused for now") }
            if bestEffortDelivered < bestEffortRooms {
                faults.append("\(bestEffortDelivered) of \(bestEffortRooms) best-effort rooms work among local clients")
            }
            return faults
        }
    }

    var node: ClusterFile.Node
    /// Begins the rooms' names.
    var name: String
    var began: UInt64
    /// When the fault ends.
    var deadline: UInt64
    /// Rooms of each kind: enough for several partitions.
    private static let rooms = 8
    private static let answerSeconds = 2.0

    init(node: ClusterFile.Node, name: String, began: UInt64, deadline: UInt64) {
        self.node = node
        self.name = name
        self.began = began
        self.deadline = deadline
    }

    private final class Seen {
        var open = 0
        var subscribed: Set<UInt64> = []
        var received: Set<UInt64> = []
        var replies: [UInt64: (outcome: PublishReply.Outcome, at: UInt64)] = [:]
    }

    func run() throws -> Finding {
        var finding = Finding()
        while Clock.now() < deadline {
            if let status = NodeStatus.ask(node), status.degraded {
                if finding.degradedAfter == nil { finding.degradedAfter = Double(Clock.now() - began) / 1e9 }
                // What it led itself it gives up a little later than what others led.
                if status.partitions.allSatisfy(\.degraded) { break }
            }
            Clock.sleep(milliseconds: 50)
        }
        let loop = try LoadLoop()
        defer { loop.closeAll() }
        let seen = Seen()
        loop.onReady = { _ in seen.open += 1 }
        loop.onMessage = { connection, payload in
            Scan.forEachLine(payload) { line in
                if line.starts(with: "{\"push\":".utf8) {
                    var at = 0
                    if let number = Payload.next(in: line, &at) { seen.received.insert(number) }
                } else if let reply = PublishReply(line), connection.tag == 0 {
                    seen.replies[reply.command] = (reply.outcome, Clock.now())
                } else if Scan.contains("\"subscribe\":", in: line), let id = Scan.number(after: "\"id\":", in: line) {
                    seen.subscribed.insert(id)
                }
            }
        }
        let publisher = try loop.openWebSocket(host: node.host, port: node.gatewayPort, tag: 0)
        let subscriber = try loop.openWebSocket(host: node.host, port: node.gatewayPort, tag: 1)
        guard loop.turn(seconds: Self.answerSeconds, until: { seen.open == 2 }) else {
            throw BenchError("\(node.id) takes no clients while it is alone")
        }
        bestEffort(loop, publisher, subscriber, seen, &finding)
        guaranteed(loop, publisher, seen, &finding)
        return finding
    }

    private func bestEffort(
        _ loop: LoadLoop,
        _ publisher: Connection,
        _ subscriber: Connection,
        _ seen: Seen,
        _ finding: inout Finding
    ) {
        let rooms = (0..<Self.rooms).map { ClusterFile.room("\(name)-local-\($0)", bestEffort: true) }
        finding.bestEffortRooms = rooms.count
        for room in rooms { loop.subscribe(subscriber, room: room) }
        _ = loop.turn(seconds: Self.answerSeconds) { seen.subscribed.count == rooms.count }
        // Best effort is tried more than once, as its clients would.
        for _ in 0..<5 where seen.received.count < rooms.count {
            for (index, room) in rooms.enumerated() where !seen.received.contains(UInt64(index + 1)) {
                loop.publish(publisher, room: Array(room.utf8), message: UInt64(index + 1), size: 0)
            }
            _ = loop.turn(seconds: 0.3) { seen.received.count == rooms.count }
        }
        finding.bestEffortDelivered = seen.received.count
    }

    private func guaranteed(_ loop: LoadLoop, _ publisher: Connection, _ seen: Seen, _ finding: inout Finding) {
        guard Clock.now() < deadline else { return }
        var sent: [UInt64: UInt64] = [:]
        for index in 0..<Self.rooms {
            let room = Array("\(name)-refused-\(index)".utf8)
            sent[loop.publish(publisher, room: room, message: UInt64(index + 1), size: 0)] = Clock.now()
        }
        _ = loop.turn(seconds: min(Self.answerSeconds, Double(deadline &- Clock.now()) / 1e9)) {
            sent.keys.allSatisfy { seen.replies[$0] != nil }
        }
        for (command, at) in sent {
            switch seen.replies[command]?.outcome {
            case .acknowledged: finding.acknowledged += 1
            case .temporary: finding.refusedForNow += 1
            case .refused: finding.refusedForGood += 1
            case nil: finding.unanswered += 1
            }
            if let answered = seen.replies[command]?.at {
                finding.slowestRefusal = max(finding.slowestRefusal, Double(answered - at) / 1e6)
            }
        }
    }
}
