import Broker
import Keys
import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms

/// A few brokers on one thread with a perfect network and an instant disk: enough to watch the protocol, without
/// faults.
final class MiniCluster {
    private(set) var ids: [NodeID]
    private(set) var brokers: [NodeID: Broker] = [:]
    private var settings: [NodeID: BrokerSettings] = [:]
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var wall: Timestamp = 1_700_000_000_000
    private var logs: [NodeID: [GroupID: [Entry]]] = [:]
    private var inFlight: [(from: NodeID, to: NodeID, message: PeerMessage)] = []
    /// With the room's live sessions as they were when the outbox was emptied: that is when a shell reads them.
    private(set) var edge: [NodeID: [(directive: EdgeDirective, live: [UInt32])]] = [:]
    private(set) var events: [(NodeID, BrokerEvent)] = []
    private var levels: [NodeID: UInt16] = [:]
    var controlReplies: [ControlReply] = []
    /// Snapshots that were saved.
    private(set) var saves: [(node: NodeID, group: GroupID)] = []
    /// Frames that crossed between nodes, per receiver.
    private(set) var publicationFrames: [NodeID: Int] = [:]
    /// A node whose messages wait, to arrive in one turn of its loop.
    private var heldNode: NodeID?
    private var held: [(from: NodeID, message: PeerMessage)] = []
    /// Links that are cut, by (from, to).
    var cut: Set<[NodeID]> = []

    static let namespaces = NamespaceTable([
        NamespacePolicy(prefix: Array("be:".utf8), deliveryClass: .bestEffort),
        NamespacePolicy(prefix: Array("few:".utf8), retentionCount: 10),
        NamespacePolicy(prefix: Array("short:".utf8), retentionMilliseconds: 500),
    ])

    /// - Parameter restored: what the first node finds on its disk.
    init(
        nodes: Int = 3,
        partitions: Int = 4,
        restored: [(GroupID, RestoredReplica)] = [],
        adjust: (inout BrokerSettings) -> Void = { _ in }
    ) throws {
        ids = (1...nodes).map { NodeID(UInt64($0)) }
        let list = ids.map { ClusterNode(id: $0, name: "n\($0)") }
        for id in ids {
            var settings = BrokerSettings(
                node: id,
                nodes: list,
                controlVoters: Array(ids.prefix(5)),
                partitions: partitions,
                replicationFactor: min(3, nodes),
                namespaces: MiniCluster.namespaces,
                seed: id.rawValue
            )
            adjust(&settings)
            self.settings[id] = settings
            let found = id == ids[0] ? restored : []
            brokers[id] = try Broker(settings: settings, restored: found, now: now, wall: wall)
        }
        for a in ids { for b in ids where a != b { brokers[a]?.onPeerUp(b) } }
    }

    func broker(_ number: Int) -> Broker { brokers[NodeID(UInt64(number))]! }

    /// Lets `milliseconds` pass.
    func run(milliseconds: Int) {
        for _ in 0..<max(1, milliseconds / 10) {
            now = now + .milliseconds(10)
            wall += 10
            gossip()
            for id in ids { brokers[id]?.advance(now: now, wall: wall); brokers[id]?.tick() }
            settle()
        }
    }

    /// Nodes that ask to join until they belong to the cluster, once in their life.
    private var wishes: Set<NodeID> = []

    /// Tells everyone who is alive, and who asks to join.
    private func gossip() {
        let alive = ids.filter { brokers[$0] != nil }
        let nodes = alive.compactMap { id in settings[id]?.nodes.first { $0.id == id } }
        for id in alive where brokers[id]?.control.member(id) != nil { wishes.remove(id) }
        let joining = alive.filter(wishes.contains)
        for id in alive { brokers[id]?.onNodesSeen(nodes, joining: joining, levels: levels) }
    }

    /// Lets everything that is under way arrive, without moving the clock.
    func settle() { settle(times: .max) }

    /// Lets messages take so many hops.
    func settle(times: Int) {
        var isBusy = true
        var left = times
        while isBusy, left > 0 {
            isBusy = false
            left -= 1
            for id in ids {
                guard let broker = brokers[id] else { continue }
                broker.settle()
                if drain(id, broker) { isBusy = true }
            }
            let messages = inFlight
            inFlight.removeAll()
            for (from, to, message) in messages {
                if to == heldNode {
                    held.append((from, message))
                    continue
                }
                isBusy = true
                if case .publications = message { publicationFrames[to, default: 0] += 1 }
                brokers[to]?.onPeerMessage(from: from, message)
            }
        }
    }

