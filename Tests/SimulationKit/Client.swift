import Broker
import HistoryChecker
import Keys
import Primitives
import Rooms

/// A client's connection to one shard of one node, in one life of the node's process.
final class Connection {
    let number: UInt32
    let node: Int
    let shard: Int
    /// Of the node's process.
    let life: UInt32
    /// Requests arrive in the order in which they were sent.
    fileprivate var lastArrival = Instant.zero
    /// Once the first request has arrived.
    var session: SessionID?
    /// The client has left it, or it broke.
    private(set) var isClosed = false
    private(set) weak var client: Client?

    init(number: UInt32, node: Int, shard: Int, life: UInt32, client: Client) {
        self.number = number
        self.node = node
        self.shard = shard
        self.life = life
        self.client = client
    }

    func leave() { isClosed = true }

    func breakOff() {
        guard !isClosed else { return }
        isClosed = true
        client?.disconnected(self)
    }
}

/// A client: one logical process over all its connections. Requests travel for a moment; answers and messages arrive at
/// once, and what they lead to happens later.
class Client {
    unowned let simulation: Simulation
    /// The checker's process number.
    let number: UInt32
    var connection: Connection?
    private var nextCommand: UInt64 = 1

    init(_ simulation: Simulation) {
        self.simulation = simulation
        number = UInt32(simulation.clients.count + 1)
    }

    func draw() -> UInt64 { simulation.clientChance.next() }

    /// A connection to some running node of those that clients may use, another one than now if there is one; nil when
    /// there is none.
    func connect() -> Connection? {
        let candidates = simulation.core.filter {
            simulation.nodes[$0].isRunning && !simulation.nodes[$0].isAbandoned
        }
        guard !candidates.isEmpty else { return nil }
        let node = simulation.nodes[simulation.clientChance.pick(candidates)]
        let made = Connection(
            number: simulation.nextConnection,
            node: node.index,
            shard: Int(simulation.clientChance.below(UInt64(node.brokers.count))),
            life: node.life,
            client: self
        )
        simulation.nextConnection += 1
        node.connections.append(made)
        connection = made
        return made
    }

    /// Leaves the connection; the server notices at once, or after a while.
    func disconnect(isAbrupt: Bool) {
        guard let left = connection else { return }
        connection = nil
        left.leave()
        let delay: Interval = isAbrupt ? .milliseconds(simulation.clientChance.pick(100...800)) : .microseconds(50)
        post(.close(left), over: left, after: delay)
    }

    /// Sends a request over the connection.
    func request(_ body: @escaping (Broker, SessionID) -> Void) {
        guard let connection, !connection.isClosed else { return }
        post(.request(connection, body), over: connection, after: simulation.clientChance.microseconds(20...1500))
    }

    private func post(_ event: NodeEvent, over connection: Connection, after delay: Interval) {
        let arrival = max(connection.lastArrival, simulation.now + delay)
        connection.lastArrival = arrival
        simulation.queue.push(.node(connection.node, life: connection.life, event), at: arrival)
    }

    func command() -> UInt64 {
        defer { nextCommand += 1 }
        return nextCommand
    }

    func after(_ interval: Interval, _ body: @escaping () -> Void) { simulation.after(interval, body) }

    func record(_ record: HistoryRecord) { simulation.history.records.append(record) }

    func epochNumber(_ epoch: UInt64) -> UInt32 { simulation.history.epochs.number(of: String(epoch, radix: 16)) }

    // MARK: For each kind of client

    /// Begins, some time after the cluster.
    func begin() {}
    /// Takes nothing new up; what is under way may end.
    func windDown() {}
    var isIdle: Bool { true }
    /// For error messages.
    var state: String { "" }
    /// At the end of the run: what never returned.
    func finish() {}
    func disconnected(_ connection: Connection) {}
    func published(_ command: UInt64, _ result: Result<PublishOutcome, RequestError>) {}
    /// Returns the offset at which the connection's queue was full; nil when everything was taken.
    func subscribed(_ command: UInt64, _ result: Result<SubscribeResult, RequestError>) -> UInt64? { nil }
    func history(_ command: UInt64, _ result: Result<HistoryResult, RequestError>) {}
    /// Returns the first offset that the connection's queue had no place for; nil when everything was taken.
    func receive(_ room: RoomName, _ publications: [Publication]) -> UInt64? { nil }
    func gap(_ gap: Gap) {}
    func resubscribe() {}
    func keys(_ command: UInt64, _ result: Result<KeyOutcome, RequestError>) {}
}

extension Simulation {
    func request(_ connection: Connection, _ body: (Broker, SessionID) -> Void, at node: SimulatedNode) {
        guard !connection.isClosed else { return }
        trace.note(8, now.nanoseconds, UInt64(connection.number))
        let broker = node.brokers[connection.shard]
        if connection.session == nil {
            guard let session = broker.openSession() else { return fail("no session left on node \(node.id)") }
            connection.session = session
            while node.sessions[connection.shard].count <= Int(session.slot) {
                node.sessions[connection.shard].append(nil)
            }
            node.sessions[connection.shard][Int(session.slot)] = connection
        }
        if let session = connection.session { body(broker, session) }
    }

