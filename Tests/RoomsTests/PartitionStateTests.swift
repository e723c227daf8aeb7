import Primitives
import Rooms
import Testing

/// A partition whose log is kept, so that it can be replayed, restored and read back.
private struct Partition {
    var state: PartitionState
    private(set) var log: [Entry] = []
    private(set) var effects: [PartitionState.Effect] = []
    var now: Timestamp = 1_700_000_000_000
    private var sequence: UInt64 = 1

    init(namespaces: [NamespacePolicy] = [], limits: RoomLimits = RoomLimits(), tail: Int = 4 << 20) throws {
        state = PartitionState(partition: PartitionID(3), tailBytesMax: tail)
        try entry { $0.configure(NamespaceTable(namespaces, limits: limits), epochSeed: 99) }
    }

    mutating func entry(_ fill: (inout CommandBatchWriter) -> Void) throws {
        var batch = CommandBatchWriter(timestamp: now)
        fill(&batch)
        let index = LogIndex(log.count + 1)
        log.append(Entry(term: 1, index: index, data: batch.bytes))
        try state.apply(index: index, data: batch.bytes, into: &effects)
    }

    @discardableResult
    mutating func publish(
        _ room: String,
        _ texts: [String],
        producer: ProducerStamp? = nil,
        key: String = "",
        gateway: UInt64 = 1,
        sequence given: UInt64? = nil,
        acknowledgedBelow: UInt64 = 0
    ) throws -> [PublishOutcome] {
        let before = effects.count
        var next = sequence
        try entry { batch in
            for text in texts {
                let number = given ?? next
                if given == nil { next += 1 }
                let command = PublishCommand(
                    room: RoomName(room),
                    producer: producer,
                    idempotencyKey: Array(key.utf8)[...],
                    body: MessageBody(payload: Array(text.utf8)[...]).encoded()[...]
                )
                batch.publish(
                    gateway: GatewayID(rawValue: gateway),
                    sequence: number,
                    acknowledgedBelow: acknowledgedBelow,
                    command: command.encoded()[...]
                )
            }
        }
        sequence = next
        return effects[before...].compactMap {
            if case .published(_, _, _, let outcome, _) = $0 { return outcome }
            return nil
        }
    }

    /// All retained messages of a room from `offset` on, from memory or out of the log.
    func read(_ room: String, from offset: UInt64, limit: Int = 10_000) throws -> [(UInt64, String)] {
        switch state.read(RoomName(room), from: offset, limit: limit, maxBytes: .max) {
        case .publications(let publications): return try publications.map(text)
        case .log(var scan):
            while !scan.isComplete, scan.index <= LogIndex(log.count) { try scan.consume(log[Int(scan.index) - 1]) }
            return try scan.publications.map(text)
        }
    }

    private func text(_ publication: Publication) throws -> (UInt64, String) {
        let body = try MessageBody(decoding: publication.body)
        return (publication.offset, String(decoding: body.payload, as: UTF8.self))
    }
}

private func stamp(_ id: String, _ epoch: UInt64, _ sequence: UInt64) -> ProducerStamp {
    ProducerStamp(id: Array(id.utf8)[...], epoch: epoch, sequence: sequence)
}

private func offset(_ outcome: PublishOutcome?) -> UInt64? {
    switch outcome {
    case .appended(let position), .duplicate(let position): position.offset
    default: nil
    }
}

@Suite struct PartitionStateTests {
    @Test("DL-06 offsets are dense from 1 per room, in the order of the log, whatever else the entries carry")
    func order() throws {
        var partition = try Partition()
        var expected: [String: [String]] = [:]
        var random = Xoshiro256(seed: 5)
        for entry in 0..<300 {
            let room = "r\(random.below(7))"
            let texts = (0..<(1 + random.below(5))).map { "\(entry).\($0)" }
            try partition.publish(room, texts)
            expected[room, default: []] += texts
        }
        for (room, texts) in expected {
            let read = try partition.read(room, from: 1)
            #expect(read.map(\.0) == (1...UInt64(texts.count)).map { $0 })
            #expect(read.map(\.1) == texts)
        }
    }

