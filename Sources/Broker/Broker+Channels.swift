import PeerProtocol
import Primitives
import Rooms

/// Who listens to what, exactly and in the whole cluster: the owner of a room's partition counts the subscribers of
/// each node, and knows the patterns that somebody subscribed to anywhere. It is soft state: relays say it anew to each
/// owner.
extension Broker {
    // MARK: Owner

    /// Nodes that a message of the room goes to, and how many subscribers they have for it.
    func audience(of room: RoomName, _ replica: Replica) -> (nodes: [NodeID], receivers: Int) {
        var nodes: [NodeID] = []
        var receivers = 0
        for row in replica.interest[room] ?? [] {
            nodes.append(row.node)
            receivers += Int(row.subscribers)
        }
        for (node, patterns) in replica.patterns where !room.isHidden {
            var isMatch = false
            for row in patterns where row.pattern.matches(room.bytes) {
                isMatch = true
                receivers += Int(row.count)
            }
            if isMatch, !nodes.contains(node) { nodes.append(node) }
        }
        return (nodes, receivers)
    }

    func setInterest(of node: NodeID, in room: RoomName, subscribers: UInt32, _ replica: Replica) {
        var rows = replica.interest[room] ?? []
        if let row = rows.firstIndex(where: { $0.node == node }) {
            guard rows[row].subscribers != subscribers else { return }
            rows[row].subscribers = subscribers
            replica.interest[room] = rows
        } else {
            rows.append(Replica.Interest(node: node, subscribers: subscribers))
            replica.interest[room.compacted()] = rows
        }
    }

    func receiveSubscribers(_ partition: PartitionID, _ token: UInt64, _ counts: [SubscriberCount], from node: NodeID) {
        guard let replica = replica(GroupID(partition: partition)), replica.isServing else { return }
        // Only of rooms that the node has registered: a count that overtook its end must not bring interest back.
        for row in counts where replica.interest[row.room]?.contains(where: { $0.node == node }) == true {
            setInterest(of: node, in: row.room, subscribers: row.count, replica)
        }
        if token != 0 { send(.noted(partition, token: token), to: node) }
    }

    func receivePatterns(_ partition: PartitionID, _ token: UInt64, _ counts: [PatternCount], from node: NodeID) {
        guard let replica = replica(GroupID(partition: partition)), replica.isServing else { return }
        replica.patterns.removeAll { $0.node == node }
        if !counts.isEmpty {
            replica.patterns.append((node, counts))
            replica.patterns.sort { $0.node < $1.node }
        }
        if token != 0 { send(.noted(partition, token: token), to: node) }
    }

    func receiveAnnounceCounted(
        _ partition: PartitionID,
        _ token: UInt64,
        _ room: RoomName,
        _ body: ArraySlice<UInt8>,
        from node: NodeID
    ) {
        guard let replica = replica(GroupID(partition: partition)), replica.isServing else { return }
        let receivers = fanOut(room, body, partition, replica)
        send(.received(partition, token: token, UInt32(clamping: receivers)), to: node)
    }

    /// Sends a best-effort message to whoever is interested.
    func fanOut(_ room: RoomName, _ body: ArraySlice<UInt8>, _ partition: PartitionID, _ replica: Replica) -> Int {
        counters.bestEffortPublishes += 1
        replica.meter.count(1, bytes: body.count)
        sample(room, partition)
        let publication = Publication(offset: 0, timestamp: wall, body: body)
        let audience = audience(of: room, replica)
        for node in audience.nodes {
            counters.fannedOut += 1
            send(.publications(partition, room, epoch: 0, [publication]), to: node)
        }
        return audience.receivers
    }

    func receiveChannelQuery(_ partition: PartitionID, _ token: UInt64, _ query: ChannelQuery, from node: NodeID) {
        guard let replica = replica(GroupID(partition: partition)), replica.isServing else { return }
        let reply: ChannelReply
        switch query {
        case .names(let glob):
            var names: [RoomName] = []
            for (room, rows) in replica.interest
            where rows.contains(where: { $0.subscribers > 0 }) && glob?.matches(room.bytes) != false {
                names.append(room)
            }
            names.sort { $0.bytes.lexicographicallyPrecedes($1.bytes) }
            reply = .names(names)
        case .counts(let rooms):
            reply = .counts(
                rooms.map { room in (replica.interest[room] ?? []).reduce(0) { $0 + UInt64($1.subscribers) } }
            )
        case .patterns:
            var globs: [Glob] = []
            var seen: Set<Glob> = []
            for (_, patterns) in replica.patterns {
                for row in patterns where seen.insert(row.pattern).inserted { globs.append(row.pattern) }
            }
            reply = .patterns(globs)
        }
        send(.channelReply(partition, token: token, reply), to: node)
    }

