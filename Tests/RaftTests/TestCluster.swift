import Primitives
import Raft

/// Replicas with disks, a network and a state machine each, all on one thread and under the test's control; every step
/// checks Raft's safety properties (Raft, figure 3).
final class TestCluster {
    /// What travels: messages, and whole snapshots beside them.
    enum Packet {
        case message(RaftMessage)
        case snapshot(SnapshotStream)

        var from: NodeID {
            switch self {
            case .message(let message): message.from
            case .snapshot(let stream): stream.from
            }
        }

        var to: NodeID {
            switch self {
            case .message(let message): message.to
            case .snapshot(let stream): stream.to
            }
        }
    }

    struct Snapshot {
        var descriptor: SnapshotDescriptor
        /// The state machine: a hash chain over all that was applied.
        var state: UInt64
    }

    struct SnapshotStream {
        var from: NodeID
        var to: NodeID
        var term: Term
        var snapshot: Snapshot
        var entries: [Entry]
        /// The term of the entry before `entries`.
        var previousTerm: Term
    }

    /// What survives a crash.
    struct Disk {
        var hardState = HardState()
        var firstIndex: LogIndex = 1
        var previousTerm: Term = 0
        var entries: [Entry] = []
        var snapshot: Snapshot?

        var lastIndex: LogIndex { firstIndex + LogIndex(entries.count) - 1 }

        var termStarts: [TermStart] {
            var starts = [TermStart(index: firstIndex - 1, term: previousTerm)]
            for entry in entries where starts.last?.term != entry.term {
                starts.append(TermStart(index: entry.index, term: entry.term))
            }
            return starts
        }
    }

    /// A write that is under way; the order of a replica's writes is kept.
    struct Write {
        var hardState: HardState?
        var entries: [Entry] = []
        var messages: [RaftMessage] = []
        var answer: (term: Term, index: LogIndex)?
        var install: SnapshotStream?
    }

    struct Replica {
        let id: NodeID
        var initial: Membership
        var node: RaftNode?
        var disk = Disk()
        var writes: [Write] = []
        var logReads: [LogRead] = []
        var applied: LogIndex = 0
        var state: UInt64 = 0
        var incarnation: UInt64 = 0
        var isFaulty = false
        var commands: [[UInt8]] = []
        var readStates: [ReadState] = []
    }

    struct ReadRequest {
        var node: NodeID
        var incarnation: UInt64
        var committed: LogIndex
    }

    var replicas: [Replica] = []
    var packets: [Packet] = []
    var settings: RaftSettings
    let seed: UInt64
    /// One-way cuts: what is sent there is lost.
    var cuts: [(from: NodeID, to: NodeID)] = []
    /// Entries in memory after a restart; the rest is read from disk.
    var entriesInMemory = 1000
    /// Entries kept before a streamed snapshot's end.
    var entriesBesideSnapshot = 2

    var isTracing = false
    var trace: [String] = []
    /// Broken safety properties; must stay empty.
    var violations: [String] = []

    // What the checks remember.
    private var leaders: [Term: NodeID] = [:]
    private struct EntryKey: Hashable {
        var index: LogIndex
        var term: Term
    }
    private struct EntryFact: Equatable {
        var previousTerm: Term
        var kind: EntryKind
        var data: [UInt8]
    }
    private var facts: [EntryKey: EntryFact] = [:]
    /// The committed log, from index 1; and the state after each entry.
    private(set) var history: [Entry] = []
    private var historyStates: [UInt64] = [0]
    private(set) var maxCommit: LogIndex = 0
    private var readRequests: [UInt64: ReadRequest] = [:]
    private var nextReadContext: UInt64 = 1
    private var ready = Ready()
    private(set) var elections = 0
    private(set) var confirmedReads = 0
    private(set) var installedSnapshots = 0

    init(
        voters: [UInt64],
        learners: [UInt64] = [],
        spares: [UInt64] = [],
        settings: RaftSettings = RaftSettings(),
        seed: UInt64 = 1
    ) {
        self.settings = settings
        self.seed = seed
        let membership = Membership(voters: voters.map { NodeID($0) }, learners: learners.map { NodeID($0) })
        for id in (voters + learners + spares).sorted() {
            replicas.append(Replica(id: NodeID(id), initial: membership))
        }
        for position in replicas.indices { start(position) }
    }

