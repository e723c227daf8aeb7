import PeerProtocol
import Placement
import Primitives
import Raft

/// How a node gives away what it leads, and takes part again.
extension Broker {
    /// Transfers under way at a time: each stops its partition's publishes for a moment, and the others' disks serve
    /// all of them.
    private static let handOversAtOnce = 8
    /// A transfer that has not led to another leader after so long is tried again.
    private static let handOverInterval = Interval.seconds(1)

    /// The node leaves: it hands over what it leads, a few groups at a time, and does not campaign by itself any more.
    package func resign() {
        guard !hasResigned else { return }
        hasResigned = true
        tellStanding()
        for case let replica? in replicas { replica.nextHandOver = now }
        handOver()
    }

    /// The node stays after all: it may lead again, and the others give back what it is preferred for.
    package func standAgain() {
        guard hasResigned else { return }
        hasResigned = false
        tellStanding()
    }

    /// Groups that this node leads and that another node could take over now.
    package var leadershipsToHandOver: Int {
        replicas.count { replica in replica.map { $0.raft.role == .leader && successor($0) != nil } ?? false }
    }

    /// One shard speaks for the node.
    private func tellStanding() {
        guard settings.shard == 0 else { return }
        for peer in peers where peer.isUp { outbox.peers.append((peer.id, .standing(mayLead: !hasResigned))) }
    }

    func noteStanding(of node: NodeID, _ mayLead: Bool) {
        guard let index = peers.firstIndex(where: { $0.id == node }), peers[index].mayLead != mayLead else { return }
        peers[index].mayLead = mayLead
        guard mayLead else { return }
        for case let replica? in replicas where replica.isServing {
            guard let partition = replica.group.partition,
                placement?.replicas[Int(partition.rawValue)].first == node
            else { continue }
            replica.nextReturn = min(replica.nextReturn, now)
        }
    }

    /// Repeated with every tick of a node that has resigned.
    func handOver() {
        var underWay = 0
        for case let replica? in replicas where replica.raft.role == .leader && replica.nextHandOver > now {
            underWay += 1
        }
        for case let replica? in replicas where replica.raft.role == .leader && replica.nextHandOver <= now {
            guard underWay < Broker.handOversAtOnce else { return }
            // Publishes wait while a transfer is under way: a follower that is far behind would stop the room.
            guard let target = successor(replica), target.match + 64 >= replica.raft.lastIndex else { continue }
            replica.nextHandOver = now + Broker.handOverInterval
            replica.raft.transferLeadership(to: target.id)
            mark(replica)
            underWay += 1
        }
    }

    /// The disk gives this node no time to be gentle.
    func handOverAtOnce() {
        for case let replica? in replicas where replica.raft.role == .leader {
            if let target = successor(replica)?.id ?? bestFollower(replica) {
                replica.raft.transferLeadership(to: target)
            }
            mark(replica)
        }
    }

    /// The voter that has most of the log, among those that are heard and stay.
    private func successor(_ replica: Replica) -> RaftStatus.Peer? {
        replica.raft.status().peers
            .filter { progress in
                replica.raft.membership.isVoter(progress.id)
                    && peers.contains { $0.id == progress.id && $0.isUp && !$0.isSuspected && $0.mayLead }
            }
            .max { $0.match < $1.match }
    }
}
