import Broker
import CPosixShims
import Cluster
import ClusterConfiguration
import EventLoops
import Gateway
import Glibc
import Locks
import LogFormat
import LogStorage
import Logging
import NIOCore
import PeerProtocol
import Primitives
import RESPServer
import Rooms

/// One shard in production: gives its broker the clock, the disk, the mesh and the client connections. It decides
/// nothing; it carries.
///
/// Confined to the shard's loop, apart from `inbox`, which takes messages from any thread.
final class ShardRuntime: @unchecked Sendable {
    enum Message: Sendable {
        case peerUp(NodeID)
        case peerDown(NodeID)
        case peer(NodeID, PeerMessage)
        case heard(NodeID)
        case shard(ShardMessage)
        case appended(ticket: UInt64, StorageError?)
        case entriesRead(token: UInt64, [Entry]?)
        case snapshotSaved(GroupID, LogIndex, Bool)
        case snapshotInstalled(GroupID, LogIndex, Bool)
        case discarded(GroupID, Bool)
        case flushed([FlushedGroup])
        case call(@Sendable (ShardRuntime) -> Void)
    }

    let shard: Shard
    let broker: Broker
    var gateway: GatewayShard?
    var resp: RESPShard?
    /// Told who owns this shard's keys; set before anything runs.
    var shim: Shim?
    private var nextOwnership = Instant.zero
    /// Key partitions that this node owns here.
    let keyOwnership = RankedLock(.registry, Set<Int>())
    /// When a snapshot of keys was last saved; milliseconds since 1970.
    let lastKeySnapshot = RankedLock(.registry, Timestamp(0))
    private unowned let node: NodeRuntime
    private(set) var inbox: Inbox<Message>!

    /// Appends that the disk has not confirmed, oldest first, kept so that a full disk can be tried again.
    private var outstanding: [Outstanding] = []
    private var isDiskBlocked = false
    private var retryAt = Instant.distantFuture
    private var isDiskLow = false
    private var nextFreeCheck = Instant.zero
    private let syncPolicy: SyncPolicy
    private let keySyncPolicy: SyncPolicy

    private struct Outstanding {
        var ticket: UInt64
        var sync: SyncPolicy
        var items: [LogItem]
        var isInFlight: Bool
        var isDone: Bool
        var since: Instant
    }

    private let descriptors: DescriptorWatch

    /// Longest a full disk goes untried.
    private static let retryInterval = Interval.milliseconds(200)

    init(shard: Shard, broker: Broker, node: NodeRuntime, descriptorLimit: UInt64) {
        descriptors = DescriptorWatch(limit: descriptorLimit, logger: node.logger)
        self.shard = shard
        syncPolicy = SyncPolicy(node.configuration.log.sync)
        keySyncPolicy = SyncPolicy(node.configuration.keys.sync)
        self.broker = broker
        self.node = node
        inbox = Inbox(shard: shard, capacity: 4 << 20) { [unowned self] messages in
            for message in messages { receive(message) }
            shard.setNeeds(.step)
        }
    }

    /// On the loop, once.
    func start() {
        shard.atEndOfTick(.step) { [unowned self] in step() }
        shard.startTicking()
        shard.atEveryTick { [unowned self] now, wall in
            broker.advance(now: now, wall: wall)
            broker.tick()
            retryDisk(now)
            checkDisk(now)
            descriptors.check(gateway, resp)
            observeKeys(now)
            shard.setNeeds(.step)
        }
        shard.setNeeds(.step)
    }

    private func observeKeys(_ now: Instant) {
        guard let shim, now >= nextOwnership else { return }
        nextOwnership = now + .milliseconds(50)
        let owners = broker.keyOwnerships()
        let mine = Set(owners.filter { $0.owner == broker.settings.node }.map(\.partition))
        keyOwnership.withLock { $0 = mine }
        shim.observe(owners)
        guard shard.index == 0 else { return }
        let members = node.members.withLock { $0.nodes }
        shim.observe(members, seen: node.seen.withLock { $0 }, peers: broker.peerStatus)
    }

