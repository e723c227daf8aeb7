import DequeModule
import Keys
import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms

/// One shard of a node, without I/O: the Raft groups of its partitions, the rooms that it owns, the relays that bring
/// other owners' rooms here, and the hub of its client sessions.
///
/// Inputs are methods; they only note what happened. `settle()` then does the work of the tick once for everything that
/// arrived in it: publishes are gathered into one log entry per partition, messages into one frame per node. What must
/// be done outside is in `outbox`. Time and randomness are inputs, so a simulator can run a whole cluster of brokers on
/// one thread.
///
/// A publish walks: hub -> relay (this node's end of the partition's stream) -> owner -> log -> quorum -> apply ->
/// fan-out to interested nodes' relays -> hubs -> sessions. The same code runs when all of them are in one place.
///
/// Confined to one thread.
package final class Broker {
    package var outbox = Outbox()
    package let settings: BrokerSettings
    package var counters = BrokerCounters()

    var now: Instant
    var wall: Timestamp
    var random: Xoshiro256

    /// By group number: control, then the partitions of this shard that have a replica here.
    var replicas: [Replica?]
    var dirtyReplicas: [Replica] = []
    /// By partition; only those of this shard.
    var relays: [Relay?]
    /// Publishes in all relays.
    var pendingPublishes = 0
    var dirtyRelays: [Relay] = []
    var hub: Hub
    package internal(set) var control = ControlState()
    /// Replicas found on disk before the placement that names their members is known, and what is left of those that
    /// were removed.
    var orphans: [(GroupID, RestoredReplica)] = []
    /// Groups whose replica is being removed from the disk.
    var discarding: Set<GroupID> = []
    var installedEpoch: UInt64 = 0

    // Of the control group's leader.
    /// Nodes that gossip knows to be alive; sorted.
    var nodesSeen: [ClusterNode] = []
    var nodesJoining: [NodeID] = []
    /// Members that cannot be reached, and since when.
    var away: [(node: NodeID, since: Instant)] = []
    /// What each node can read and write, as it told last.
    var levelsTold: [NodeID: UInt16] = [:]
    /// Nodes of which it was said once why they are not admitted.
    var refused: Set<NodeID> = []
    /// Of the operators at this node.
    var controlRequests: [(token: UInt64, deadline: Instant)] = []
    /// Shards of this node that carry nothing any more, while it is leaving.
    var emptyShards: Set<Int> = []
    var leftAt: Instant?
    /// What nodes last said that they do, and when.
    var nodeLoads: [(node: NodeID, at: Instant, loads: [PartitionLoad])] = []
    var loadBalance = LoadBalance()
    var nextBalance = Instant.zero
    /// By shard of this node; on the control group's shard.
    var shardLoads: [ShardLoads]
    var hotPartitions = HotPartitions()
    var frequentRooms = FrequentRooms()
    /// As of the last turn.
    var busiestRooms: [RoomLoad] = []
    /// Chance of its own: what is sampled changes nothing else.
    var sampler: Xoshiro256
    var lastLoadTurn: Instant
    /// Since its start: a node that joins is none until it is admitted.
    var wasMember = false

    /// Nodes whose link the mesh has admitted, and those that formed the cluster; sorted.
    var peers: [Peer] = []
    /// By partition: who serves it, as far as is known here.
    var owners: [Owner?]

    /// Messages of this shard to itself, in order.
    var loopback: Deque<ShardMessage> = []

    var nextAppendTicket: UInt64 = 1
    /// Of waits of this shard's connections.
    var lastTicket: UInt64 = 0
    var pendingAppends: Deque<PendingAppend> = []
    var items: [StorageRequest.Item] = []
    var parts: [PendingAppend.Part] = []
    var isAppendKeysOnly = true
    var storageReads: [UInt64: StorageRead] = [:]
    var nextStorageToken: UInt64 = 1
    var isDiskHealthy = true
    /// The node is leaving.
    var hasResigned = false
    var mayLead: Bool { isDiskHealthy && !hasResigned }

    var nextRaftTick: Instant
    var nextKeepalive: Instant
    var nextOwners: Instant
    var nextRebalance: Instant
    var nextControl: Instant
    /// When the next bytes of a transfer may be sent.
    var transferDue = Instant.zero
    var effects: [PartitionState.Effect] = []
    var keyEffects: [KeyPartition.Effect] = []
    var isSettling = false
    /// Number of the settling whose directives are in the outbox.
    var settling: UInt64 = 1

    struct Peer {
        var id: NodeID
        var isUp = false
        var isSuspected = false
        /// As it said; a node that leaves is given no leadership.
        var mayLead = true
        var lastHeard = Instant.zero
    }

    struct Owner: Equatable {
        var node: NodeID
        var term: Term
    }

    struct PendingAppend {
        struct Part {
            var replica: Replica
            var term: Term
            var index: LogIndex
            var messages: [RaftMessage]
        }
        var ticket: UInt64
        var parts: [Part]
    }

    /// Why entries are being read from storage.
    enum StorageRead {
        case follower(Replica, LogRead)
        case scan(Replica, LogScan, upTo: LogIndex, node: NodeID, FetchRequest, FetchReply)
        case transfer(Replica, NodeID, from: LogIndex)
        case apply(Replica, LogRead)
    }

    package init(
        settings: BrokerSettings,
        restored: [(GroupID, RestoredReplica)],
        now: Instant,
        wall: Timestamp
    ) throws(DecodeError) {
        self.settings = settings
        self.now = now
        self.wall = wall
        random = Xoshiro256(seed: settings.seed)
        sampler = Xoshiro256(seed: ~settings.seed)
        shardLoads = Array(repeating: ShardLoads(), count: settings.shards)
        lastLoadTurn = now
        replicas = Array(repeating: nil, count: settings.allPartitions + 1)
        owners = Array(repeating: nil, count: settings.allPartitions)
        relays = Array(repeating: nil, count: settings.allPartitions)
        hub = Hub(shard: settings.shard)
        nextRaftTick = now + settings.raftTick
        nextKeepalive = now
        nextOwners = now
        nextRebalance = now + settings.rebalanceInterval
        nextControl = now + settings.controlInterval
        peers = settings.nodes.filter { $0.id != settings.node }.map { Peer(id: $0.id) }
        for partition in 0..<settings.allPartitions where partition % settings.shards == settings.shard {
            relays[partition] = Relay(
                partition: PartitionID(UInt32(partition)),
                gateway: GatewayID(rawValue: random.next()),
                isKeys: partition >= settings.partitions,
                now: now
            )
        }
        // The partitions' replicas wait as orphans before the control group speaks: its table makes replicas, and
        // must find what the disk holds rather than make an empty one in its place.
        let local = restored.filter { isLocal($0.0) }.sorted { $0.0 < $1.0 }
        orphans = local.filter { $0.0 != .control }
        if var control = local.first(where: { $0.0 == .control })?.1 {
            // A node that joins learns who votes from the leader's snapshot: a vote kept before that is no beginning.
            if settings.isJoining, control.snapshot == nil { control.isFaulty = true }
            try makeReplica(.control, membership: nil, restored: control)
        }
        for (group, replica) in local where replica.snapshot != nil && self.replica(group) == nil {
            orphans.removeAll { $0.0 == group }
            try makeReplica(group, membership: nil, restored: replica)
        }
        if settings.shard == 0, replicas[0] == nil {
            var restored = RestoredReplica()
            restored.isFaulty = settings.isJoining || settings.hasLostRecords
            try makeReplica(.control, membership: controlMembership, restored: restored)
        }
        // A sole voter has nobody to wait for.
        if settings.controlVoters == [settings.node] { replicas[0]?.campaignAt = now }
    }

    /// The control group's members at the cluster's formation: everyone follows it, up to five vote. A node that joins
    /// learns them from the leader.
    var controlMembership: Membership {
        guard !settings.isJoining else { return Membership(voters: [], learners: [settings.node]) }
        return Membership(
            voters: settings.controlVoters,
            learners: settings.nodes.map(\.id).filter { !settings.controlVoters.contains($0) }
        )
    }

    func isLocal(_ group: GroupID) -> Bool {
        guard let partition = group.partition else { return settings.shard == 0 }
        return Int(partition.rawValue) < settings.allPartitions
            && Int(partition.rawValue) % settings.shards == settings.shard
    }

    func shard(of partition: PartitionID) -> Int { Int(partition.rawValue) % settings.shards }

    /// The partition of a room: its slot's contiguous range.
    package func partition(of room: RoomName) -> PartitionID {
        // Events of keys keep their order over all their channels, as they do in Redis: so they share an owner.
        if room.bytes.first == UInt8(ascii: "_"), room.bytes.starts(with: "__key".utf8) { return PartitionID(0) }
        return PartitionID(room.slot * UInt32(settings.partitions) / HashSlot.count)
    }

    // MARK: Time

    /// Moves the clock. Call it every 10 ms or so, and before each batch of inputs.
    package func advance(now: Instant, wall: Timestamp) {
        let slept = now - self.now
        if slept > settings.keepalive {
            // It was this process that stood still: that nobody was heard meanwhile says nothing about the others.
            for index in peers.indices { peers[index].lastHeard = peers[index].lastHeard + slept }
        }
        self.now = max(self.now, now)
        self.wall = wall
    }

    /// Does what is due by `now`. Call it every 10 ms or so.
    package func tick() {
        while nextRaftTick <= now {
            nextRaftTick = nextRaftTick + settings.raftTick
            if now - nextRaftTick > settings.raftTick * 4 { nextRaftTick = now }
            for case let replica? in replicas {
                replica.raft.tick()
                mark(replica)
            }
        }
        checkLiveness()
        var syncs = settings.parallelSyncs - replicas.count { $0?.isFilling(at: now, settings) == true }
        for case let replica? in replicas {
            if let due = replica.campaignAt, due <= now {
                replica.campaignAt = nil
                if replica.raft.leader == nil, mayLead {
                    // One whose votes are under way is left alone.
                    if replica.raft.role != .candidate { replica.raft.campaign() }
                    // A voter that had not noticed yet has refused, and one that is behind cannot win: the hint is
                    // tried again, before the timers are.
                    if replica.campaignsLeft > 0 {
                        replica.campaignsLeft -= 1
                        replica.campaignAt = now + settings.rankDelay * 3
                    }
                    mark(replica)
                }
            }
            housekeep(replica)
            if syncs > 0, askForSnapshot(replica) { syncs -= 1 }
        }
        if nextControl <= now {
            nextControl = now + settings.controlInterval
            tickControl()
        }
        if nextKeepalive <= now {
            nextKeepalive = now + settings.keepalive
            for peer in peers where peer.isUp { outbox.peers.append((peer.id, .keepalive)) }
        }
        if nextOwners <= now {
            nextOwners = now + settings.ownersInterval
            let list = ownedPartitions()
            if !list.isEmpty {
                for peer in peers where peer.isUp { outbox.peers.append((peer.id, .owners(list))) }
            }
        }
        if nextRebalance <= now {
            nextRebalance = now + settings.rebalanceInterval
            returnLeaderships()
        }
        if now - lastLoadTurn >= settings.loadInterval { measureLoad() }
        if hasResigned { handOver() }
        for case let relay? in relays { tickRelay(relay) }
        tickHub()
    }

    // MARK: Peers

    package func onPeerUp(_ node: NodeID) {
        if !peers.contains(where: { $0.id == node }) {
            peers.append(Peer(id: node))
            peers.sort { $0.id < $1.id }
        }
        guard let index = peers.firstIndex(where: { $0.id == node }) else { return }
        peers[index].isUp = true
        peers[index].mayLead = true
        peers[index].lastHeard = now
        if hasResigned, settings.shard == 0 { outbox.peers.append((node, .standing(mayLead: false))) }
        if peers[index].isSuspected {
            peers[index].isSuspected = false
            outbox.events.append(.peerRecovered(node))
        }
        let list = ownedPartitions()
        if !list.isEmpty { outbox.peers.append((node, .owners(list))) }
        // Groups without a leader: the preferred owner goes first, the others give it a head start.
        for case let replica? in replicas where replica.raft.leader == nil && replica.campaignAt == nil {
            scheduleCampaign(replica, without: nil, spacing: settings.rankDelay * 3)
        }
    }

    package func onPeerDown(_ node: NodeID) {
        guard let index = peers.firstIndex(where: { $0.id == node }) else { return }
        peers[index].isUp = false
        suspect(index, silent: .zero)
        for case let replica? in replicas {
            replica.streams = replica.streams.filter { $0.value.node != node }
            if replica.transfers[node] != nil { endTransfer(replica, to: node, succeeded: false) }
            // Who is gone did not mean to give anything away.
            if replica.giver == node { replica.giver = nil }
            if replica.incoming?.from == node, replica.incoming?.isInstalling == false { replica.incoming = nil }
            if replica.isServing {
                forgetInterest(of: node, in: replica)
                if let partition = replica.group.partition,
                    placement?.replicas[Int(partition.rawValue)].first == node
                {
                    replica.nextReturn = min(replica.nextReturn, now)
                }
            }
        }
        for case let relay? in relays where relay.owner == node { ownerUnreachable(relay) }
        if control.version > 0, control.member(node) == nil { peers.removeAll { $0.id == node } }
    }

    private func forgetInterest(of node: NodeID, in replica: Replica) {
        replica.interest = replica.interest.compactMapValues { nodes in
            let kept = nodes.filter { $0.node != node }
            return kept.isEmpty ? nil : kept
        }
        replica.patterns.removeAll { $0.node == node }
    }

    private func checkLiveness() {
        for index in peers.indices where peers[index].isUp && !peers[index].isSuspected {
            let silent = now - peers[index].lastHeard
            if silent > settings.suspectAfter { suspect(index, silent: silent) }
        }
        // A peer that stands still keeps its connections: what it owns has no owner all the same.
        for peer in peers where peer.isSuspected && now - peer.lastHeard > settings.degradedAfter {
            for case let relay? in relays where relay.owner == peer.id {
                ownerUnreachable(relay)
                relay.lostAt = peer.lastHeard
            }
        }
    }

    /// A hint, not a verdict: the groups that the peer led may elect another leader now, in rank order. Votes stay the
    /// only thing that makes one.
    private func suspect(_ index: Int, silent: Interval) {
        let node = peers[index].id
        if !peers[index].isSuspected {
            peers[index].isSuspected = true
            outbox.events.append(.peerSuspected(node, silent: silent))
        }
        for case let replica? in replicas where replica.raft.leader == node {
            replica.raft.forgetLeader()
            if replica.leaderLostAt == nil { replica.leaderLostAt = peers[index].lastHeard }
            scheduleCampaign(replica, without: node, spacing: settings.rankDelay)
            mark(replica)
        }
    }

    /// Rank = this node's place among the group's live voters in the placement's order, preferred owner first.
    private func scheduleCampaign(_ replica: Replica, without dead: NodeID?, spacing: Interval) {
        guard replica.raft.membership.isVoter(settings.node), !replica.isFaulty, mayLead else { return }
        var order = replica.raft.membership.voters
        if let partition = replica.group.partition, let table = placement {
            order = table.replicas[Int(partition.rawValue)]
        }
        var rank: UInt64 = 0
        for node in order {
            if node == settings.node { break }
            if node != dead, peers.contains(where: { $0.id == node && $0.isUp && !$0.isSuspected }) { rank += 1 }
        }
        replica.campaignAt = now + spacing * rank
        replica.campaignsLeft = 2
    }

    func isReachable(_ node: NodeID) -> Bool {
        node == settings.node || peers.contains { $0.id == node && $0.isUp }
    }

    package func onPeerMessage(from node: NodeID, _ message: PeerMessage) {
        // Several that were given up could be a majority of former members, and lead this node astray.
        guard !control.isFormer(node), let index = peers.firstIndex(where: { $0.id == node }) else { return }
        peers[index].lastHeard = now
        if peers[index].isSuspected {
            peers[index].isSuspected = false
            outbox.events.append(.peerRecovered(node))
        }
        receive(message, from: node)
    }

    /// Any sign of life that carries no message for this shard (a frame for another one).
    package func onPeerHeard(_ node: NodeID) {
        guard let index = peers.firstIndex(where: { $0.id == node }) else { return }
        peers[index].lastHeard = now
    }

    /// To a node, or to ourselves without the detour.
    func send(_ message: PeerMessage, to node: NodeID) {
        if node == settings.node {
            receive(message, from: node)
        } else {
            outbox.peers.append((node, message))
        }
    }

    private func receive(_ message: PeerMessage, from node: NodeID) {
        switch message {
        case .raft(let group, let raftMessage):
            guard let replica = replica(group), replica.incoming?.isInstalling != true else { return }
            // A damaged replica is going to be replaced whole: what it acknowledged now would be lost with the rest.
            if replica.isFaulty, case .append = raftMessage.body { return }
            let before = replica.raft.leader
            if case .timeoutNow = raftMessage.body { replica.giver = node }
            replica.raft.step(raftMessage)
            if before == nil, replica.raft.leader != nil { replica.campaignAt = nil }
            mark(replica)
        case .publish(let stream): receivePublish(stream, from: node)
        case .published(let results): receiveResults(results)
        case .publishRefused(let refusal): receiveRefusal(refusal, from: node)
        case .announce(let partition, let room, let body): receiveAnnounce(partition, room, body, from: node)
        case .fetch(let request): receiveFetch(request, from: node)
        case .fetched(let reply): receiveFetched(reply, from: node)
        case .uninterested(let partition, let room):
            guard let replica = replica(GroupID(partition: partition)), replica.isServing else { return }
            removeInterest(node, room, replica)
        case .publications(let partition, let room, let epoch, let publications):
            receivePublications(partition, room, epoch, publications, from: node)
        case .acknowledge(let partition, let updates):
            guard let replica = replica(GroupID(partition: partition)), replica.isServing else { return }
            gather(replica) { $0.cursors(updates) }
        case .owners(let list):
            for row in list { noteOwner(row.partition, node: node, term: row.term) }
        case .keepalive: break
        case .standing(let mayLead): noteStanding(of: node, mayLead)
        case .loads(let loads): receiveLoads(loads, from: node)
        case .snapshotChunk(let chunk): receiveChunk(chunk, from: node)
        case .snapshotProgress(let group, let index, let received):
            receiveProgress(group, index: index, received: received, from: node)
        case .snapshotRequest(let group): receiveSnapshotRequest(group, from: node)
        case .retireRequest(let group): receiveRetireRequest(group, from: node)
        case .retire(let group, let epoch, let term): receiveRetire(group, epoch: epoch, term: term)
        case .controlRequest(let token, let request): receiveControlRequest(token, request, from: node)
        case .controlReply(let token, let reply): receiveControlReply(token, reply)
        case .keyResults(let results): receiveKeyResults(results)
        case .keyRead(let read): receiveKeyRead(read, from: node)
        case .keyReadReply(let reply): receiveKeyReadReply(reply, from: node)
        case .keyServed(let served): receiveKeyServed(served)
        case .subscribers(let partition, let token, let counts):
            receiveSubscribers(partition, token, counts, from: node)
        case .patterns(let partition, let token, let counts): receivePatterns(partition, token, counts, from: node)
        case .announceCounted(let partition, let token, let room, let body):
            receiveAnnounceCounted(partition, token, room, body, from: node)
        case .channelQuery(let partition, let token, let query):
            receiveChannelQuery(partition, token, query, from: node)
        case .noted(let partition, let token): receiveAnswer(partition, token, .noted, from: node)
        case .received(let partition, let token, let count):
            receiveAnswer(partition, token, .received(Int(count)), from: node)
        case .channelReply(let partition, let token, let reply):
            receiveAnswer(partition, token, .channels(reply), from: node)
        }
    }

    func replica(_ group: GroupID) -> Replica? {
        Int(group.rawValue) < replicas.count ? replicas[Int(group.rawValue)] : nil
    }

    func mark(_ replica: Replica) {
        // A late answer of the disk may be about a replica that was removed meanwhile.
        guard !replica.isDirty, replicas[Int(replica.group.rawValue)] === replica else { return }
        replica.isDirty = true
        dirtyReplicas.append(replica)
    }

    // MARK: Settle

    /// Does everything that the inputs since the last call made possible, and fills the outbox, which the caller
    /// empties before it calls again.
    package func settle() {
        guard !isSettling else { return }
        isSettling = true
        settling += 1
        defer { isSettling = false }
        levelHub()
        tellPatterns()
        while true {
            while let message = loopback.popFirst() { handle(message) }
            if !dirtyRelays.isEmpty {
                let relays = dirtyRelays
                dirtyRelays.removeAll(keepingCapacity: true)
                for relay in relays { flushRelay(relay) }
                continue
            }
            guard !dirtyReplicas.isEmpty else { break }
            let batch = dirtyReplicas
            dirtyReplicas.removeAll(keepingCapacity: true)
            for replica in batch {
                replica.isDirty = false
                if replicas[Int(replica.group.rawValue)] === replica { pump(replica) }
            }
        }
        if !items.isEmpty || !parts.isEmpty {
            let ticket = nextAppendTicket
            nextAppendTicket += 1
            outbox.storage.append(.append(ticket: ticket, items: items, isKeysOnly: isAppendKeysOnly))
            isAppendKeysOnly = true
            pendingAppends.append(PendingAppend(ticket: ticket, parts: parts))
            items.removeAll(keepingCapacity: true)
            parts.removeAll(keepingCapacity: true)
        }
    }

    /// A message from another shard of this node.
    package func onShardMessage(_ message: ShardMessage) { loopback.append(message) }

    func post(_ message: ShardMessage, to shard: Int) {
        if shard == settings.shard {
            loopback.append(message)
        } else {
            outbox.shards.append((shard, message))
        }
    }

    private func handle(_ message: ShardMessage) {
        switch message {
        case .publish(let hub, let token, let partition, let command, let deadline, let isCounted):
            relayPublish(partition, command, hub: hub, token: token, deadline: deadline, isCounted: isCounted)
        case .announce(let partition, let room, let body): relayAnnounce(partition, room, body)
        case .register(let hub, let partition, let room, let count):
            relayRegister(partition, room, hub: hub, count: count)
        case .unregister(let hub, let partition, let room, let count):
            relayUnregister(partition, room, hub: hub, count: count)
        case .subscriberCount(let hub, let partition, let room, let delta, let token):
            relayCount(partition, room, hub: hub, delta: delta, token: token)
        case .patterns(let hub, let partition, let counts, let token):
            relayPatterns(partition, counts, hub: hub, token: token)
        case .announceCounted(let hub, let token, let partition, let room, let body):
            relayAnnounceCounted(partition, room, body, hub: hub, token: token)
        case .channelQuery(let hub, let token, let partition, let query):
            relayChannelQuery(partition, query, hub: hub, token: token)
        case .counted(let token): hubCounted(token)
        case .channelReply(let token, let partition, let result): hubChannels(token, partition, result)
        case .received(let token, let result): outbox.edge.append(.received(token, result))
        case .patternPublications(let room, let publications):
            for publication in publications { outbox.edge.append(.patternMessage(room, publication)) }
        case .fetch(let hub, let fetch): relayFetch(fetch, hub: hub)
        case .acknowledge(let partition, let update): relayAcknowledge(partition, update)
        case .published(let token, let result): outbox.edge.append(.published(token, result))
        case .registered(let room, let head, let live): hubRegistered(room, head, live: live)
        case .publications(let room, let epoch, let publications): hubPublications(room, epoch, publications)
        case .fetched(let token, let room, let result): hubFetched(token, room, result)
        case .resumed(let room, let epoch, let next): hubResumed(room, epoch, next)
        case .roomReset(let room): hubReset(room)
        case .control(let bytes): adoptControl(bytes)
        case .loads(let shard, let loads, let rooms): takeLoads(loads, rooms, of: shard)
        case .emptied(let shard): emptyShards.insert(shard)
        case .keyUnit(let hub, let token, let partition, let unit, let deadline):
            relayKeyUnit(partition, unit, hub: hub, token: token, deadline: deadline)
        case .keyRead(let hub, let token, let partition, let unit):
            relayKeyRead(partition, unit, hub: hub, token: token)
        case .cancelWait(let partition, let ticket): relayCancel(partition, ticket: ticket)
        case .keys(let token, let result): outbox.edge.append(.keys(token, result))
        case .served(let ticket, let reply): outbox.edge.append(.served(ticket: ticket, reply: reply))
        }
    }
}

/// Counts since start; read by the shell once a second.
package struct BrokerCounters: Sendable {
    package var publishesAccepted: UInt64 = 0
    package var publishesRefused: UInt64 = 0
    package var duplicates: UInt64 = 0
    package var bestEffortPublishes: UInt64 = 0
    package var fannedOut: UInt64 = 0
    package var entriesProposed: UInt64 = 0
    package var fetches: UInt64 = 0
    package var gapsRepaired: UInt64 = 0
    package var gapsAnnounced: UInt64 = 0
    package var ownershipsWon: UInt64 = 0
    package var snapshotsSent: UInt64 = 0
    package var snapshotsInstalled: UInt64 = 0
    package var streamsRestarted: UInt64 = 0
    /// Entries of keys that were answered here and that no majority was known to have when the ownership was lost.
    package var keyEntriesUnconfirmed: UInt64 = 0

    package init() {}
}