    private func drain(_ id: NodeID, _ broker: Broker) -> Bool {
        let box = broker.outbox
        broker.outbox = Outbox()
        for (to, message) in box.peers where !cut.contains([id, to]) && brokers[to] != nil {
            var frame = ByteWriter(capacity: 256)
            message.encode(into: &frame)
            // A link does not send what no frame has room for.
            if frame.count <= PeerFrame.defaultLimit { inFlight.append((id, to, message)) }
        }
        for request in box.storage { store(id, broker, request) }
        edge[id, default: []] += box.edge.map { directive in
            if case .broadcast(let room, _) = directive { return (directive, broker.liveSubscribers(of: room)) }
            return (directive, [])
        }
        events += box.events.map { (id, $0) }
        controlReplies += box.controlReplies.map(\.reply)
        return !box.isEmpty
    }

    private func store(_ id: NodeID, _ broker: Broker, _ request: StorageRequest) {
        switch request {
        case .append(let ticket, let items, _):
            for item in items {
                var log = logs[id]?[item.group] ?? []
                if let first = item.entries.first { log.removeAll { $0.index >= first.index } }
                logs[id, default: [:]][item.group] = log + item.entries
            }
            broker.onDurable(ticket: ticket)
        case .read(let token, let group, let from, let upTo, let maxBytes):
            var taken: [Entry] = []
            var bytes = 0
            for entry in logs[id]?[group] ?? [] where entry.index >= from && entry.index <= upTo {
                if !taken.isEmpty, bytes + entry.data.count > maxBytes { break }
                bytes += entry.data.count
                taken.append(entry)
            }
            broker.onEntriesRead(token: token, taken.first?.index == from ? taken : [])
        case .saveSnapshot(let group, let descriptor, _):
            saves.append((id, group))
            broker.onSnapshotSaved(group: group, index: descriptor.index, succeeded: true)
        case .installSnapshot(let group, let descriptor, _, let entries):
            logs[id, default: [:]][group] = entries
            broker.onSnapshotInstalled(group: group, index: descriptor.index, succeeded: true)
        case .dropLog(let group, let below):
            logs[id]?[group]?.removeAll { $0.index < below }
        case .discard(let group):
            logs[id]?[group] = nil
            broker.onDiscarded(group: group, succeeded: true)
        }
    }

    /// Keeps what is sent to a node.
    func hold(_ number: Int) { heldNode = NodeID(UInt64(number)) }

    /// Delivers it, all in one turn.
    func release() {
        guard let node = heldNode else { return }
        heldNode = nil
        for (from, message) in held { brokers[node]?.onPeerMessage(from: from, message) }
        held.removeAll()
        settle()
    }

    func kill(_ number: Int) {
        let dead = NodeID(UInt64(number))
        brokers[dead] = nil
        for id in ids where id != dead { brokers[id]?.onPeerDown(dead) }
    }

    private var paused: [NodeID: Broker] = [:]

    /// A node stands still: the others miss it, and it does not know.
    func pause(_ number: Int) {
        paused[NodeID(UInt64(number))] = brokers[NodeID(UInt64(number))]
        kill(number)
    }

    /// It goes on where it was, before it has heard anything.
    func resume(_ number: Int) {
        let id = NodeID(UInt64(number))
        brokers[id] = paused.removeValue(forKey: id)
        for other in ids where other != id && brokers[other] != nil {
            brokers[other]?.onPeerUp(id)
            brokers[id]?.onPeerUp(other)
        }
    }

    /// Ends a node, and begins its next life from what is left on its disk. Returns what was held for it.
    @discardableResult
    func restart(
        _ number: Int,
        restored: [(GroupID, RestoredReplica)] = [],
        hasLostRecords: Bool = false
    ) throws -> [(from: NodeID, message: PeerMessage)] {
        kill(number)
        let id = NodeID(UInt64(number))
        let late = held
        held.removeAll()
        heldNode = nil
        edge[id] = []
        if restored.isEmpty { logs[id] = nil }
        settings[id]!.seed += 1000
        settings[id]!.hasLostRecords = hasLostRecords
        brokers[id] = try Broker(settings: settings[id]!, restored: restored, now: now, wall: wall)
        for peer in ids where peer != id {
            brokers[peer]?.onPeerUp(id)
            brokers[id]?.onPeerUp(peer)
        }
        return late
    }

