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
}
