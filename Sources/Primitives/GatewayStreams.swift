import DequeModule

/// One incarnation of one gateway shard: the source of a stream of commands to a partition, so that one that was sent
/// again after a failover takes effect once (Raft dissertation 6.3, RIFL).
public struct GatewayID: RawRepresentable, Hashable, Sendable {
    /// The number itself.
    public var rawValue: UInt64

    /// The gateway of this number.
    @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The result of a gateway's command, as replicas keep it until the gateway has seen it.
public protocol StreamOutcome: Sendable {
    /// For snapshots and messages.
    func encode(into writer: inout ByteWriter)
    /// Reads what `encode` wrote.
    init(from reader: inout ByteReader) throws(DecodeError)
}

/// What a partition remembers of each gateway's stream of commands: enough to answer again, never to do it again.
///
/// Sequences are dense per (gateway, partition). A gateway that sends its pending commands again after a failover gets
/// the first outcome of each. Outcomes that the gateway has seen (`acknowledgedBelow`) are forgotten.
///
/// Public, with what it needs, because the optimizer specializes a generic type of another module only then; without
/// that it takes 7 % of the time of a write.
public struct GatewayStreams<Outcome: StreamOutcome>: Sendable {
    /// Gateways that are remembered.
    @inlinable public static var limit: Int { 65_536 }
    /// Milliseconds after which a silent gateway is forgotten.
    @inlinable public static var idle: UInt64 { 10 * 60 * 1000 }
    /// Time between two looks that counts, in milliseconds: a clock that leaps must not make everybody silent.
    @inlinable public static var leap: UInt64 { 5 * 60 * 1000 }
    /// Outcomes that are kept of each.
    @inlinable public static var outcomesPerGateway: Int { 65_536 }

    @usableFromInline struct Stream: Sendable {
        @usableFromInline var next: UInt64
        /// Outcomes of sequences `next - outcomes.count ..< next`.
        @usableFromInline var outcomes: Deque<Outcome>
        @usableFromInline var lastTime: Timestamp

        @usableFromInline init(next: UInt64, outcomes: Deque<Outcome>, lastTime: Timestamp) {
            self.next = next
            self.outcomes = outcomes
            self.lastTime = lastTime
        }

        @inlinable mutating func record(_ outcome: Outcome, acknowledgedBelow: UInt64, now: Timestamp) {
            outcomes.append(outcome)
            next += 1
            lastTime = now
            while !outcomes.isEmpty,
                next - UInt64(outcomes.count) < acknowledgedBelow
                    || outcomes.count > GatewayStreams.outcomesPerGateway
            {
                outcomes.removeFirst()
            }
        }
    }

    /// What a sequence number says.
    public enum Verdict {
        /// Not done yet.
        case fresh
        /// Done before; nil: what it gave is not kept any more.
        case repeated(Outcome?)
        /// A sequence above the next one: the owner's go-back-N let something slip; never appended.
        case outOfOrder
    }

    @usableFromInline var streams: [GatewayID: Int] = [:]
    /// The row of the last look-up: publishes of one gateway come in runs.
    @usableFromInline var lastID = GatewayID(rawValue: 0)
    @usableFromInline var lastRow = -1
    @usableFromInline var ids: [GatewayID] = []
    @usableFromInline var rows: [Stream] = []
    /// When silent gateways were last looked for.
    @usableFromInline var lastLook: Timestamp = 0

    /// Nobody has sent anything.
    @inlinable public init() {}

    @inlinable mutating func row(of gateway: GatewayID) -> Int? {
        if lastRow >= 0, gateway == lastID { return lastRow }
        guard let row = streams[gateway] else { return nil }
        lastID = gateway
        lastRow = row
        return row
    }

    /// Whether the gateway's command of this number was done before.
    @inlinable public mutating func verdict(_ gateway: GatewayID, _ sequence: UInt64) -> Verdict {
        guard let row = row(of: gateway) else { return .fresh }
        let next = rows[row].next
        if sequence == next { return .fresh }
        if sequence > next { return .outOfOrder }
        let back = next - sequence
        let count = UInt64(rows[row].outcomes.count)
        return .repeated(back <= count ? rows[row].outcomes[Int(count - back)] : nil)
    }

    /// The gateway has seen the outcomes of all below `sequence`, so what is missing here was answered and is lost.
    /// True when something was missing.
    @inlinable public mutating func skip(_ gateway: GatewayID, to sequence: UInt64) -> Bool {
        guard let row = row(of: gateway), rows[row].next < sequence else { return false }
        rows[row].next = sequence
        rows[row].outcomes.removeAll()
        return true
    }

    /// Notes the outcome of a fresh command.
    @inlinable public mutating func record(
        _ gateway: GatewayID,
        _ sequence: UInt64,
        _ outcome: Outcome,
        acknowledgedBelow: UInt64,
        now: Timestamp
    ) {
        let row: Int
        if let known = self.row(of: gateway) {
            row = known
        } else {
            row = rows.count
            streams[gateway] = row
            ids.append(gateway)
            rows.append(Stream(next: sequence, outcomes: [], lastTime: now))
        }
        rows[row].record(outcome, acknowledgedBelow: acknowledgedBelow, now: now)
    }

    /// Forgets who was silent for too long. Call it every now and then: what a look is later than `leap` after the last
    /// one counts for nobody.
    @inlinable package mutating func expire(now: Timestamp) {
        if lastLook > 0, now > lastLook + GatewayStreams.leap {
            let unheard = now - lastLook - GatewayStreams.leap
            for row in rows.indices { rows[row].lastTime += unheard }
        }
        lastLook = max(lastLook, now)
        guard rows.contains(where: { now > $0.lastTime + GatewayStreams.idle }) || rows.count > GatewayStreams.limit
        else { return }
        var kept: [(GatewayID, Stream)] = []
        for (index, row) in rows.enumerated() where now <= row.lastTime + GatewayStreams.idle {
            kept.append((ids[index], row))
        }
        if kept.count > GatewayStreams.limit { kept.removeFirst(kept.count - GatewayStreams.limit) }
        lastRow = -1
        streams.removeAll(keepingCapacity: true)
        ids.removeAll(keepingCapacity: true)
        rows.removeAll(keepingCapacity: true)
        for (id, row) in kept {
            streams[id] = rows.count
            ids.append(id)
            rows.append(row)
        }
    }

    @inlinable package func encode(into writer: inout ByteWriter) {
        writer.writeVarint(UInt64(rows.count))
        for (index, row) in rows.enumerated() {
            writer.write(ids[index].rawValue)
            writer.writeVarint(row.next)
            writer.writeVarint(row.lastTime)
            writer.writeVarint(UInt64(row.outcomes.count))
            for outcome in row.outcomes { outcome.encode(into: &writer) }
        }
        writer.writeVarint(lastLook)
    }

    @inlinable package init(from reader: inout ByteReader) throws(DecodeError) {
        for _ in 0..<(try reader.readCount(limit: GatewayStreams.limit * 2, "gateway streams")) {
            let id = GatewayID(rawValue: try reader.read())
            let next = try reader.readVarint()
            let time = try reader.readVarint()
            var outcomes: Deque<Outcome> = []
            for _ in 0..<(try reader.readCount(limit: GatewayStreams.outcomesPerGateway + 1, "outcomes")) {
                outcomes.append(try Outcome(from: &reader))
            }
            streams[id] = rows.count
            ids.append(id)
            rows.append(Stream(next: next, outcomes: outcomes, lastTime: time))
        }
        lastLook = try reader.readVarint()
    }
}