    // MARK: Relay

    /// What an owner answered to a request about channels.
    enum ChannelAnswer {
        case noted
        case received(Int)
        case channels(ChannelReply)
    }

    func receiveAnswer(_ partition: PartitionID, _ token: UInt64, _ answer: ChannelAnswer, from node: NodeID) {
        guard let relay = relay(partition), relay.owner == node, let fetch = relay.fetches[token] else { return }
        switch (fetch.purpose, answer) {
        case (.counted(let hub, let hubToken), .noted):
            relay.fetches[token] = nil
            post(.counted(token: hubToken), to: hub)
        case (.announced(let hub, let request), .received(let receivers)):
            relay.fetches[token] = nil
            post(.received(request, .success(receivers)), to: hub)
        case (.channels(let hub, let hubToken), .channels(let reply)):
            relay.fetches[token] = nil
            post(.channelReply(token: hubToken, partition, .success(reply)), to: hub)
        default: return
        }
    }

    func relayCount(_ partition: PartitionID, _ room: RoomName, hub: Int, delta: Int32, token: UInt64) {
        guard let relay = relay(partition), let row = relay.rooms[room] else {
            if token != 0 { post(.counted(token: token), to: hub) }
            return
        }
        let count = row.subscribers + delta
        relay.rooms[room]?.subscribers = count
        if token == 0 {
            tellCount(room, relay)
        } else {
            let counts = [SubscriberCount(room: room, count: UInt32(clamping: count))]
            ask(relay, .subscribers(counts), .counted(hub: hub, token))
        }
    }

    /// Nobody waits for the answer.
    func tellCount(_ room: RoomName, _ relay: Relay) {
        guard let owner = relay.owner, let row = relay.rooms[room] else { return }
        let count = SubscriberCount(room: room, count: UInt32(clamping: row.subscribers))
        send(.subscribers(relay.partition, token: 0, [count]), to: owner)
    }

    func relayPatterns(_ partition: PartitionID, _ counts: [PatternCount], hub: Int, token: UInt64) {
        guard let relay = relay(partition) else { return }
        relay.patterns[hub] = counts.isEmpty ? nil : counts
        ask(relay, .patterns, .counted(hub: hub, token))
    }

    /// Patterns of all hubs, as the owner is told them.
    func allPatterns(_ relay: Relay) -> [PatternCount] {
        var all: [PatternCount] = []
        var index: [Glob: Int] = [:]
        for hub in relay.patterns.keys.sorted() {
            for row in relay.patterns[hub] ?? [] {
                if let known = index[row.pattern] {
                    all[known].count += row.count
                } else {
                    index[row.pattern] = all.count
                    all.append(row)
                }
            }
        }
        return all
    }

    func relayAnnounceCounted(
        _ partition: PartitionID,
        _ room: RoomName,
        _ body: ArraySlice<UInt8>,
        hub: Int,
        token: RequestToken
    ) {
        guard let relay = relay(partition) else { return }
        guard relay.owner != nil else {
            // Nobody orders the room now: those who are here hear it all the same (CL-21).
            let publication = Publication(offset: 0, timestamp: wall, body: body)
            let receivers = forwardLocally(room, relay, [publication])
            post(.received(token, .success(receivers)), to: hub)
            return
        }
        if let replica = ownedHere(partition) {
            let receivers = fanOut(room, body, partition, replica)
            post(.received(token, .success(receivers)), to: hub)
            return
        }
        ask(relay, .announce(room, body), .announced(hub: hub, token))
    }

    func relayChannelQuery(_ partition: PartitionID, _ query: ChannelQuery, hub: Int, token: UInt64) {
        guard let relay = relay(partition) else { return }
        guard !relay.isDegraded, relay.fetches.count < settings.pendingFetches else {
            post(.channelReply(token: token, partition, .failure(.noQuorum)), to: hub)
            return
        }
        ask(relay, .channels(query), .channels(hub: hub, token))
    }