    private func client(_ session: SessionID, _ shard: Int, _ node: SimulatedNode) -> Client? {
        guard Int(session.slot) < node.sessions[shard].count,
            let connection = node.sessions[shard][Int(session.slot)],
            connection.session == session, !connection.isClosed, let client = connection.client,
            client.connection === connection
        else { return nil }
        return client
    }

    /// Hands one directive to the client that it is for.
    func edge(_ directive: EdgeDirective, shard: Int, at node: SimulatedNode) {
        switch directive {
        case .published(let token, let result):
            trace.note(9, now.nanoseconds, token.command)
            client(token.session, shard, node)?.published(token.command, result)
        case .subscribed(let token, _, let result):
            trace.note(10, now.nanoseconds, token.command)
            guard let client = client(token.session, shard, node) else { return }
            if let full = client.subscribed(token.command, result), case .success(let answer) = result {
                sometimes.note(.subscriberPaused)
                node.brokers[shard].pause(token.session, answer.room, nextOffset: full)
            }
        case .history(let token, _, let result):
            trace.note(11, now.nanoseconds, token.command)
            client(token.session, shard, node)?.history(token.command, result)
        case .broadcast(let room, let publication):
            let broker = node.brokers[shard]
            let name = broker.roomName(of: room)
            trace.note(12, now.nanoseconds, publication.offset)
            for slot in broker.liveSubscribers(of: room) {
                guard let connection = node.sessions[shard][Int(slot)], let session = connection.session else {
                    continue
                }
                receive(session, room, name, [publication], shard, node)
            }
        case .publications(let session, let room, let publications):
            trace.note(13, now.nanoseconds, publications.first?.offset ?? 0)
            receive(session, room, node.brokers[shard].roomName(of: room), publications, shard, node)
        case .gap(let session, _, let gap):
            trace.note(14, now.nanoseconds, gap.to)
            client(session, shard, node)?.gap(gap)
        case .resubscribe(let session, _): client(session, shard, node)?.resubscribe()
        case .keys(let token, let result):
            trace.note(15, now.nanoseconds, token.command)
            client(token.session, shard, node)?.keys(token.command, result)
        case .served(let ticket, let reply):
            trace.note(16, now.nanoseconds, ticket)
            let waiting = node.connections.first {
                $0.shard == shard && !$0.isClosed && ($0.client as? KeyClient)?.waits(by: ticket) == true
            }
            (waiting?.client as? KeyClient)?.served(ticket, reply)
        case .received, .patternSubscribed, .patternMessage, .channels: break
        }
    }

    private func receive(
        _ session: SessionID,
        _ room: HubRoomID,
        _ name: RoomName,
        _ publications: [Publication],
        _ shard: Int,
        _ node: SimulatedNode
    ) {
        guard let client = client(session, shard, node), let full = client.receive(name, publications) else { return }
        sometimes.note(.subscriberPaused)
        node.brokers[shard].pause(session, room, nextOffset: full)
    }

    func hasPublishInFlight(_ partition: PartitionID) -> Bool {
        clients.contains { ($0 as? Publisher)?.isWaiting(for: partition) == true }
    }

    // MARK: The workload

    func makeClients() {
        let operations = swarm.operations
        var kinds: [Publisher.Kind] = []
        if operations.contains(.plainPublish) { kinds.append(.plain) }
        if operations.contains(.keyedPublish) { kinds.append(.keyed) }
        if operations.contains(.stampedPublish) { kinds.append(.stamped) }
        let stored = swarm.rooms.filter { !$0.hasPrefix("be:") }
        for _ in 0..<swarm.publishers {
            clients.append(Publisher(self, clientChance.pick(kinds), room: clientChance.pick(stored)))
        }
        if operations.contains(.subscribe) {
            for _ in 0..<swarm.subscribers {
                let isConsumer = operations.contains(.consume) && clientChance.chance(1, in: 3)
                clients.append(Subscriber(self, room: clientChance.pick(stored), isConsumer: isConsumer))
            }
        }
        if operations.contains(.bestEffort) {
            clients.append(Publisher(self, .bestEffort, room: "be:a"))
            for _ in 0..<2 { clients.append(Subscriber(self, room: "be:a", isConsumer: false)) }
        }
        if operations.contains(.readHead) || operations.contains(.readHistory) {
            for _ in 0..<2 { clients.append(Reader(self, rooms: stored)) }
        }
        if operations.contains(.keys) {
            for _ in 0...swarm.subscribers { clients.append(KeyClient(self)) }
        }
        for client in clients {
            after(clientChance.microseconds(0...50_000)) { client.begin() }
        }
    }
}