    // MARK: - Access

    func position(_ id: NodeID) -> Int { replicas.firstIndex { $0.id == id }! }

    func node(_ id: UInt64) -> RaftNode { replicas[position(NodeID(id))].node! }

    /// Calls a live node, then checks.
    @discardableResult
    func with<Outcome>(_ id: NodeID, _ body: (inout RaftNode) -> Outcome) -> Outcome {
        let position = self.position(id)
        let outcome = body(&replicas[position].node!)
        check(position)
        return outcome
    }

    var leader: NodeID? {
        var newest: RaftNode?
        for replica in replicas {
            guard let node = replica.node, node.role == .leader else { continue }
            if newest.map({ $0.term < node.term }) ?? true { newest = node }
        }
        return newest?.id
    }

    func note(_ line: @autoclosure () -> String) {
        if isTracing { trace.append(line()) }
    }

    private func violate(_ text: String) { violations.append(text) }

    // MARK: - Life

    func start(_ position: Int, isFaulty: Bool = false) {
        let replica = replicas[position]
        let disk = replica.disk
        let node = RaftNode(
            id: replica.id,
            group: .control,
            membership: disk.snapshot?.descriptor.membership ?? replica.initial,
            restored: RestoredReplica(
                hardState: disk.hardState,
                snapshot: disk.snapshot?.descriptor,
                firstIndex: disk.firstIndex,
                lastIndex: disk.lastIndex,
                termStarts: disk.termStarts,
                entries: Array(disk.entries.suffix(entriesInMemory)),
                isFaulty: isFaulty || replica.isFaulty
            ),
            settings: settings,
            seed: seed &* 1000 &+ replica.id.rawValue &* 10 &+ replica.incarnation &* 7919
        )
        replicas[position].isFaulty = isFaulty || replica.isFaulty
        replicas[position].node = node
        replicas[position].applied = disk.snapshot?.descriptor.index ?? 0
        replicas[position].state = disk.snapshot?.state ?? 0
        replicas[position].incarnation += 1
        check(position)
    }

    /// The process dies: the first `surviving` writes under way reach the disk, the others do not.
    func crash(_ position: Int, surviving: Int = 0) {
        let writes = replicas[position].writes
        for write in writes.prefix(surviving) { store(write, position) }
        replicas[position].writes = []
        replicas[position].logReads = []
        replicas[position].node = nil
        // The stream's connection breaks.
        for case let stream? in writes.map(\.install) {
            with(stream.from, ifAlive: { $0.onSnapshotSent(to: stream.to, succeeded: false) })
        }
    }

    // MARK: - Ready

    /// Takes one Ready and does what it says, up to the sync. False when there was nothing.
    @discardableResult
    func processReady(_ position: Int) -> Bool {
        guard replicas[position].node?.hasReady == true else { return false }
        let id = replicas[position].id
        replicas[position].node!.takeReady(into: &ready)
        let term = replicas[position].node!.term
        let lastIndex = replicas[position].node!.lastIndex
        if let soft = ready.softState {
            note("\(id) is \(soft.role) in term \(soft.term)\(soft.leader.map { ", leader \($0)" } ?? "")")
        }
        var write = Write(hardState: ready.hardState, entries: ready.entries)
        if ready.mustSync {
            write.messages = ready.messagesAfterAppend
            write.answer = (term, lastIndex)
        }
        if write.hardState != nil || ready.mustSync {
            note("\(id) writes \(describe(write))")
            replicas[position].writes.append(write)
        }
        for message in ready.messages { send(message) }
        if !ready.mustSync { for message in ready.messagesAfterAppend { send(message) } }
        for state in ready.readStates { confirm(state, position) }
        if let descriptor = ready.snapshot { replaceState(by: descriptor, position) }
        apply(ready.committed, position)
        for read in ready.logReads {
            note("\(id) reads from \(read.from) for \(read.peer)")
            replicas[position].logReads.append(read)
        }
        for peer in ready.snapshotNeeded { streamSnapshot(to: peer, position) }
        check(position)
        return true
    }

