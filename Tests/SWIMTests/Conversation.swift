import Primitives
import Testing

@testable import SWIM

func address(_ number: Int) -> GossipAddress { VirtualNetwork.address(number) }

func metadata(_ number: Int, name: String? = nil, draining: Bool = false) -> MemberMetadata {
    do {
        return try MemberMetadata(
            node: NodeID(UInt64(number)),
            name: name ?? "n\(number)",
            host: "10.0.0.\(number)",
            meshPort: 7946,
            isDraining: draining
        )
    } catch { preconditionFailure("\(error)") }
}

func claim(_ number: Int, incarnation: UInt64 = 1, at place: Int? = nil, name: String? = nil) -> AliveClaim {
    AliveClaim(
        metadata: metadata(number, name: name),
        address: address(place ?? number),
        incarnation: incarnation
    )
}

func accusation(_ number: Int, incarnation: UInt64 = 1, from accuser: Int) -> Accusation {
    Accusation(node: NodeID(UInt64(number)), incarnation: incarnation, from: NodeID(UInt64(accuser)))
}

func snapshot(_ claim: AliveClaim, _ state: MemberState, age: UInt64 = 0) -> MemberSnapshot {
    MemberSnapshot(claim: claim, state: state, ageSeconds: age)
}

func encoded(_ messages: [SWIMMessage], sender: Int) -> [UInt8] {
    var writer = ByteWriter()
    SWIMPacket.writeHeader(sender: NodeID(UInt64(sender)), to: &writer)
    for message in messages { message.write(to: &writer) }
    return writer.bytes
}

/// `#expect` for a condition that mutates what it asks, which the macro cannot capture.
func expect(_ condition: Bool, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(condition, sourceLocation: sourceLocation)
}

/// Node 1 and a test that plays all the others, whose ids and addresses are 2, 3, ...
struct Conversation {
    struct Sent {
        /// But for the status.
        let messages: [SWIMMessage]
        let hints: MemberHints?
        let bytes: Int
        let to: GossipAddress
        let transport: GossipTransport
        let at: Instant

        var ping: SWIMMessage? { messages.first { if case .ping = $0 { true } else { false } } }
    }

    var node: SWIMNode
    var now = Instant.zero
    var sent: [Sent] = []
    var replies: [(messages: [SWIMMessage], token: UInt64)] = []
    var events: [MemberEvent] = []

    /// Starts with `members` live ones, of which everyone knows.
    init(members: Int = 1, settings: SWIMSettings = SWIMSettings(), incarnation: UInt64 = 1, seed: UInt64 = 1) {
        node = SWIMNode(
            metadata: metadata(1),
            address: address(1),
            incarnation: incarnation,
            settings: settings,
            seed: seed,
            now: .zero
        )
        for number in 2..<max(members + 1, 2) { hear([.alive(claim(number))], from: number) }
        // Gossip of the beginning does not disturb the test.
        clearQueue()
        forget()
    }

    mutating func clearQueue() { node.queue = BroadcastQueue(capacity: node.queue.capacity) }

    mutating func pass(until instant: Instant) { pass(instant - now) }

    mutating func forget() {
        sent = []
        replies = []
        events = []
    }

    mutating func hear(
        _ messages: [SWIMMessage],
        from sender: Int,
        over transport: GossipTransport = .datagram,
        replyTo: UInt64? = nil
    ) {
        receive(encoded(messages, sender: sender), from: address(sender), over: transport, replyTo: replyTo)
    }

    mutating func receive(
        _ bytes: [UInt8],
        from: GossipAddress,
        over transport: GossipTransport = .datagram,
        replyTo: UInt64? = nil
    ) {
        bytes.withUnsafeBytes { node.receive($0, from: from, over: transport, replyTo: replyTo, now: now) }
        collect()
    }

    /// Ticks when the node wants it, up to `interval` from now. Pings are answered if `answering` is there.
    mutating func pass(_ interval: Interval, answering: Bool = false) {
        let end = now + interval
        while node.nextDeadline <= end {
            now = max(now, node.nextDeadline)
            let before = sent.count
            node.tick(now: now)
            collect()
            guard answering else { continue }
            for message in sent[before...] {
                guard case .ping(let sequence, let target)? = message.ping else { continue }
                hear([.ack(sequence: sequence)], from: Int(target.rawValue), over: message.transport)
            }
        }
        now = end
    }

    mutating func collect() {
        for directive in node.directives {
            switch directive {
            case .send(let bytes, let to, let transport):
                let hints = read(bytes).compactMap { if case .status(let hints, _) = $0 { hints } else { nil } }
                let messages = read(bytes).filter { if case .status = $0 { false } else { true } }
                sent.append(
                    Sent(
                        messages: messages,
                        hints: hints.first,
                        bytes: bytes.count,
                        to: to,
                        transport: transport,
                        at: now
                    )
                )
            case .reply(let bytes, let token): replies.append((read(bytes), token))
            case .event(let event): events.append(event)
            }
        }
        node.directives = []
    }

    private func read(_ bytes: [UInt8]) -> [SWIMMessage] {
        do {
            let packet = try bytes.withUnsafeBytes { try SWIMPacket.read($0, maxMembers: 2_000) }
            #expect(packet.sender == node.id)
            return packet.messages
        } catch {
            Issue.record("the node sent what cannot be read: \(error)")
            return []
        }
    }

    struct NoPing: Error {}

    /// Waits for the next ping over a datagram.
    mutating func nextPing() throws -> (sequence: UInt32, target: Int, sent: Sent) {
        let before = sent.count
        for _ in 0..<2_000 {
            if let ping = sent[before...].lazy.compactMap(Conversation.ping).first { return ping }
            pass(.milliseconds(10))
        }
        throw NoPing()
    }

    private static func ping(_ sent: Sent) -> (sequence: UInt32, target: Int, sent: Sent)? {
        guard sent.transport == .datagram, case .ping(let sequence, let target)? = sent.ping else {
            return nil
        }
        return (sequence, Int(target.rawValue), sent)
    }

    func state(_ number: Int) -> MemberState? { node.member(NodeID(UInt64(number)))?.state }
    func incarnation(_ number: Int) -> UInt64? { node.member(NodeID(UInt64(number)))?.incarnation }

    var messages: [SWIMMessage] { sent.flatMap(\.messages) }
}