    /// What a node's disk holds, as a start would find it. Of logs that were never compacted.
    func disk(_ number: Int) -> [(GroupID, RestoredReplica)] {
        let id = NodeID(UInt64(number))
        return (logs[id] ?? [:]).sorted { $0.key < $1.key }.compactMap { group, entries in
            guard let raft = brokers[id]?.raftNode(group) else { return nil }
            let state = HardState(term: raft.term, vote: raft.status().vote, commit: raft.commitIndex)
            var starts = [TermStart(index: 0, term: 0)]
            for entry in entries where starts.last?.term != entry.term {
                starts.append(TermStart(index: entry.index, term: entry.term))
            }
            let last = entries.last?.index ?? 0
            return (group, RestoredReplica(hardState: state, lastIndex: last, termStarts: starts, entries: entries))
        }
    }

    /// Begins a node's next life with what its disk holds.
    func revive(
        _ number: Int,
        _ disk: [(GroupID, RestoredReplica)],
        adjust: (inout BrokerSettings) -> Void = { _ in }
    ) throws {
        let id = NodeID(UInt64(number))
        adjust(&settings[id]!)
        logs[id] = Dictionary(uniqueKeysWithValues: disk.map { ($0, $1.entries) })
        settings[id]!.seed += 1000
        brokers[id] = try Broker(settings: settings[id]!, restored: disk, now: now, wall: wall)
        for peer in ids where peer != id && brokers[peer] != nil {
            brokers[peer]?.onPeerUp(id)
            brokers[id]?.onPeerUp(peer)
        }
    }

    /// Begins a node that belongs to no cluster yet, and lets gossip find it.
    func join(_ number: Int, as name: String? = nil, like other: Int = 1) throws {
        let id = NodeID(UInt64(number))
        var joining = settings[NodeID(UInt64(other))]!
        joining.node = id
        joining.nodes = [ClusterNode(id: id, name: name ?? "n\(number)")]
        joining.controlVoters = []
        joining.isJoining = true
        joining.seed = UInt64(number)
        settings[id] = joining
        ids.append(id)
        wishes.insert(id)
        if levels[id] == nil { levels[id] = joining.featureLevel }
        brokers[id] = try Broker(settings: joining, restored: [], now: now, wall: wall)
        for peer in ids where peer != id && brokers[peer] != nil {
            brokers[peer]?.onPeerUp(id)
            brokers[id]?.onPeerUp(peer)
        }
    }

    /// Has every node know by gossip what these can read and write; of the others it says nothing.
    func tell(_ told: [Int: UInt16]) {
        levels = [:]
        for (number, level) in told { levels[NodeID(UInt64(number))] = level }
        gossip()
    }

    /// Asks the control leader by way of a node.
    func request(_ number: Int, _ request: ControlRequest) -> ControlReply? {
        controlReplies = []
        broker(number).requestControl(1, request)
        settle()
        return controlReplies.first
    }

    /// The table names the node, as the node itself knows.
    func hasPlaced(_ number: Int) -> Bool {
        brokers[NodeID(UInt64(number))]?.placement?.nodes.contains(NodeID(UInt64(number))) == true
    }

    /// Every partition has the voters that the table names, and an owner.
    func isPlaced(on numbers: [Int]) -> Bool {
        guard let table = brokers[NodeID(UInt64(numbers[0]))]?.placement else { return false }
        return table.replicas.indices.allSatisfy { row in
            let group = GroupID(partition: PartitionID(UInt32(row)))
            let owner = numbers.compactMap { brokers[NodeID(UInt64($0))] }
                .first { $0.isServing(PartitionID(UInt32(row))) }
            let membership = owner?.raftNode(group)?.membership
            return membership == Membership(voters: table.replicas[row])
        }
    }

