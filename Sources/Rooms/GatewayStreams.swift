import DequeModule
import Primitives

/// What a partition remembers of each gateway's stream of publishes: enough to answer again, never to append again.
///
/// Sequences are dense per (gateway, partition). A gateway that sends its pending publishes again after a failover gets
/// the first outcome of each. Outcomes that the gateway has seen (`acknowledgedBelow`) are forgotten.
struct GatewayStreams: Sendable {
    static let limit = 65_536
    static let idle: UInt64 = 10 * 60 * 1000
    static let outcomesPerGateway = 65_536

    private struct Stream: Sendable {
        var next: UInt64
        /// Outcomes of sequences `next - outcomes.count ..< next`.
        var outcomes: Deque<PublishOutcome>
        var lastTime: Timestamp

        mutating func record(_ outcome: PublishOutcome, acknowledgedBelow: UInt64, now: Timestamp) {
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

    enum Verdict {
        case fresh
        case repeated(PublishOutcome?)
        /// A sequence above the next one: the owner's go-back-N let something slip; never appended.
        case outOfOrder
    }

    private var streams: [GatewayID: Int] = [:]
    /// The row of the last look-up: publishes of one gateway come in runs.
    private var lastID = GatewayID(rawValue: 0)
    private var lastRow = -1
    private var ids: [GatewayID] = []
    private var rows: [Stream] = []

    init() {}

    private mutating func row(of gateway: GatewayID) -> Int? {
        if lastRow >= 0, gateway == lastID { return lastRow }
        guard let row = streams[gateway] else { return nil }
        lastID = gateway
        lastRow = row
        return row
    }

    mutating func verdict(_ gateway: GatewayID, _ sequence: UInt64) -> Verdict {
        guard let row = row(of: gateway) else { return .fresh }
        let next = rows[row].next
        if sequence == next { return .fresh }
        if sequence > next { return .outOfOrder }
        let back = next - sequence
        let count = UInt64(rows[row].outcomes.count)
        return .repeated(back <= count ? rows[row].outcomes[Int(count - back)] : nil)
    }

    mutating func record(
        _ gateway: GatewayID,
        _ sequence: UInt64,
        _ outcome: PublishOutcome,
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

    mutating func expire(now: Timestamp) {
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

    func encode(into writer: inout ByteWriter) {
        writer.writeVarint(UInt64(rows.count))
        for (index, row) in rows.enumerated() {
            writer.write(ids[index].rawValue)
            writer.writeVarint(row.next)
            writer.writeVarint(row.lastTime)
            writer.writeVarint(UInt64(row.outcomes.count))
            for outcome in row.outcomes { outcome.encode(into: &writer) }
        }
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        for _ in 0..<(try reader.readCount(limit: GatewayStreams.limit * 2, "gateway streams")) {
            let id = GatewayID(rawValue: try reader.read())
            let next = try reader.readVarint()
            let time = try reader.readVarint()
            var outcomes: Deque<PublishOutcome> = []
            for _ in 0..<(try reader.readCount(limit: GatewayStreams.outcomesPerGateway + 1, "outcomes")) {
                outcomes.append(try PublishOutcome(from: &reader))
            }
            streams[id] = rows.count
            ids.append(id)
            rows.append(Stream(next: next, outcomes: outcomes, lastTime: time))
        }
    }
}