    @Test("DL-10 messages that left memory are read from the log, from any offset, without the rejected ones")
    func logScan() throws {
        var partition = try Partition(tail: 2000)
        for n in 0..<400 {
            try partition.publish("a", ["a\(n)"], key: "k\(n / 2)")
            try partition.publish("b", ["b\(n)", "b\(n)+"])
        }
        // Every second publish to a repeated a key.
        #expect(partition.state.head(of: RoomName("a")).next == 201)
        for from in [UInt64(1), 2, 63, 64, 65, 100, 128, 129, 199, 200] {
            let read = try partition.read("a", from: from)
            #expect(read.map(\.0) == (from...200).map { $0 }, "from \(from)")
            #expect(read.map(\.1) == (from...200).map { "a\(($0 - 1) * 2)" })
        }
        let tail = try partition.read("b", from: 700)
        #expect(tail.first?.0 == 700 && tail.last?.0 == 800)
    }

    @Test("DL-08 a producer's retry gets its first offset; gaps, old epochs and forgotten producers are told apart")
    func producers() throws {
        var partition = try Partition()
        for n in 0..<20 { try partition.publish("r", ["\(n)"], producer: stamp("p", 1, UInt64(n))) }
        #expect(offset(try partition.publish("r", ["x"], producer: stamp("p", 1, 19)).first) == 20)
        #expect(try partition.publish("r", ["x"], producer: stamp("p", 1, 2)) == [.duplicateUnknownOffset])
        #expect(try partition.publish("r", ["x"], producer: stamp("p", 1, 21)) == [.sequenceGap(expected: 20)])
        #expect(try partition.publish("r", ["x"], producer: stamp("p", 2, 5)) == [.sequenceGap(expected: 0)])
        #expect(offset(try partition.publish("r", ["new"], producer: stamp("p", 2, 0)).first) == 21)
        #expect(try partition.publish("r", ["x"], producer: stamp("p", 1, 20)) == [.fenced(currentEpoch: 2)])
        #expect(try partition.publish("r", ["x"], producer: stamp("q", 1, 3)) == [.unknownProducer])
        #expect(partition.state.head(of: RoomName("r")).next == 22, "nothing but the new one was appended")
    }

    @Test("DL-08 an idempotency key is remembered for its window and count, by log time")
    func keys() throws {
        var partition = try Partition(limits: RoomLimits(keysPerRoom: 3, keyWindow: 1000))
        #expect(offset(try partition.publish("r", ["1"], key: "a").first) == 1)
        guard case .duplicate = try partition.publish("r", ["1"], key: "a")[0] else {
            Issue.record("not known"); return
        }
        partition.now += 1001
        try partition.publish("r", ["2"], key: "b")
        #expect(offset(try partition.publish("r", ["3"], key: "a").first) == 3, "past its window it is a new one")
        for key in ["c", "d", "e"] { try partition.publish("r", ["4"], key: key) }
        #expect(offset(try partition.publish("r", ["7"], key: "b").first) == 7, "pushed out by newer ones")
    }

    @Test("CL-06 a gateway that sends its stream again after a failover is answered with the first outcomes")
    func gatewayStreams() throws {
        var partition = try Partition()
        let first = try partition.publish("r", ["a"], gateway: 7, sequence: 1)
        let second = try partition.publish("r", ["b"], gateway: 7, sequence: 2)
        #expect(try partition.publish("r", ["a"], gateway: 7, sequence: 1) == first)
        #expect(try partition.publish("r", ["b"], gateway: 7, sequence: 2) == second)
        #expect(try partition.publish("r", ["d"], gateway: 7, sequence: 4) == [], "a hole is never appended")
        let third = try partition.publish("r", ["c"], gateway: 7, sequence: 3, acknowledgedBelow: 3)
        #expect(offset(third.first) == 3)
        #expect(try partition.publish("r", ["a"], gateway: 7, sequence: 1) == [], "its outcome was seen and forgotten")
        #expect(partition.state.head(of: RoomName("r")).next == 4)
    }

