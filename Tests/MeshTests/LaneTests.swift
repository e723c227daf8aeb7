import Cluster
import Dispatch
import EventLoops
import NIOCore
import OwnThread
import PeerProtocol
import Primitives
import Raft
import Rooms
import Testing

@Suite(.ownThread) struct LaneTests {
    // MARK: What is bulk

    private func append(_ group: UInt32 = 1, from: LogIndex, count: Int = 1, size: Int, commit: LogIndex) -> PeerMessage
    {
        let entries = (0..<count).map {
            Entry(term: 3, index: from + LogIndex($0), data: [UInt8](repeating: 7, count: size))
        }
        let request = AppendRequest(previousIndex: from - 1, previousTerm: 3, commit: commit, entries: entries)
        return .raft(
            GroupID(rawValue: group),
            RaftMessage(from: NodeID(97), to: NodeID(98), term: 3, body: .append(request))
        )
    }

    static func chunk(_ size: Int, offset: UInt64 = 0) -> PeerMessage {
        .snapshotChunk(
            SnapshotChunk(
                group: GroupID(rawValue: 2),
                term: 1,
                descriptor: SnapshotDescriptor(index: 9, term: 1, membership: Membership(voters: [NodeID(1)])),
                stateBytes: 1 << 30,
                firstEntry: 10,
                offset: offset,
                state: [UInt8](repeating: 5, count: size)[...],
                entries: []
            )
        )
    }

    @Test("CL-18 appends are bulk when all they carry is committed, and histories when they register nothing")
    func kinds() {
        #expect(LaneTests.chunk(1).lane() == .bulk)
        #expect(append(from: 10, size: 100_000, commit: 10).lane() == .bulk)
        #expect(append(from: 10, count: 2, size: 100_000, commit: 10).lane() == .live)
        #expect(append(from: 10, size: 100_000, commit: 9).lane() == .live)
        #expect(append(from: 10, size: 100, commit: 10).lane() == .live)
        #expect(append(from: 10, count: 200, size: 100, commit: 1000).lane() == .bulk)
        #expect(append(from: 10, count: 0, size: 0, commit: 10).lane() == .live)

        let publication = Publication(
            offset: 1,
            timestamp: Timestamp(1),
            body: [UInt8](repeating: 1, count: 20_000)[...]
        )
        var reply = FetchReply(partition: PartitionID(1), token: 1, room: RoomName("r"), status: .ok)
        reply.publications = [publication]
        #expect(PeerMessage.fetched(reply).lane() == .live)
        reply.mayBeOvertaken = true
        #expect(PeerMessage.fetched(reply).lane() == .bulk)
        reply.publications[0].body = [1]
        #expect(PeerMessage.fetched(reply).lane() == .live)
        #expect(PeerMessage.publications(PartitionID(1), RoomName("r"), epoch: 1, [publication]).lane() == .live)
        #expect(PeerMessage.announce(PartitionID(1), RoomName("r"), body: publication.body).lane() == .live)
        #expect(PeerMessage.keepalive.lane() == .live)
    }

    @Test("CL-18 the bulk lane keeps its order, counts its bytes, and holds a group's later appends back")
    func queue() {
        var lane = BulkLane()
        #expect(lane.isEmpty && lane.next() == nil)
        lane.append([UInt8](repeating: 1, count: 10), group: GroupID(rawValue: 1))
        lane.append([UInt8](repeating: 2, count: 20), group: nil)
        lane.append([UInt8](repeating: 3, count: 30), group: GroupID(rawValue: 1))
        #expect(lane.bytes == 60 && lane.count == 3)
        let small = append(1, from: 5, size: 1, commit: 1)
        let heartbeat = PeerMessage.raft(
            GroupID(rawValue: 1),
            RaftMessage(from: NodeID(1), to: NodeID(2), term: 1, body: .heartbeat(commit: 1, context: 0))
        )
        #expect(lane.holdsBack(small))
        #expect(!lane.holdsBack(append(2, from: 5, size: 1, commit: 1)))
        #expect(!lane.holdsBack(heartbeat) && !lane.holdsBack(.keepalive))
        #expect(lane.next()?.count == 10)
        #expect(lane.holdsBack(small))
        #expect(lane.next()?.count == 20)
        #expect(lane.holdsBack(small))
        #expect(lane.next()?.count == 30)
        #expect(!lane.holdsBack(small) && lane.isEmpty && lane.bytes == 0)
    }

    // MARK: On a link