    private func apply(_ entries: [Entry], _ position: Int) {
        guard let last = entries.last else { return }
        for entry in entries {
            if entry.index != replicas[position].applied + 1 {
                violate("\(replicas[position].id) applies \(entry.index) after \(replicas[position].applied)")
            }
            recordCommitted(entry, by: replicas[position].id)
            replicas[position].applied = entry.index
            replicas[position].state = chain(replicas[position].state, entry)
            if entry.kind == .command { replicas[position].commands.append(entry.data) }
            if Int(entry.index) < historyStates.count,
                historyStates[Int(entry.index)] != replicas[position].state
            {
                violate("\(replicas[position].id) has another state after \(entry.index)")
            }
            if entry.kind == .membership {
                guard let membership = try? replicas[position].node!.applyMembership(entry.data) else {
                    violate("undecodable membership at \(entry.index)")
                    continue
                }
                note("\(replicas[position].id) applies \(describe(entry)): \(describe(membership))")
            } else {
                note("\(replicas[position].id) applies \(describe(entry))")
            }
        }
        replicas[position].node!.onApplied(last.index)
    }

    private func replaceState(by descriptor: SnapshotDescriptor, _ position: Int) {
        guard let snapshot = replicas[position].disk.snapshot, snapshot.descriptor == descriptor else {
            violate("\(replicas[position].id) is told to restore a snapshot that it does not hold")
            return
        }
        note("\(replicas[position].id) restores the state at \(descriptor.index)")
        replicas[position].applied = descriptor.index
        replicas[position].state = snapshot.state
        if historyStates[Int(descriptor.index)] != snapshot.state {
            violate("snapshot at \(descriptor.index) has another state")
        }
        replicas[position].node!.onApplied(descriptor.index)
    }

    private func confirm(_ state: ReadState, _ position: Int) {
        replicas[position].readStates.append(state)
        confirmedReads += 1
        note("\(replicas[position].id) may serve read \(state.context) at \(state.index)")
        guard let request = readRequests.removeValue(forKey: state.context) else { return }
        if request.node != replicas[position].id || request.incarnation != replicas[position].incarnation {
            violate("read \(state.context) confirmed by another replica")
        }
        if state.index < request.committed {
            violate("stale read: \(state.index) was confirmed, \(request.committed) was committed before")
        }
    }

    /// Asks a node for a read that must not be stale.
    func requestRead(_ position: Int) {
        let context = nextReadContext
        nextReadContext += 1
        let id = replicas[position].id
        guard replicas[position].node?.readIndex(context: context) == true else { return }
        readRequests[context] = ReadRequest(
            node: id,
            incarnation: replicas[position].incarnation,
            committed: maxCommit
        )
    }

    // MARK: - Disk

    /// Completes the oldest write under way. False when there is none.
    @discardableResult
    func sync(_ position: Int) -> Bool {
        guard !replicas[position].writes.isEmpty else { return false }
        let write = replicas[position].writes.removeFirst()
        store(write, position)
        if let stream = write.install {
            install(stream, position)
        } else {
            for message in write.messages { send(message) }
            if let answer = write.answer {
                note("\(replicas[position].id) has synced to \(answer.index) in term \(answer.term)")
                replicas[position].node!.onAppended(term: answer.term, index: answer.index)
            }
        }
        check(position)
        return true
    }

    private func store(_ write: Write, _ position: Int) {
        if let hardState = write.hardState { replicas[position].disk.hardState = hardState }
        if let first = write.entries.first {
            let firstIndex = replicas[position].disk.firstIndex
            if first.index < firstIndex || first.index > replicas[position].disk.lastIndex + 1 {
                violate("\(replicas[position].id) writes \(first.index) into a log up to its last index")
                return
            }
            replicas[position].disk.entries.removeSubrange(Int(first.index - firstIndex)...)
            replicas[position].disk.entries.append(contentsOf: write.entries)
        }
        if let stream = write.install {
            let descriptor = stream.snapshot.descriptor
            replicas[position].disk.snapshot = stream.snapshot
            replicas[position].disk.entries = stream.entries
            replicas[position].disk.firstIndex = stream.entries.first?.index ?? descriptor.index + 1
            replicas[position].disk.previousTerm = stream.entries.isEmpty ? descriptor.term : stream.previousTerm
        }
    }