    @Test("CL-06 a gateway is forgotten after its silence, not because a clock has leapt an hour")
    func silentGateways() throws {
        var partition = try Partition()
        let first = try partition.publish("r", ["a"], gateway: 7, sequence: 1)
        try partition.entry { $0.housekeeping() }
        partition.now += 3_600_000
        try partition.entry { $0.housekeeping() }
        #expect(try partition.publish("r", ["a"], gateway: 7, sequence: 1) == first, "sent again, not done again")
        // Minutes that pass one by one are silence.
        for _ in 0..<11 {
            partition.now += 60_000
            try partition.entry { $0.housekeeping() }
        }
        #expect(try partition.publish("r", ["a"], gateway: 7, sequence: 1) != first)
    }

    @Test("DL-10 PS-04 retention by count is exact; by size and time it works in runs, and lets the log go")
    func retention() throws {
        var partition = try Partition(namespaces: [
            NamespacePolicy(prefix: Array("count:".utf8), retentionCount: 10),
            NamespacePolicy(prefix: Array("bytes:".utf8), retentionBytes: 1000),
            NamespacePolicy(prefix: Array("time:".utf8), retentionMilliseconds: 60_000),
        ])
        for n in 0..<500 {
            try partition.publish("count:x", ["\(n)"])
            try partition.publish("bytes:x", ["0123456789"])
            try partition.publish("time:x", ["\(n)"])
            partition.now += 1000
        }
        #expect(partition.state.head(of: RoomName("count:x")).first == 491)
        let bytes = partition.state.head(of: RoomName("bytes:x"))
        #expect(bytes.next - bytes.first >= 1000 / 11 && bytes.next - bytes.first <= 1000 / 11 + 64)
        let time = partition.state.head(of: RoomName("time:x"))
        #expect(time.next - time.first >= 60 && time.next - time.first <= 60 + 64)
        #expect(partition.state.logFloor > 1000, "what nobody needs may leave the log")
        partition.now += 120_000
        try partition.entry { $0.housekeeping() }
        #expect(partition.state.head(of: RoomName("time:x")).first == 501, "an idle room forgets too")
    }

    @Test(
        "CL-09 replicas of one log are equal to the byte; a snapshot and the rest of the log make one more"
    )
    func snapshots() throws {
        var partition = try Partition(namespaces: [NamespacePolicy(prefix: Array("few:".utf8), retentionCount: 5)])
        var random = Xoshiro256(seed: 11)
        var middle: (index: Int, bytes: [UInt8])?
        for n in 0..<400 {
            partition.now += random.below(2000)
            let room = random.chance(1, in: 3) ? "few:\(random.below(3))" : "r\(random.below(4))"
            try partition.publish(
                room,
                ["\(n)"],
                producer: random.chance(1, in: 2) ? stamp("p\(random.below(3))", 1, random.below(6)) : nil,
                key: random.chance(1, in: 3) ? "k\(random.below(20))" : ""
            )
            if random.chance(1, in: 10) {
                let position = Position(epoch: partition.state.head(of: RoomName(room)).epoch, offset: 1)
                try partition.entry {
                    $0.cursors([CursorUpdate(room: RoomName(room), consumer: [1], position: position)])
                }
            }
            if n == 200 { middle = (partition.log.count, partition.state.encodeSnapshot()) }
        }
        var replay = PartitionState(partition: PartitionID(3))
        var ignored: [PartitionState.Effect] = []
        for entry in partition.log { try replay.apply(index: entry.index, data: entry.data, into: &ignored) }
        #expect(replay.encodeSnapshot() == partition.state.encodeSnapshot())
        let start = try #require(middle)
        var restored = try PartitionState(partition: PartitionID(3), snapshot: start.bytes)
        for entry in partition.log[start.index...] {
            try restored.apply(index: entry.index, data: entry.data, into: &ignored)
        }
        #expect(restored.encodeSnapshot() == partition.state.encodeSnapshot())
        #expect(restored.digest == partition.state.digest)
    }