    func post(_ message: Message) {
        guard inbox.post(message) else {
            // Millions of messages behind: the loop is dead, and what was lost cannot be made good.
            node.fail("shard \(shard.index): the inbox overflowed")
        }
    }

    /// From this shard's own loop the detour is not needed.
    func deliver(_ message: Message) {
        if shard.loop.inEventLoop {
            receive(message)
            shard.setNeeds(.step)
        } else {
            post(message)
        }
    }

    private func receive(_ message: Message) {
        switch message {
        case .peerUp(let peer): broker.onPeerUp(peer)
        case .peerDown(let peer): broker.onPeerDown(peer)
        case .peer(let peer, let message): broker.onPeerMessage(from: peer, message)
        case .heard(let peer): broker.onPeerHeard(peer)
        case .shard(let message): broker.onShardMessage(message)
        case .appended(let ticket, let error): appended(ticket, error)
        case .entriesRead(let token, let entries): broker.onEntriesRead(token: token, entries)
        case .snapshotSaved(let group, let index, let succeeded):
            broker.onSnapshotSaved(group: group, index: index, succeeded: succeeded)
            if succeeded, let partition = group.partition, broker.keyPartition(partition) != nil {
                lastKeySnapshot.withLock { $0 = WallClock.now() }
            }
        case .snapshotInstalled(let group, let index, let succeeded):
            broker.onSnapshotInstalled(group: group, index: index, succeeded: succeeded)
        case .discarded(let group, let succeeded): broker.onDiscarded(group: group, succeeded: succeeded)
        case .flushed(let groups): for group in groups { broker.onFlushed(group: group.group, upTo: group.upTo) }
        case .call(let body): body(self)
        }
    }

    // MARK: Step

    /// The end of a turn of the loop: steps the cores with all that arrived, and carries away what they want.
    private func step() {
        broker.advance(now: MonotonicClock.now(), wall: WallClock.now())
        var rounds = 0
        repeat {
            broker.settle()
            let box = broker.outbox
            guard !box.isEmpty else { break }
            broker.outbox = Outbox()
            for request in box.storage { store(request) }
            if !box.peers.isEmpty { node.send(box.peers, from: self) }
            for (index, message) in box.shards { node.runtimes[index].post(.shard(message)) }
            if !box.edge.isEmpty {
                gateway?.handle(box.edge)
                resp?.handle(box.edge)
            }
            for event in box.events { node.note(event) }
            for (token, reply) in box.controlReplies { node.controlAnswered(token, reply) }
            rounds += 1
        } while rounds < 16
        // There may be more, for the next turn: sockets are read between.
        if rounds == 16 { shard.setNeeds(.step) }
    }

    // MARK: Disk

    private func store(_ request: StorageRequest) {
        let writer = node.writer
        switch request {
        case .append(let ticket, let items, let isKeysOnly):
            outstanding.append(
                Outstanding(
                    ticket: ticket,
                    sync: isKeysOnly ? keySyncPolicy : syncPolicy,
                    items: items.map { LogItem(group: $0.group, hardState: $0.hardState, entries: $0.entries) },
                    isInFlight: false,
                    isDone: false,
                    since: MonotonicClock.now()
                )
            )
            if !isDiskBlocked { submit(outstanding.count - 1) }
        case .read(let token, let group, let from, let upTo, let maxBytes):
            writer.read(group: group, from: from, upTo: upTo, maxBytes: maxBytes) { [self] result in
                post(.entriesRead(token: token, try? result.get()))
            }
        case .saveSnapshot(let group, let descriptor, let state):
            writer.saveSnapshot(group: group, descriptor: descriptor, state: { state.encoded() }) { [self] result in
                post(.snapshotSaved(group, descriptor.index, (try? result.get()) != nil))
            }
        case .installSnapshot(let group, let descriptor, let state, let entries):
            writer.installSnapshot(group: group, descriptor: descriptor, state: state, entries: entries) {
                [self] result in
                post(.snapshotInstalled(group, descriptor.index, (try? result.get()) != nil))
            }
        case .dropLog(let group, let below):
            writer.dropLog(group: group, below: below) { _ in }
        case .discard(let group):
            writer.discardGroup(group: group) { [self] result in
                switch result {
                // Nothing of it was ever written here.
                case .success, .failure(.unknownGroup): post(.discarded(group, true))
                case .failure: post(.discarded(group, false))
                }
            }
        }
    }