    private func install(_ stream: SnapshotStream, _ position: Int) {
        let disk = replicas[position].disk
        let isRestored = replicas[position].node!.restoreSnapshot(
            stream.snapshot.descriptor,
            firstRetained: disk.firstIndex,
            termStarts: disk.termStarts
        )
        installedSnapshots += 1
        note("\(replicas[position].id) has stored snapshot \(stream.snapshot.descriptor.index)")
        if !isRestored { violate("a prepared snapshot was refused") }
        with(stream.from, ifAlive: { $0.onSnapshotSent(to: stream.to, succeeded: true) })
    }

    /// Answers the oldest log read of a replica.
    @discardableResult
    func answerRead(_ position: Int) -> Bool {
        guard !replicas[position].logReads.isEmpty else { return false }
        let read = replicas[position].logReads.removeFirst()
        let disk = replicas[position].disk
        var found: [Entry] = []
        var bytes = 0
        var index = read.from
        while index >= disk.firstIndex, index <= disk.lastIndex {
            let entry = disk.entries[Int(index - disk.firstIndex)]
            bytes += entry.footprint
            if bytes > read.maxBytes, !found.isEmpty { break }
            found.append(entry)
            index += 1
        }
        replicas[position].node!.onEntriesRead(read, entries: found)
        check(position)
        return true
    }

    /// Stores a snapshot at the applied index and drops the log up to `index`.
    func compact(_ position: Int, upTo index: LogIndex) {
        guard let node = replicas[position].node else { return }
        let applied = replicas[position].applied
        // A replaced log is compacted after its installation.
        guard !replicas[position].writes.contains(where: { $0.install != nil }) else { return }
        if let stored = replicas[position].disk.snapshot, stored.descriptor.index > replicas[position].applied {
            return
        }
        guard let term = node.term(at: applied), applied == node.appliedIndex, applied > 0 else { return }
        replicas[position].disk.snapshot = Snapshot(
            descriptor: SnapshotDescriptor(index: applied, term: term, membership: node.membership),
            state: replicas[position].state
        )
        let end = min(index, applied, replicas[position].disk.lastIndex)
        let first = replicas[position].disk.firstIndex
        guard end >= first else { return }
        replicas[position].disk.previousTerm = replicas[position].disk.entries[Int(end - first)].term
        replicas[position].disk.entries.removeFirst(Int(end - first) + 1)
        replicas[position].disk.firstIndex = end + 1
        replicas[position].node!.compactLog(upTo: end)
        check(position)
    }

    // MARK: - Network

    func isCut(_ from: NodeID, _ to: NodeID) -> Bool { cuts.contains { $0.from == from && $0.to == to } }

    private func send(_ message: RaftMessage) {
        note("\(message.from) -> \(message.to) \(describe(message))\(isCut(message.from, message.to) ? " (lost)" : "")")
        if !isCut(message.from, message.to) { packets.append(.message(message)) }
    }

    private func streamSnapshot(to peer: NodeID, _ position: Int) {
        let replica = replicas[position]
        guard let node = replica.node, let term = node.term(at: replica.applied) else { return }
        let first = max(
            replica.disk.firstIndex,
            replica.applied - min(replica.applied, LogIndex(entriesBesideSnapshot)) + 1
        )
        var entries: [Entry] = []
        var previousTerm: Term = 0
        if first <= replica.applied {
            entries = Array(
                replica.disk.entries[
                    Int(first - replica.disk.firstIndex)...Int(replica.applied - replica.disk.firstIndex)
                ]
            )
            previousTerm = node.term(at: first - 1) ?? 0
        }
        let stream = SnapshotStream(
            from: replica.id,
            to: peer,
            term: node.term,
            snapshot: Snapshot(
                descriptor: SnapshotDescriptor(index: replica.applied, term: term, membership: node.membership),
                state: replica.state
            ),
            entries: entries,
            previousTerm: previousTerm
        )
        note("\(replica.id) -> \(peer) snapshot \(replica.applied)/\(term)")
        if isCut(replica.id, peer) {
            with(replica.id) { $0.onSnapshotSent(to: peer, succeeded: false) }
        } else {
            packets.append(.snapshot(stream))
        }
    }

    func drop(_ packet: Packet) {
        if case .snapshot(let stream) = packet {
            with(stream.from, ifAlive: { $0.onSnapshotSent(to: stream.to, succeeded: false) })
        }
    }

    private func with(_ id: NodeID, ifAlive body: (inout RaftNode) -> Void) {
        let position = self.position(id)
        guard replicas[position].node != nil else { return }
        body(&replicas[position].node!)
        check(position)
    }