    @Test("DL-02 a cursor only moves forward, never past the room's end, and may be set before the first message")
    func cursors() throws {
        var partition = try Partition()
        let name = RoomName("jobs")
        let epoch = partition.state.head(of: name).epoch
        func move(_ offset: UInt64, epoch: UInt64) throws {
            try partition.entry {
                $0.cursors([
                    CursorUpdate(room: name, consumer: [7], position: Position(epoch: epoch, offset: offset))
                ])
            }
        }
        try move(0, epoch: epoch)
        #expect(partition.state.cursor([7], in: name) == 0)
        for n in 0..<10 { try partition.publish("jobs", ["\(n)"]) }
        try move(6, epoch: epoch)
        try move(4, epoch: epoch)
        try move(11, epoch: epoch)
        try move(9, epoch: epoch &+ 1)
        #expect(partition.state.cursor([7], in: name) == 6)
        #expect(partition.state.head(of: name).epoch == epoch, "the epoch was known before the room was")
    }

    @Test("bounds: rooms per partition and producers per room refuse, and say so")
    func bounds() throws {
        var partition = try Partition(limits: RoomLimits(roomsPerPartition: 2, producersPerRoom: 1))
        try partition.publish("a", ["1"], producer: stamp("p", 1, 0))
        #expect(try partition.publish("a", ["1"], producer: stamp("q", 1, 0)) == [.limitReached])
        try partition.publish("b", ["1"])
        #expect(try partition.publish("c", ["1"]) == [.limitReached])
    }

    @Test("an entry of a later version, or damaged, is an error and changes no offsets")
    func hostileEntries() throws {
        var partition = try Partition()
        try partition.publish("r", ["1"])
        var random = Xoshiro256(seed: 3)
        let good = partition.log[1].data
        for _ in 0..<3000 {
            var copy = partition.state
            var bytes = good
            for _ in 0..<(1 + random.below(4)) {
                bytes[Int(random.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
            }
            var effects: [PartitionState.Effect] = []
            try? copy.apply(index: 3, data: bytes, into: &effects)
        }
        var copy = partition.state
        var effects: [PartitionState.Effect] = []
        #expect(throws: DecodeError.unknown(field: "command batch version", value: 9)) {
            try copy.apply(index: 3, data: [9, 0], into: &effects)
        }
    }

    @Test("a snapshot with any byte changed or missing is refused or decoded, never a trap")
    func hostileSnapshots() throws {
        var partition = try Partition()
        for n in 0..<50 { try partition.publish("r\(n % 5)", ["\(n)"], key: "k\(n)") }
        let good = partition.state.encodeSnapshot()
        var random = Xoshiro256(seed: 8)
        for _ in 0..<3000 {
            var bytes = good
            bytes[Int(random.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
            _ = try? PartitionState(partition: PartitionID(3), snapshot: bytes)
        }
        for count in 0..<good.count where count % 7 == 0 {
            #expect(throws: DecodeError.self) {
                try PartitionState(partition: PartitionID(3), snapshot: Array(good[..<count]))
            }
        }
    }
}

@Suite struct NamespaceTests {
    @Test("RM-05 DL-03 the longest prefix decides a room's class, priority and retention")
    func longestPrefix() {
        let table = NamespaceTable([
            NamespacePolicy(prefix: Array("gov:".utf8), deliveryClass: .retained),
            NamespacePolicy(prefix: Array("gov:alerts:critical".utf8), deliveryClass: .guaranteed, priority: .critical),
            NamespacePolicy(prefix: Array("citizen:".utf8), deliveryClass: .bestEffort, priority: .low),
        ])
        #expect(table.policy(for: RoomName("gov:alerts:critical")).priority == .critical)
        #expect(table.policy(for: RoomName("gov:alerts")).deliveryClass == .retained)
        #expect(table.policy(for: RoomName("citizen:notifications")).deliveryClass == .bestEffort)
        #expect(table.policy(for: RoomName("anything")).deliveryClass == .guaranteed)
    }

    @Test("DL-09 a message is stale when its own time to live is over, and only then")
    func stale() throws {
        let body = MessageBody(payload: [49], timeToLive: 100).encoded()
        let publication = Publication(offset: 1, timestamp: 1000, body: body[...])
        #expect(!publication.isStale(at: 1100))
        #expect(publication.isStale(at: 1101))
        #expect(!publication.isStale(at: 900), "a clock that went back makes nothing stale")
        let eternal = Publication(offset: 1, timestamp: 1000, body: MessageBody(payload: [49]).encoded()[...])
        #expect(!eternal.isStale(at: .max))
    }
}