    /// To this node's own subscribers only.
    func forwardLocally(_ room: RoomName, _ relay: Relay, _ publications: [Publication]) -> Int {
        let row = relay.rooms[room]
        if row != nil { forward(room, relay, epoch: 0, publications) }
        forwardToPatterns(room, relay, publications)
        var receivers = Int(row?.subscribers ?? 0)
        for pattern in allPatterns(relay) where !room.isHidden && pattern.pattern.matches(room.bytes) {
            receivers += Int(pattern.count)
        }
        return receivers
    }

    func forwardToPatterns(_ room: RoomName, _ relay: Relay, _ publications: [Publication]) {
        guard !relay.patterns.isEmpty, !room.isHidden else { return }
        for hub in relay.patterns.keys.sorted()
        where relay.patterns[hub]?.contains(where: { $0.pattern.matches(room.bytes) }) == true {
            post(.patternPublications(room, publications), to: hub)
        }
    }

    // MARK: Hub

    /// As `publish`, and the publisher learns how many subscribers the message was sent to: at once, when the room is
    /// owned here and nothing is before it, otherwise by `.received`.
    package func publishCounted(_ token: RequestToken, room: RoomName, body: ArraySlice<UInt8>) -> Int? {
        let partition = partition(of: room)
        guard settings.namespaces.deliveryClass(of: room).isLogged else {
            if loopback.isEmpty, shard(of: partition) == settings.shard, let replica = ownedHere(partition) {
                return fanOut(room, body, partition, replica)
            }
            post(
                .announceCounted(hub: settings.shard, token, partition, room, body: body),
                to: shard(of: partition)
            )
            return nil
        }
        post(
            .publish(
                hub: settings.shard,
                token,
                partition,
                command: PublishCommand(room: room, body: stamped(body, room)).encoded()[...],
                deadline: now + settings.requestTimeout,
                isCounted: true
            ),
            to: shard(of: partition)
        )
        return nil
    }

    /// The partition's replica, when it serves and this node's relay knows that: nothing can get lost on the way to it,
    /// so there is nothing to remember.
    func ownedHere(_ partition: PartitionID) -> Replica? {
        guard relay(partition)?.owner == settings.node, let replica = replica(GroupID(partition: partition)),
            replica.isServing
        else { return nil }
        return replica
    }

    /// Asks the owner to count a subscription before it begins.
    func count(_ room: HubRoomID, for begin: Hub.CountedBegin) {
        let token = hub.nextToken
        hub.nextToken += 1
        hub.counting[token] = begin
        tell(room, token: token)
    }

    /// Says how many subscribers the room has here, if that is news or somebody waits for the answer.
    private func tell(_ room: HubRoomID, token: UInt64) {
        let state = hub.rooms[Int(room)]
        let delta = Int32(clamping: state.subscribers) - state.told
        guard delta != 0 || token != 0 else { return }
        hub.rooms[Int(room)].told += delta
        post(
            .subscriberCount(hub: settings.shard, state.partition, state.name, delta: delta, token: token),
            to: shard(of: state.partition)
        )
    }

    /// Counts that nobody waits for go out with the tick.
    func tellCounts() {
        guard !hub.untold.isEmpty else { return }
        let rooms = hub.untold
        hub.untold.removeAll(keepingCapacity: true)
        for room in rooms {
            hub.rooms[Int(room)].isUntold = false
            if hub.rooms[Int(room)].subscribers > 0 { tell(room, token: 0) }
        }
    }

    func noteUntold(_ room: HubRoomID) {
        guard !hub.rooms[Int(room)].isUntold else { return }
        hub.rooms[Int(room)].isUntold = true
        hub.untold.append(room)
    }

    func hubCounted(_ token: UInt64) {
        switch hub.counting.removeValue(forKey: token) {
        case .room(let request, let name, var options)?:
            options.isCounted = false
            guard let room = hub.roomIndex[name] else { return }
            begin(request, room, options)
        case .pattern(let batch)?:
            guard var waiting = hub.patternBatches[batch] else { return }
            waiting.partitions -= 1
            hub.patternBatches[batch] = waiting
            if waiting.partitions == 0 { finishPatterns(batch) }
        case nil: return
        }
    }

    // MARK: Patterns

    /// Answered by `.patternSubscribed` once every owner in reach sends this shard what matches. False when this shard
    /// has as many different patterns as it may have: all of them are matched with every message.
    package func subscribePattern(_ token: RequestToken, pattern: Glob) -> Bool {
        guard hub.patterns.count < settings.maxPatterns || hub.patterns[pattern] != nil else { return false }
        hub.patterns[pattern, default: 0] += 1
        hub.patternRequests.append((token, pattern))
        hub.arePatternsUntold = true
        return true
    }