    /// Two nodes, of which the second does not read before it is released.
    private func withUnreadLink(
        settings: MeshSettings = MeshSettings(),
        _ body: (TestNode, TestNode, _ release: () -> Void) async throws -> Void
    ) async throws {
        let (a, b, _) = try await pair(settings: settings)
        #expect(try await bothUp(a, b))
        let gate = DispatchSemaphore(value: 0)
        let (stopped, reached) = AsyncStream.makeStream(of: Void.self)
        b.shards[0].loop.execute {
            reached.finish()
            gate.wait()
        }
        for await _ in stopped {}
        do {
            try await body(a, b) { gate.signal() }
        } catch {
            gate.signal()
            throw error
        }
        try await a.stop()
        try await b.stop()
    }

    private static let chunkBytes = 512 << 10
    private static let chunks = 80

    /// The peer does not read, 40 MiB are queued for it, and then one more message. Returns how many of the others came
    /// before that one.
    private func chunksBefore(_ message: @escaping @Sendable (_ size: Int) -> PeerMessage) async throws -> Int {
        var before = -1
        try await withUnreadLink { a, b, release in
            let to = b.identity.node
            try await a.onLoop { mesh in
                for _ in 0..<LaneTests.chunks { mesh.send(to: to, message(LaneTests.chunkBytes)) }
            }
            // The kernel takes no more, and less than half of what may stand in front of the socket would be filled up.
            #expect(
                try await eventually {
                    try await a.onLoop { $0.linkStatistics[0].queuedBytes >= MeshSettings().bulkAhead / 2 }
                }
            )
            try await a.onLoop { _ = $0.send(to: to, number(1)) }
            release()
            #expect(await eventually { b.seen { $0.chunks + $0.bodies.count } == LaneTests.chunks })
            #expect(await eventually { b.seen { $0.numbers[a.identity.node] } == [1] })
            before = b.seen { $0.chunksBefore[0] }
            let row = try await a.onLoop { $0.linkStatistics[0] }
            #expect(row.queuedBytes == 0 && row.bulkQueuedBytes == 0 && row.bulkQueuedMessages == 0)
            #expect(row.messagesOut == UInt64(LaneTests.chunks + 1) && row.overflows == 0 && row.bulkDropped == 0)
            let bulk = message(1).lane(bulkBytes: 1) == .bulk ? LaneTests.chunks : 0
            #expect(row.bulkMessagesOut == UInt64(bulk) && row.bulkBytesOut >= UInt64(bulk * LaneTests.chunkBytes))
            #expect(a.seen { $0.downs }.isEmpty && b.seen { $0.downs }.isEmpty)
        }
        return before
    }

    @Test("CL-18 a vote passes tens of MiB of snapshots; what has no lane of its own is passed by nothing")
    func overtaking() async throws {
        let passed = try await chunksBefore { LaneTests.chunk($0) }
        // What the kernels held, what stood in front of the socket, and a frame.
        #expect(passed <= LaneTests.chunks / 4, "\(passed) of \(LaneTests.chunks) chunks came first")
        let behind = try await chunksBefore { size in
            .announce(PartitionID(1), RoomName("r"), body: [UInt8](repeating: 1, count: size)[...])
        }
        #expect(behind == LaneTests.chunks)
    }

    @Test("CL-18 a group's appends stay in order across the lanes, another group's pass")
    func appendOrder() async throws {
        try await withUnreadLink { a, b, release in
            let to = b.identity.node
            let large = (0..<40).map { append(1, from: LogIndex(1 + $0), size: 512 << 10, commit: 1000) }
            let live = append(1, from: 41, size: 10, commit: 40)
            let other = append(2, from: 7001, size: 10, commit: 7000)
            try await a.onLoop { mesh in
                for message in large + [live, other] { mesh.send(to: to, message) }
            }
            release()
            #expect(await eventually { b.seen { $0.appends.count } == 42 })
            let order = b.seen { $0.appends }
            #expect(order.filter { $0 < 7000 } == Array(1...41))
            #expect(order.firstIndex(of: 7001) ?? 99 < 20)
        }
    }

    @Test("CL-18 bulk above its bound is dropped and counted; the link stays, and live messages arrive")
    func bound() async throws {
        var settings = MeshSettings()
        settings.maxBulkQueue = 4 << 20
        try await withUnreadLink(settings: settings) { a, b, release in
            let to = b.identity.node
            let large = LaneTests.chunk(1 << 20)
            let row = try await a.onLoop { mesh in
                for _ in 0..<64 { mesh.send(to: to, large) }
                mesh.send(to: to, number(1))
                return mesh.linkStatistics[0]
            }
            #expect(row.bulkQueuedBytes <= 4 << 20 && row.bulkQueuedMessages == 3 && row.bulkDropped == 61)
            release()
            #expect(await eventually { b.seen { $0.numbers[a.identity.node] } == [1] })
            #expect(await eventually { b.seen { $0.chunks } == 3 })
            #expect(a.seen { $0.downs }.isEmpty)
        }
    }
}
