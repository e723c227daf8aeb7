import DequeModule

/// One incarnation of one gateway shard: the source of a stream of commands to a partition, so that one that was sent
/// again after a failover takes effect once (Raft dissertation 6.3, RIFL).
package struct GatewayID: RawRepresentable, Hashable, Sendable {
    package var rawValue: UInt64

    @inlinable package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The result of a gateway's command, as replicas keep it until the gateway has seen it.
package protocol StreamOutcome: Sendable {
    func encode(into writer: inout ByteWriter)
    init(from reader: inout ByteReader) throws(DecodeError)
}

/// What a partition remembers of each gateway's stream of commands: enough to answer again, never to do it again.
///
/// Sequences are dense per (gateway, partition). A gateway that sends its pending commands again after a failover gets
/// the first outcome of each. Outcomes that the gateway has seen (`acknowledgedBelow`) are forgotten.
package struct GatewayStreams<Outcome: StreamOutcome>: Sendable {
    package static var limit: Int { 65_536 }
    package static var idle: UInt64 { 10 * 60 * 1000 }
    package static var outcomesPerGateway: Int { 65_536 }

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

    package enum Verdict {
        case fresh
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

    @inlinable package init() {}

    @inlinable mutating func row(of gateway: GatewayID) -> Int? {
        if lastRow >= 0, gateway == lastID { return lastRow }
        guard let row = streams[gateway] else { return nil }
        lastID = gateway
        lastRow = row
        return row
    }

    @inlinable package mutating func verdict(_ gateway: GatewayID, _ sequence: UInt64) -> Verdict {
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
    @inlinable package mutating func skip(_ gateway: GatewayID, to sequence: UInt64) -> Bool {
        guard let row = row(of: gateway), rows[row].next < sequence else { return false }
        rows[row].next = sequence
        rows[row].outcomes.removeAll()
        return true
    }

    @inlinable package mutating func record(
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

    @inlinable package mutating func expire(now: Timestamp) {
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
    }
}