    private func submit(_ row: Int) {
        outstanding[row].isInFlight = true
        let ticket = outstanding[row].ticket
        node.writer.submit(outstanding[row].items, sync: outstanding[row].sync) { [self] result in
            var error: StorageError?
            if case .failure(let reason) = result { error = reason }
            if shard.loop.inEventLoop {
                // It was written at once; the round of the step that asked for it goes on with it.
                appended(ticket, error)
            } else {
                post(.appended(ticket: ticket, error))
            }
        }
    }

    private func appended(_ ticket: UInt64, _ error: StorageError?) {
        guard let row = outstanding.firstIndex(where: { $0.ticket == ticket }) else { return }
        outstanding[row].isInFlight = false
        if let error {
            switch error {
            case .full, .notContiguous, .disk:
                if !isDiskBlocked {
                    isDiskBlocked = true
                    node.logger.error(
                        "guaranteed publishes wait: the log cannot be written",
                        metadata: ["error": "\(error)", "advice": "free space in the data directory"]
                    )
                }
                retryAt = MonotonicClock.now() + ShardRuntime.retryInterval
            case .stopped: return
            default: node.fail("the log cannot go on: \(error)")
            }
            return
        }
        outstanding[row].isDone = true
        var released: UInt64?
        while let first = outstanding.first, first.isDone {
            released = first.ticket
            outstanding.removeFirst()
        }
        if let released { broker.onDurable(ticket: released) }
        if isDiskBlocked, outstanding.allSatisfy({ $0.isDone || $0.isInFlight }) {
            isDiskBlocked = false
            node.logger.notice("the log is written again")
        }
    }

    private func retryDisk(_ now: Instant) {
        guard isDiskBlocked, now >= retryAt, !outstanding.contains(where: \.isInFlight) else { return }
        retryAt = .distantFuture
        for row in outstanding.indices where !outstanding[row].isDone { submit(row) }
    }

    /// A disk that takes a write and does not come back is as bad as a full one for whoever waits for it.
    private func checkDisk(_ now: Instant) {
        let waited = outstanding.first.map { now - $0.since } ?? .zero
        if waited > .seconds(20), !isDiskBlocked {
            node.fail("the disk has not answered for \(Int(waited.seconds)) s")
        }
        if now >= nextFreeCheck {
            nextFreeCheck = now + .seconds(1)
            checkFreeSpace()
        }
        broker.onDiskHealth(!isDiskBlocked && !isDiskLow && waited < node.configuration.raft.election)
    }

    /// A disk that is nearly full is left alone before it is full: what is already there keeps its room (PS-13).
    private func checkFreeSpace() {
        let floor = UInt64(node.configuration.log.minFreeDisk)
        guard floor > 0, let own = node.configuration.node(id: node.name) else { return }
        let free = vencejo_free_bytes(own.dataDirectory)
        guard (free < floor) != isDiskLow else { return }
        isDiskLow = free < floor
        if isDiskLow {
            node.logger.error(
                "guaranteed publishes are left to other nodes: little disk is free",
                metadata: ["free.bytes": "\(free)", "advice": "free space, or lower log.min_free_disk"]
            )
        } else {
            node.logger.notice("there is enough free disk again", metadata: ["free.bytes": "\(free)"])
        }
    }

    /// Appends under way, for metrics and status.
    var pendingAppends: Int { outstanding.count }
    var diskBlocked: Bool { isDiskBlocked }
}

extension SyncPolicy {
    init(_ setting: ClusterConfiguration.Sync) {
        self =
            switch setting {
            case .always: .always
            case .everysec: .everysecond
            case .never: .never
            }
    }
}
