import Primitives
import RESP

/// The replicated state machine of one key partition: a keyspace, and what is remembered of the gateways that use it.
///
/// Everything that changes it is in the log, with the owner's time and chance; so replicas that applied the same
/// entries are equal to the byte, and a unit that is sent again after a failover is answered as it was the first time.
package struct KeyPartition: Sendable {
    /// Keys that one command of the log may expire: a wave of them is spread over several.
    static let expireLimit = 1000

    package let partition: PartitionID
    package internal(set) var applied: LogIndex = 0
    /// Log time: never goes back, whatever the owners' clocks do.
    package internal(set) var now: Timestamp = 0
    /// 0 until the first owner has begun.
    package internal(set) var seed: UInt64 = 0
    package internal(set) var keyspace = Keyspace(seed: 0)
    var gateways = GatewayStreams<KeyOutcome>()
    /// Replies to waits, kept until their gateways say that they have them.
    var served: [WaiterID: [UInt8]] = [:]
    /// Which shard of which node a gateway serves.
    var homes: [Home] = []
    /// Keys past their deadlines were left: there is more to do at once.
    package internal(set) var hasMoreDue = false
    /// What cluster.toml said of memory when an owner last put it into the log; CONFIG SET may have changed it since.
    package internal(set) var memoryLimit = MemoryLimit()

    struct Home: Equatable, Sendable {
        var gateway: GatewayID
        var node: UInt64
        var shard: UInt32
    }

    package init(partition: PartitionID) { self.partition = partition }

    /// Something that an applied entry did, for the owner to tell.
    package enum Effect: Sendable {
        /// A unit was decided.
        case decided(gateway: GatewayID, sequence: UInt64, KeyOutcome)
        /// A wait ended.
        case served(GatewayID, ticket: UInt64, reply: [UInt8])
        case notified(KeyNotification)
    }

    /// What `.poll` is answered.
    package enum PollReply: UInt8, Sendable {
        /// The reply follows.
        case served = 0
        case waits = 1
        /// Nobody waits by this ticket: the wait was given up with its gateway.
        case unknown = 2
    }

    // MARK: Apply

    /// Applies one committed entry of kind `.command`. An entry that this build cannot read throws, and the replica
    /// must stop: skipping it would let replicas differ.
    package mutating func apply(
        index: LogIndex,
        data: [UInt8],
        into effects: inout [Effect]
    ) throws(DecodeError) {
        precondition(index > applied, "entries are applied once, in order")
        applied = index
        guard !data.isEmpty else { return }
        let outcome = data.withUnsafeBytes { raw -> Result<Void, DecodeError> in
            do throws(DecodeError) {
                try applyBatch(raw, &effects)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
    }

    /// Notes that entries without commands (no-ops, membership changes) up to `index` are behind us.
    package mutating func skip(to index: LogIndex) { applied = max(applied, index) }

    private mutating func applyBatch(
        _ raw: UnsafeRawBufferPointer,
        _ effects: inout [Effect]
    ) throws(DecodeError) {
        var reader = ByteReader(raw)
        let version = try reader.readByte()
        guard version == KeyBatchWriter.version else {
            throw .unknown(field: "key batch version", value: UInt64(version))
        }
        now = max(now, try reader.readVarint())
        keyspace.now = Int64(clamping: now)
        keyspace.random = Xoshiro256(seed: try reader.read(UInt64.self))
        var probes = KeyProbes()
        var probedTo = 0
        while !reader.isAtEnd {
            if reader.position >= probedTo { probedTo = prefetch(from: reader, &probes) }
            let tag = try reader.readByte()
            switch KeyBatchWriter.Tag(rawValue: tag) {
            case .unit:
                let (gateway, sequence, seen) = try KeyPartition.readUnitHead(&reader)
                let count = try reader.readCount(limit: reader.remaining, "key unit")
                try applyUnit(gateway, sequence, seen, try reader.readRaw(count: count), &effects)
            case .begin:
                let first = try reader.read(UInt64.self)
                if seed == 0 {
                    seed = first
                    let time = keyspace.now
                    keyspace = Keyspace(seed: first)
                    keyspace.now = time
                }
            case .expire:
                hasMoreDue = keyspace.expireDue(limit: KeyPartition.expireLimit)
                keyspace.timeOutWaiters()
                keyspace.makeRoom(limit: KeyPartition.expireLimit)
            case .forget:
                for _ in 0..<(try reader.readCount(limit: 1 << 20, "gateways")) {
                    forget(GatewayID(rawValue: try reader.read(UInt64.self)))
                }
            case .uses:
                for _ in 0..<(try reader.readCount(limit: 1 << 20, "keys")) {
                    let database = try reader.readCount(limit: Keyspace.databaseCount - 1, "database")
                    keyspace.use(database, try reader.readBytes(limit: Int(Int32.max), "key"))
                }
            case .housekeeping: gateways.expire(now: now)
            case .takeOver: keyspace.skipVersions()
            case .memoryLimit:
                memoryLimit = try MemoryLimit(from: &reader)
                keyspace.configuration.maxMemory = memoryLimit.bytes
                keyspace.configuration.maxMemoryPolicy = memoryLimit.policy
            case nil: throw .unknown(field: "key batch command", value: UInt64(tag))
            }
            keyspace.serveWaiters()
            collect(&effects)
        }
    }

    /// Fetches what the next units will look up; returns where it ended.
    private func prefetch(from place: ByteReader, _ probes: inout KeyProbes) -> Int {
        guard isWorthProbing else { return .max }
        var reader = place
        do throws(DecodeError) {
            while !reader.isAtEnd, !probes.isFull, try reader.readByte() == KeyBatchWriter.Tag.unit.rawValue {
                _ = try KeyPartition.readUnitHead(&reader)
                note(try reader.readRaw(count: try reader.readCount(limit: .max, "key unit")), in: &probes)
            }
        } catch {}
        prefetch(&probes)
        return reader.position
    }

    private static func readUnitHead(
        _ reader: inout ByteReader
    ) throws(DecodeError) -> (GatewayID, sequence: UInt64, seen: UInt64) {
        (GatewayID(rawValue: try reader.read(UInt64.self)), try reader.readVarint(), try reader.readVarint())
    }

    /// Moves what the keyspace did besides replying into `effects`.
    private mutating func collect(_ effects: inout [Effect]) {
        for row in keyspace.served {
            served[row.waiter] = row.reply
            effects.append(
                .served(GatewayID(rawValue: row.waiter.gateway), ticket: row.waiter.session, reply: row.reply)
            )
        }
        keyspace.served.removeAll(keepingCapacity: true)
        for notification in keyspace.notifications { effects.append(.notified(notification)) }
        keyspace.notifications.removeAll(keepingCapacity: true)
    }

    private mutating func applyUnit(
        _ gateway: GatewayID,
        _ sequence: UInt64,
        _ seen: UInt64,
        _ unit: UnsafeRawBufferPointer,
        _ effects: inout [Effect]
    ) throws(DecodeError) {
        switch gateways.verdict(gateway, sequence) {
        case .fresh: break
        case .repeated(let first):
            if let first { effects.append(.decided(gateway: gateway, sequence: sequence, first)) }
            return
        case .outOfOrder:
            // Its former owner answered before a majority had what it answered, and died.
            guard gateways.skip(gateway, to: seen), sequence == seen else { return }
        }
        let outcome = try perform(unit, gateway)
        var kept = outcome
        if case .replied(let bytes) = outcome, bytes.count > KeyOutcome.keptMax { kept = .unknown }
        if case .waits(let bytes) = outcome, bytes.count > KeyOutcome.keptMax { kept = .unknown }
        gateways.record(gateway, sequence, kept, acknowledgedBelow: seen, now: now)
        effects.append(.decided(gateway: gateway, sequence: sequence, outcome))
    }

    private mutating func perform(
        _ bytes: UnsafeRawBufferPointer,
        _ gateway: GatewayID
    ) throws(DecodeError) -> KeyOutcome {
        if bytes.first == KeyUnit.Kind.commands.rawValue { return try run(bytes, gateway) }
        let unit = try KeyUnit(decoding: bytes)
        switch unit.kind {
        case .commands, .replicas, .handOver: return .unknown
        case .versions: return .replied(versions(unit.keys))
        case .done:
            for ticket in unit.tickets { served[WaiterID(gateway: gateway.rawValue, session: ticket)] = nil }
            return .replied([])
        case .poll: return .replied(poll(unit.tickets, gateway))
        case .cancel:
            for ticket in unit.tickets {
                let id = WaiterID(gateway: gateway.rawValue, session: ticket)
                keyspace.forget(id)
                served[id] = nil
            }
            return .replied([])
        case .unblock:
            var writer = RESPWriter()
            var count = 0
            let error = unit.error.isEmpty ? nil : String(decoding: unit.error, as: UTF8.self)
            for ticket in unit.tickets {
                let id = WaiterID(gateway: gateway.rawValue, session: ticket)
                if keyspace.unblock(id, error: error) { count += 1 }
            }
            writer.integer(count)
            return .replied(writer.bytes)
        case .hello:
            let home = Home(gateway: gateway, node: unit.node, shard: unit.shard)
            let former = homes.filter { $0.node == home.node && $0.shard == home.shard && $0.gateway != gateway }
            for row in former { forget(row.gateway) }
            homes.removeAll { $0.node == home.node && $0.shard == home.shard }
            homes.append(home)
            return .replied([])
        }
    }

    /// For each ticket its status u8 and, when it is served, the length-prefixed reply. Replies beyond a megabyte wait
    /// for the next asking.
    private func poll(_ tickets: [UInt64], _ gateway: GatewayID) -> [UInt8] {
        var writer = ByteWriter(capacity: tickets.count * 2)
        for ticket in tickets {
            let id = WaiterID(gateway: gateway.rawValue, session: ticket)
            if let bytes = served[id], writer.count < 1 << 20 {
                writer.write(PollReply.served.rawValue)
                writer.writeBytes(bytes)
            } else {
                let isThere = served[id] != nil || keyspace.isWaiting(id)
                writer.write(isThere ? PollReply.waits.rawValue : PollReply.unknown.rawValue)
            }
        }
        return writer.bytes
    }

    private mutating func forget(_ gateway: GatewayID) {
        keyspace.forget(gateway: gateway.rawValue)
        for id in served.keys.filter({ $0.gateway == gateway.rawValue }) { served[id] = nil }
        homes.removeAll { $0.gateway == gateway }
    }

    /// Gateways of a node that somebody waits by.
    package func gateways(of node: UInt64) -> [GatewayID] { homes.filter { $0.node == node }.map(\.gateway) }

    /// Where a gateway is.
    package func node(of gateway: GatewayID) -> UInt64? { homes.first { $0.gateway == gateway }?.node }

    // MARK: Commands

    /// Runs the items of a `.commands` unit one by one, as they are read. Without a gateway nobody waits.
    private mutating func run(
        _ bytes: UnsafeRawBufferPointer,
        _ gateway: GatewayID?
    ) throws(DecodeError) -> KeyOutcome {
        var reader = ByteReader(bytes)
        _ = try reader.readByte()
        let (isRESP3, ticket) = try KeyUnit.readHead(&reader)
        var reply = RESPWriter(version: isRESP3 ? 3 : 2)
        while !reader.isAtEnd {
            switch try KeyUnit.readItem(&reader) {
            case .command(let database, let arguments):
                guard keyspace.admits(arguments) else {
                    reply.error(Keyspace.outOfMemory)
                    continue
                }
                var waiter: WaiterID?
                if ticket != 0, let gateway, reader.isAtEnd {
                    waiter = WaiterID(gateway: gateway.rawValue, session: ticket)
                }
                let outcome = keyspace.execute(Call(arguments, database: database, waiter: waiter), &reply)
                keyspace.serveWaiters()
                if outcome == .blocked { return .waits(reply.bytes) }
            case .transaction(let watches, let commands):
                guard commands.allSatisfy({ keyspace.admits($0.arguments) }) else {
                    reply.error("EXECABORT Transaction discarded because of: \(Keyspace.outOfMemory)")
                    continue
                }
                guard watches.allSatisfy({ keyspace.watchVersion($0.database, $0.key) == $0.version }) else {
                    reply.nullArray()
                    continue
                }
                reply.array(commands.count)
                for (database, arguments) in commands { keyspace.execute(Call(arguments, database: database), &reply) }
                keyspace.serveWaiters()
            }
        }
        return .replied(reply.bytes)
    }

    private func versions(_ keys: [(database: Int, key: [UInt8])]) -> [UInt8] {
        var writer = ByteWriter(capacity: keys.count * 8)
        for (database, key) in keys { writer.write(keyspace.watchVersion(database, key)) }
        return writer.bytes
    }

    // MARK: Reading

    /// Answers a unit that only reads, at the owner's time, without the log. What a read leaves behind (counts of hits
    /// and misses) is the owner's own.
    package mutating func read(
        _ bytes: UnsafeRawBufferPointer,
        from gateway: GatewayID,
        now: Timestamp
    ) throws(DecodeError) -> KeyOutcome {
        let logTime = keyspace.now
        keyspace.now = max(logTime, Int64(clamping: now))
        keyspace.isReading = true
        defer {
            keyspace.now = logTime
            keyspace.isReading = false
        }
        if bytes.first == KeyUnit.Kind.commands.rawValue { return try run(bytes, nil) }
        let unit = try KeyUnit(decoding: bytes)
        switch unit.kind {
        case .commands: return .unknown
        case .versions: return .replied(versions(unit.keys))
        case .poll: return .replied(poll(unit.tickets, gateway))
        case .done, .cancel, .unblock, .hello, .replicas, .handOver: return .unknown
        }
    }

    /// Keys that reads have used since it was last asked, for the next entry of the log.
    package mutating func takeUses() -> [(database: Int, key: [UInt8])] { keyspace.uses.take() }

    /// Something is due: keys past their deadlines, room to make, or waits whose time is up.
    package func isDue(_ time: Timestamp) -> Bool {
        let time = Int64(clamping: time)
        if hasMoreDue || keyspace.canMakeRoom || keyspace.hasDue(time) { return true }
        return keyspace.nextTimeout.map { $0 <= time } ?? false
    }
}
