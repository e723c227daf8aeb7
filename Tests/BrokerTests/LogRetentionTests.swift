import Broker
import OwnThread
import Primitives
import Raft
import Rooms
import Testing

/// How far back an owner keeps its log for followers that are behind.
@Suite("Log retention", .ownThread(nice: 5))
struct LogRetentionTests {
    @Test("PS-04 a follower that answers is served from the log over snapshots, up to a length, and then filled")
    func slowFollower() throws {
        let cluster = try MiniCluster { $0.snapshotEntries = 50 }
        cluster.run(milliseconds: 500)
        // Ten messages are retained: what older entries hold is not needed for its own sake.
        let room = "few:log"
        let owner = try #require(cluster.owner(of: room))
        let group = GroupID(partition: cluster.broker(owner).partition(of: RoomName(room)))
        let follower = owner % 3 + 1
        let publisher = MiniClient(cluster, on: owner)
        func raft(_ number: Int) throws -> RaftNode { try #require(cluster.broker(number).raftNode(group)) }
        func fillings() -> Int {
            cluster.events.count {
                guard case .snapshotInstalled(let filled, _) = $0.1 else { return false }
                return filled == group && $0.0 == NodeID(UInt64(follower))
            }
        }
        func publish(_ count: Int) {
            for number in 0..<count {
                publisher.publish(room, "\(number)")
                // One entry each; no time passes, so that nobody counts as silent.
                cluster.settle()
            }
        }
        publish(120)
        let compacted = try raft(owner).firstIndex
        #expect(compacted > 1, "with followers in step snapshots take the log along")

        let known = try raft(follower).lastIndex
        cluster.hold(follower)
        publish(150)
        #expect(try raft(owner).firstIndex <= known + 1)
        #expect(try raft(follower).lastIndex == known)
        cluster.release()
        cluster.run(milliseconds: 300)
        #expect(try raft(follower).lastIndex == raft(owner).lastIndex)
        #expect(fillings() == 0)

        let later = try raft(follower).lastIndex
        cluster.hold(follower)
        publish(500)
        let kept = try raft(owner).lastIndex - raft(owner).firstIndex
        #expect(try raft(owner).firstIndex > later + 1)
        #expect(kept <= 5 * 50 + 10, "four snapshots' worth, and what came after the last")
        cluster.release()
        cluster.run(milliseconds: 2000)
        #expect(try raft(follower).lastIndex == raft(owner).lastIndex)
        #expect(fillings() == 1)
    }

    @Test("PS-04 keys are saved anew when the log has grown by as much as they take, however many entries that is")
    func keySnapshots() throws {
        let cluster = try MiniCluster {
            $0.snapshotEntries = 50
            $0.keyPartitions = 1
        }
        cluster.run(milliseconds: 1000)
        let client = MiniClient(cluster, on: 1)
        func run(_ line: String) {
            let command = client.execute(line)
            cluster.run(milliseconds: 5)
            MiniClient.deliver(cluster, [client])
            #expect(!client.reply(command).hasPrefix("-"), "\(line.prefix(20))")
        }
        let partition = PartitionID(UInt32(cluster.broker(1).settings.partitions))
        func firstIndex() throws -> LogIndex {
            try #require(cluster.broker(1).raftNode(GroupID(partition: partition))).firstIndex
        }
        func saves() -> Int {
            cluster.saves.count { $0.0 == NodeID(1) && $0.1 == GroupID(partition: partition) }
        }
        for _ in 0..<200 { run("SET small \(String(repeating: "s", count: 1000))") }
        #expect(saves() >= 2, "few bytes of keys: entries count")
        // The log grows by that much, too: once.
        run("SET large \(String(repeating: "x", count: 400_000))")
        for _ in 0..<60 { run("INCR counter") }
        let before = saves()
        for _ in 0..<300 { run("INCR counter") }
        #expect(saves() == before, "a few kilobytes of log are no reason to write 400")
        run("SET large \(String(repeating: "y", count: 400_000))")
        for _ in 0..<60 { run("INCR counter") }
        #expect(saves() == before + 1)
        #expect(try firstIndex() > 1)
    }

    @Test("PS-04 keys that only become more are saved, too: each time as much has come as there was at the last time")
    func growingKeys() throws {
        let cluster = try MiniCluster(nodes: 1, partitions: 4) {
            $0.snapshotEntries = 20
            $0.keyPartitions = 1
        }
        cluster.run(milliseconds: 1000)
        let client = MiniClient(cluster, on: 1)
        let group = GroupID(partition: PartitionID(UInt32(cluster.broker(1).settings.partitions)))
        var saves: [Int] = []
        for number in 0..<800 {
            let command = client.execute("SET key:\(number) \(number)")
            cluster.run(milliseconds: 5)
            MiniClient.deliver(cluster, [client])
            #expect(client.reply(command) == "+OK\r\n")
            if saves.count < cluster.saves.count(where: { $0.group == group }) { saves.append(number) }
        }
        #expect((3...8).contains(saves.count), "\(saves)")
        for (early, late) in zip(saves.dropFirst(), saves.dropFirst(2)) { #expect(late >= early * 3 / 2) }
    }
}