    /// Cuts a node off without a word: links stay up, nothing passes.
    func blackhole(_ number: Int) {
        let node = NodeID(UInt64(number))
        for id in ids where id != node {
            cut.insert([node, id])
            cut.insert([id, node])
        }
    }

    func heal() { cut.removeAll() }

    /// The link between two nodes breaks, and both notice; `connect` makes it anew.
    func disconnect(_ one: Int, _ other: Int) {
        for (a, b) in [(one, other), (other, one)] {
            cut.insert([NodeID(UInt64(a)), NodeID(UInt64(b))])
            broker(a).onPeerDown(NodeID(UInt64(b)))
        }
    }

    func connect(_ one: Int, _ other: Int) {
        for (a, b) in [(one, other), (other, one)] {
            cut.remove([NodeID(UInt64(a)), NodeID(UInt64(b))])
            broker(a).onPeerUp(NodeID(UInt64(b)))
        }
    }

    func takeEdge(_ number: Int) -> [(directive: EdgeDirective, live: [UInt32])] {
        let id = NodeID(UInt64(number))
        defer { edge[id] = [] }
        return edge[id] ?? []
    }

    func owner(of room: String) -> Int? {
        let partition = brokers.values.first!.partition(of: RoomName(room))
        return ids.first { brokers[$0]?.isServing(partition) == true }.map { Int($0.rawValue) }
    }

    var controlLeader: Int? {
        ids.first { brokers[$0]?.raftNode(.control)?.role == .leader }.map { Int($0.rawValue) }
    }

    /// Of the first key partition.
    func keyOwner() -> Int? {
        let partition = PartitionID(UInt32(settings.values.first!.partitions))
        return ids.first { brokers[$0]?.isServing(partition) == true }.map { Int($0.rawValue) }
    }
}

/// A client session on one node of a `MiniCluster`.
final class MiniClient {
    let cluster: MiniCluster
    let number: Int
    let session: SessionID
    private var nextCommand: UInt64 = 1
    private(set) var received: [String: [(offset: UInt64, text: String)]] = [:]
    private(set) var published: [UInt64: Result<PublishOutcome, RequestError>] = [:]
    private(set) var subscribed: [String: Result<SubscribeResult, RequestError>] = [:]
    private(set) var histories: [UInt64: Result<HistoryResult, RequestError>] = [:]
    private(set) var gaps: [Gap] = []
    fileprivate(set) var keys: [UInt64: Result<KeyOutcome, RequestError>] = [:]
    private(set) var tickets: Set<UInt64> = []
    fileprivate(set) var served: [UInt64: [UInt8]?] = [:]
    fileprivate(set) var counted: [UInt64: Result<Int, RequestError>] = [:]
    fileprivate(set) var patterns: [Glob] = []
    fileprivate(set) var channels: [UInt64: Result<ChannelReply, RequestError>] = [:]

    init(_ cluster: MiniCluster, on number: Int) {
        self.cluster = cluster
        self.number = number
        session = cluster.broker(number).openSession()!
    }

    private func token() -> RequestToken {
        defer { nextCommand += 1 }
        return RequestToken(session: session, command: nextCommand)
    }

    @discardableResult
    func publish(_ room: String, _ text: String, producer: ProducerStamp? = nil, key: String = "") -> UInt64 {
        let token = token()
        cluster.broker(number).publish(
            token,
            room: RoomName(room),
            body: MessageBody(payload: Array(text.utf8)[...]).encoded()[...],
            producer: producer,
            idempotencyKey: Array(key.utf8)[...]
        )
        return token.command
    }

    func subscribe(_ room: String, _ options: SubscribeOptions = SubscribeOptions()) {
        cluster.broker(number).subscribe(token(), room: RoomName(room), options: options)
    }

    /// Sends a unit with one command; a blocking one gets a ticket.
    @discardableResult
    func execute(_ line: String, isReadOnly: Bool = false, waits: Bool = false) -> UInt64 {
        let token = token()
        let broker = cluster.broker(number)
        var unit = KeyUnit(kind: .commands)
        unit.items = [.command(database: 0, arguments: line.split(separator: " ").map { Array($0.utf8) })]
        if waits {
            unit.ticket = broker.nextTicket()
            tickets.insert(unit.ticket)
        }
        broker.execute(token, keyPartition: 0, unit: unit.encoded(), isReadOnly: isReadOnly)
        return token.command
    }