    /// One subscription to the pattern less on this shard.
    package func unsubscribePattern(_ pattern: Glob) {
        guard let count = hub.patterns[pattern] else { return }
        hub.patterns[pattern] = count > 1 ? count - 1 : nil
        hub.arePatternsUntold = true
    }

    /// All patterns go to every owner at once: whatever a tick changed, they are told of it once.
    func tellPatterns() {
        guard hub.arePatternsUntold else { return }
        hub.arePatternsUntold = false
        let counts = hub.patterns.map { PatternCount(pattern: $0.key, count: $0.value) }
            .sorted { $0.pattern.pattern.lexicographicallyPrecedes($1.pattern.pattern) }
        let batch = hub.nextToken
        hub.nextToken += 1
        let isAwaited = !hub.patternRequests.isEmpty
        if isAwaited {
            hub.patternBatches[batch] = Hub.PatternBatch(
                requests: hub.patternRequests,
                partitions: settings.partitions,
                deadline: now + settings.requestTimeout
            )
            hub.patternRequests.removeAll()
        }
        for number in 0..<settings.partitions {
            let partition = PartitionID(UInt32(number))
            let token = hub.nextToken
            hub.nextToken += 1
            if isAwaited { hub.counting[token] = .pattern(batch) }
            post(.patterns(hub: settings.shard, partition, counts, token: token), to: shard(of: partition))
        }
    }

    private func finishPatterns(_ batch: UInt64) {
        guard let waiting = hub.patternBatches.removeValue(forKey: batch) else { return }
        for (token, pattern) in waiting.requests { outbox.edge.append(.patternSubscribed(token, pattern)) }
    }

    /// An owner that cannot be reached must not keep a subscriber from those that can.
    func tickPatterns() {
        guard !hub.patternBatches.isEmpty else { return }
        for batch in hub.patternBatches.keys.sorted() {
            if let waiting = hub.patternBatches[batch], waiting.deadline <= now { finishPatterns(batch) }
        }
    }

    // MARK: Queries

    package func channels(_ token: RequestToken, query: ChannelQuery) {
        let number = hub.nextToken
        hub.nextToken += 1
        var partitions: [PartitionID] = []
        var state = Hub.ChannelGathering(token: token, query: query, names: [], globs: [])
        switch query {
        case .names, .patterns: partitions = (0..<settings.partitions).map { PartitionID(UInt32($0)) }
        case .counts(let rooms):
            state.counts = Array(repeating: 0, count: rooms.count)
            for room in rooms where !partitions.contains(partition(of: room)) { partitions.append(partition(of: room)) }
        }
        // Every owner knows all patterns.
        if case .patterns = query { partitions = Array(partitions.prefix(1)) }
        state.left = partitions.count
        guard !partitions.isEmpty else {
            outbox.edge.append(.channels(token, .success(.counts([]))))
            return
        }
        hub.gatherings[number] = state
        for partition in partitions {
            var part = query
            if case .counts(let rooms) = query { part = .counts(rooms.filter { self.partition(of: $0) == partition }) }
            post(.channelQuery(hub: settings.shard, token: number, partition, part), to: shard(of: partition))
        }
    }

    func hubChannels(_ number: UInt64, _ partition: PartitionID, _ result: Result<ChannelReply, RequestError>) {
        guard var state = hub.gatherings[number] else { return }
        switch (result, state.query) {
        case (.failure(let error), _):
            hub.gatherings[number] = nil
            outbox.edge.append(.channels(state.token, .failure(error)))
            return
        case (.success(.names(let names)), _): state.names += names
        case (.success(.patterns(let globs)), _): state.globs += globs.filter { !state.globs.contains($0) }
        case (.success(.counts(let counts)), .counts(let rooms)):
            let rows = rooms.indices.filter { self.partition(of: rooms[$0]) == partition }
            for (row, count) in zip(rows, counts) { state.counts[row] = count }
        case (.success(.counts), _): break
        }
        state.left -= 1
        guard state.left == 0 else {
            hub.gatherings[number] = state
            return
        }
        hub.gatherings[number] = nil
        let reply: ChannelReply
        switch state.query {
        case .names: reply = .names(state.names)
        case .counts: reply = .counts(state.counts)
        case .patterns: reply = .patterns(state.globs)
        }
        outbox.edge.append(.channels(state.token, .success(reply)))
    }
}
