import Foundation
import Glibc
import Primitives

/// The cluster in its namespaces, and how to do things to it while a load is running.
final class FaultScene {
    let cluster: VencejoCluster
    let network: FaultNetwork
    /// nil when no disk is at fault in this run.
    let disks: FaultDisks?
    var nodes: [ClusterFile.Node] { cluster.file.nodes }
    /// nil when no node joins in this run.
    let newcomer: Newcomer?
    /// How long a node may take to come back.
    static let patience = 60.0

    init(nodeCount: Int, hasNewcomer: Bool, hasDisks: Bool, binary: String, workspace: Workspace) throws {
        let network = try FaultNetwork(nodes: nodeCount + (hasNewcomer ? 1 : 0))
        let disks = hasDisks ? try FaultDisks(nodes: nodeCount, workspace: workspace) : nil
        let places = try (0..<nodeCount).map { node in
            VencejoCluster.Place(
                host: network.hosts[node],
                launcher: try network.launcher(node),
                dataDirectory: try disks?.data(node)
            )
        }
        cluster = try VencejoCluster(
            name: "faults",
            nodeCount: nodeCount,
            binary: binary,
            workspace: workspace,
            places: places
        )
        newcomer =
            hasNewcomer
            ? try Newcomer(
                host: network.hosts[nodeCount],
                launcher: try network.launcher(nodeCount),
                cluster: cluster,
                binary: binary,
                workspace: workspace
            ) : nil
        self.network = network
        self.disks = disks
    }

    /// Rooms in turn owned by each of the nodes, as far as the placement has it; two for each node.
    func rooms(_ name: String, _ status: NodeStatus) -> [String] {
        var rooms: [String] = []
        var counts: [String: Int] = [:]
        for number in 0..<1000 where rooms.count < 2 * nodes.count {
            let room = "\(name)-\(number)"
            guard let owner = partition(of: room, status)?.owner, counts[owner, default: 0] < 2 else { continue }
            counts[owner, default: 0] += 1
            rooms.append(room)
        }
        return rooms
    }

    func partition(of room: String, _ status: NodeStatus) -> NodeStatus.Partition? {
        status.partition(of: room, cluster.file.partitions)
    }

    /// What the first node says that answers, beginning with the last ones.
    func status() throws -> NodeStatus {
        for node in nodes.reversed() {
            if let status = NodeStatus.ask(node), !status.partitions.isEmpty { return status }
        }
        throw BenchError("no node answers")
    }

    /// Waits until every node says that it is ready, and starts those again that have ended.
    func awaitReady() throws {
        for index in nodes.indices {
            if !cluster.servers[index].isRunning { try cluster.servers[index].start() }
        }
        for index in nodes.indices { try cluster.waitUntilReady(index, seconds: Self.patience) }
    }

    /// The victim of a role, and the measured room that it was chosen for. Rooms take turns with `turn`; the owner is
    /// one that does not lead the control group, and so is the follower, where there is one.
    func victim(_ role: FaultVictim, _ rooms: [String], turn: Int, _ status: NodeStatus) -> (node: Int, room: Int)? {
        func index(_ name: String?) -> Int? { name.flatMap { name in nodes.firstIndex { $0.id == name } } }
        if role == .newcomer { return (0, turn % rooms.count) }
        let leader = index(status.controlLeader)
        if role == .control { return leader.map { ($0, turn % rooms.count) } }
        var second: (node: Int, room: Int)?
        for step in rooms.indices {
            let room = (turn + step) % rooms.count
            guard let partition = partition(of: rooms[room], status), let owner = partition.owner else { continue }
            let candidates = role == .owner ? [owner] : partition.replicas.filter { $0 != owner }
            for candidate in candidates.compactMap(index) {
                if candidate != leader { return (candidate, room) }
                second = second ?? (candidate, room)
            }
        }
        return second
    }
}