    /// Asks the keys' owner to hand them over.
    func handOver() -> UInt64 {
        let token = token()
        let unit = KeyUnit(kind: .handOver).encoded()
        cluster.broker(number).execute(token, keyPartition: 0, unit: unit, isReadOnly: true)
        return token.command
    }

    /// The replies to a unit, or what became of it.
    func reply(_ command: UInt64) -> String {
        switch keys[command] {
        case .success(.replied(let bytes)): String(decoding: bytes, as: UTF8.self)
        case .success(.waits): "waits"
        case .success(.unknown): "unknown"
        case .failure(let error): "\(error)"
        case nil: "no answer"
        }
    }

    func close() { cluster.broker(number).closeSession(session) }

    func unsubscribe(_ room: String) { cluster.broker(number).unsubscribe(session, room: RoomName(room)) }

    func publishCounted(_ room: String, _ text: String) -> UInt64 {
        let token = token()
        let body = MessageBody(payload: Array(text.utf8)[...]).encoded()[...]
        let count = cluster.broker(number).publishCounted(token, room: RoomName(room), body: body)
        if let count { counted[token.command] = .success(count) }
        return token.command
    }

    @discardableResult
    func subscribePattern(_ pattern: String) -> Bool {
        cluster.broker(number).subscribePattern(token(), pattern: Glob(Array(pattern.utf8)))
    }

    func ask(_ query: ChannelQuery) -> UInt64 {
        let token = token()
        cluster.broker(number).channels(token, query: query)
        return token.command
    }

    func history(_ room: String, since: Position? = nil, limit: Int, reverse: Bool = false) -> UInt64 {
        let token = token()
        cluster.broker(number).history(token, room: RoomName(room), since: since, limit: limit, reverse: reverse)
        return token.command
    }

    /// Takes in what the node told its sessions since the last call. One client per node, or call it on each.
    static func deliver(_ cluster: MiniCluster, _ clients: [MiniClient]) {
        for number in Set(clients.map(\.number)) {
            guard cluster.brokers[NodeID(UInt64(number))] != nil else { continue }
            let broker = cluster.broker(number)
            let mine = clients.filter { $0.number == number }
            for (directive, live) in cluster.takeEdge(number) {
                switch directive {
                case .published(let token, let result):
                    mine.first { $0.session == token.session }?.published[token.command] = result
                case .subscribed(let token, let room, let result):
                    guard let client = mine.first(where: { $0.session == token.session }) else { continue }
                    client.subscribed[room.description] = result
                    if case .success(let answer) = result { client.take(room.description, answer.publications) }
                case .history(let token, _, let result):
                    mine.first { $0.session == token.session }?.histories[token.command] = result
                case .broadcast(let room, let publication):
                    for client in mine where live.contains(client.session.slot) {
                        client.take(broker.roomName(of: room).description, [publication])
                    }
                case .publications(let session, let room, let publications):
                    mine.first { $0.session == session }?
                        .take(broker.roomName(of: room).description, publications)
                case .gap(let session, _, let gap): mine.first { $0.session == session }?.gaps.append(gap)
                case .keys(let token, let result):
                    mine.first { $0.session == token.session }?.keys[token.command] = result
                case .served(let ticket, let reply):
                    for client in mine where client.tickets.contains(ticket) { client.served[ticket] = reply }
                case .received(let token, let result):
                    mine.first { $0.session == token.session }?.counted[token.command] = result
                case .patternSubscribed(let token, let pattern):
                    mine.first { $0.session == token.session }?.patterns.append(pattern)
                case .patternMessage(let room, let publication):
                    for client in mine where client.patterns.contains(where: { $0.matches(room.bytes) }) {
                        client.take("pattern " + room.description, [publication])
                    }
                case .channels(let token, let result):
                    mine.first { $0.session == token.session }?.channels[token.command] = result
                case .resubscribe: break
                }
            }
        }
    }

    private func take(_ room: String, _ publications: [Publication]) {
        for publication in publications {
            let text =
                (try? MessageBody(decoding: publication.body))
                .map { String(decoding: $0.payload, as: UTF8.self) } ?? "?"
            received[room, default: []].append((publication.offset, text))
        }
    }
}