    /// Hands a packet to its receiver, if that lives.
    func deliver(_ packet: Packet) {
        let position = self.position(packet.to)
        guard replicas[position].node != nil else {
            drop(packet)
            return
        }
        switch packet {
        case .message(let message):
            replicas[position].node!.step(message)
        case .snapshot(let stream):
            let descriptor = stream.snapshot.descriptor
            replicas[position].node!.step(
                RaftMessage(from: stream.from, to: stream.to, term: stream.term, body: .snapshot(descriptor))
            )
            let isFenced = replicas[position].node!.term > stream.term
            if !isFenced, replicas[position].node!.prepareSnapshot(descriptor) {
                replicas[position].writes.append(Write(install: stream))
            } else {
                note("\(stream.to) does not need snapshot \(descriptor.index)")
                with(stream.from, ifAlive: { $0.onSnapshotSent(to: stream.to, succeeded: !isFenced) })
            }
        }
        check(position)
    }

    /// Everything happens, in order, until nothing is left to happen. False when that takes too long.
    @discardableResult
    func stabilize(only: [NodeID]? = nil, limit: Int = 2000) -> Bool {
        for _ in 0..<limit {
            var isBusy = false
            for position in replicas.indices where replicas[position].node != nil {
                if let only, !only.contains(replicas[position].id) { continue }
                while processReady(position) { isBusy = true }
                while sync(position) { isBusy = true }
                while answerRead(position) { isBusy = true }
            }
            let queued = packets
            packets = []
            for packet in queued {
                if let only, !only.contains(packet.to) {
                    packets.append(packet)
                } else {
                    isBusy = true
                    deliver(packet)
                }
            }
            if !isBusy { return true }
        }
        return false
    }

    func tick(_ id: UInt64, _ count: Int = 1) {
        for _ in 0..<count { with(NodeID(id)) { $0.tick() } }
    }

    // MARK: - Safety

    private func chain(_ state: UInt64, _ entry: Entry) -> UInt64 {
        var hash = SplitMix64.mix(state ^ entry.index &* 31 ^ entry.term &* 131 ^ UInt64(entry.kind.rawValue))
        for byte in entry.data { hash = SplitMix64.mix(hash ^ UInt64(byte)) }
        return hash
    }

    private func recordCommitted(_ entry: Entry, by id: NodeID) {
        let position = Int(entry.index) - 1
        if position < history.count {
            if history[position] != entry {
                violate("\(id) applies \(describe(entry)), committed is \(describe(history[position]))")
            }
        } else if position == history.count {
            history.append(entry)
            historyStates.append(chain(historyStates[position], entry))
        } else {
            violate("\(id) applies \(entry.index), which nobody before it reached")
        }
    }

    /// Log matching by induction: an entry's index and term determine its content and the term before it.
    private func recordEntries(_ entries: [Entry], previousTerm: Term) {
        var previous = previousTerm
        for entry in entries {
            let key = EntryKey(index: entry.index, term: entry.term)
            let fact = EntryFact(previousTerm: previous, kind: entry.kind, data: entry.data)
            if let known = facts[key] {
                if known != fact { violate("two logs differ at or before \(entry.index)/\(entry.term)") }
            } else {
                facts[key] = fact
            }
            previous = entry.term
        }
    }

    private func check(_ position: Int) {
        guard let node = replicas[position].node else { return }
        maxCommit = max(maxCommit, node.commitIndex)
        if let first = ready.entries.first, let previousTerm = node.term(at: first.index - 1) {
            recordEntries(ready.entries, previousTerm: previousTerm)
        }
        ready.entries.removeAll(keepingCapacity: true)
        if node.anomalies != RaftAnomalies() { violate("\(node.id): \(node.anomalies)") }
        if node.role == .leader, leaders[node.term] != node.id {
            if let other = leaders[node.term] { violate("\(other) and \(node.id) lead term \(node.term)") }
            leaders[node.term] = node.id
            elections += 1
            // Leader completeness.
            for entry in history where entry.index >= node.firstIndex {
                if node.term(at: entry.index) != entry.term {
                    violate("leader \(node.id) of term \(node.term) lacks \(describe(entry))")
                    break
                }
            }
            if node.lastIndex < LogIndex(history.count) { violate("leader \(node.id) is behind the committed log") }
        }
    }
}
