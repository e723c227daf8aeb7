import Foundation
import Primitives

/// Nodes that are drained, that leave and that come, under load.
extension FaultRound {
    /// Drained until it is empty, and put back into service some time later.
    func drain(_ victim: Int, _ result: inout Result) throws {
        let node = scene.nodes[victim]
        let drained = try BackgroundTask {
            try MemberCommand.post("/drain", [node])
            return MemberCommand.wait(FaultScene.patience) {
                NodeStatus.ask(node)?.drain.flatMap { $0.state == "empty" ? $0 : nil }
            }
        }.wait(load, seconds: 2 * FaultScene.patience)
        result.drain = drained
        if let drained, drained.cut > 0 { result.findings.append("\(drained.cut) clients were cut off") }
        if drained == nil { result.findings.append("\(node.id) was not empty in time") }
        load.run(seconds: seconds) { false }
        result.whole = result.began..<Clock.instant()
        try BackgroundTask { try MemberCommand.post("/undrain", [node]) }.wait(load)
    }

    /// Leaves for good: over when its process has ended by itself.
    func leave(_ victim: Int, _ result: inout Result) throws {
        let (node, server) = (scene.nodes[victim], scene.cluster.servers[victim])
        let others = scene.nodes.filter { $0.id != node.id }
        let before = try BackgroundTask { NodeStatus.first(of: others) }.wait(load)
        try BackgroundTask { try MemberCommand.post("/leave?node=\(node.id)", others) }.wait(load)
        load.run(seconds: FaultScene.patience) { !server.isRunning }
        result.whole = result.began..<Clock.instant()
        guard !server.isRunning else { throw BenchError("\(node.id) did not leave: \(server.logTail(lines: 2))") }
        let after = try BackgroundTask { NodeStatus.first(of: others) }.wait(load)
        guard let before, let after else { return }
        result.placement = PlacementChange(
            from: before,
            to: after,
            seconds: (result.whole.upperBound - result.began).seconds
        )
    }

    /// A node of the same name without data joins in its place.
    func replace(_ victim: Int, _ result: inout Result) throws {
        let (nodes, node) = (scene.nodes, scene.nodes[victim])
        try? FileManager.default.removeItem(atPath: node.dataDirectory)
        try FileManager.default.createDirectory(atPath: node.dataDirectory, withIntermediateDirectories: true)
        try scene.cluster.servers[victim].start(adding: Newcomer.seeds(nodes.filter { $0.id != node.id }))
        let isSettled = try MemberCommand.settle(nodes, node.id, isMember: true, load)
        if isSettled { result.ready = (Clock.instant() - result.healed).seconds }
        if !isSettled { result.findings.append("the fresh \(node.id) did not get its replicas in time") }
        let (healed, limit) = (result.healed, FaultScene.patience)
        load.run(seconds: limit) { load.isServed(node: victim, since: healed) }
        // Its clients are with another node already.
        if load.isServed(node: victim, since: healed) { result.served = 0 }
    }

    /// Joins, until every node knows it and has the replicas that the new placement gives it, and no others.
    func join(_ result: inout Result) throws {
        guard let newcomer = scene.newcomer else { throw BenchError("there is no newcomer") }
        let nodes = scene.nodes
        let before = try BackgroundTask { NodeStatus.first(of: nodes) }.wait(load)
        let quiet = Clock.now()
        load.run(seconds: Self.quietSeconds) { false }
        result.began = Clock.instant()
        try newcomer.join(scene)
        let isSettled = try MemberCommand.settle(nodes + [newcomer.node], newcomer.node.id, isMember: true, load)
        result.whole = result.began..<Clock.instant()
        let after = try BackgroundTask { NodeStatus.first(of: nodes) }.wait(load)
        guard isSettled, let before, let after else {
            result.findings.append(
                "\(newcomer.node.id) did not get its replicas in time: \(newcomer.log(lines: 2))"
            )
            return
        }
        result.ready = (result.whole.upperBound - result.began).seconds
        var change = PlacementChange(
            from: before,
            to: after,
            seconds: (result.whole.upperBound - result.began).seconds
        )
        change.window = quiet..<result.began.nanoseconds
        result.placement = change
    }

    /// Publish latencies before a change are those of so long.
    private static let quietSeconds = 5.0
}

/// What a change of members did to the placement.
struct PlacementChange: Equatable, Sendable {
    /// Replicas that are where none was before, of so many, on so many nodes.
    var moved: Int
    var replicas: Int
    var nodes: Int
    /// Of the node that has most.
    var most: Int
    var seconds: Double
    /// When publish latencies were taken to compare with.
    var window: Range<UInt64> = 0..<0

    init(from before: NodeStatus, to after: NodeStatus, seconds: Double) {
        var counts: [String: Int] = [:]
        moved = 0
        for partition in after.partitions {
            let earlier = before.partitions.first { $0.id == partition.id }?.replicas ?? []
            for replica in partition.replicas {
                counts[replica, default: 0] += 1
                if !earlier.contains(replica) { moved += 1 }
            }
        }
        replicas = counts.values.reduce(0, +)
        nodes = counts.count
        most = counts.values.max() ?? 0
        self.seconds = seconds
    }

    var share: Double { replicas == 0 ? 0 : Double(moved) / Double(replicas) }
    var mostToMean: Double { replicas == 0 ? 0 : Double(most * nodes) / Double(replicas) }
}

extension NodeStatus {
    static func first(of nodes: [ClusterFile.Node]) -> NodeStatus? {
        for node in nodes {
            if let status = ask(node), !status.partitions.isEmpty { return status }
        }
        return nil
    }

    /// All of them have one placement; each has the replicas that it gives it and no others; and `name` is a member
    /// that has some, or is none and has none.
    static func isSettled(_ statuses: [NodeStatus], _ name: String, isMember: Bool) -> Bool {
        statuses.allSatisfy { status in
            let isPlaced = status.partitions.contains { $0.replicas.contains(name) }
            return status.placementEpoch == statuses.first?.placementEpoch && !status.partitions.isEmpty
                && isPlaced == isMember && status.nodes.contains { $0.name == name } == isMember
                && status.partitions.allSatisfy {
                    $0.owner != nil && $0.replicas.contains(status.node) == ($0.role != "none")
                }
        }
    }
}

/// What is asked of nodes by their admin port, and waited for.
enum MemberCommand {
    /// To the first node that takes it; what is refused for now is asked again.
    static func post(_ path: String, _ nodes: [ClusterFile.Node]) throws {
        var reason = ""
        let isTaken = wait(30) { () -> Bool? in
            for node in nodes {
                guard let answer = AdminPort.post(path, node) else { continue }
                if answer.status == 200 { return true }
                reason = String(decoding: answer.body, as: UTF8.self)
            }
            return nil
        }
        if isTaken == nil { throw BenchError("POST \(path): \(reason.isEmpty ? "no answer" : reason)") }
    }

    /// nil when there was nothing in time.
    static func wait<Value>(_ seconds: Double, _ look: () throws -> Value?) rethrows -> Value? {
        let deadline = Clock.now() + UInt64(seconds * 1e9)
        while Clock.now() < deadline {
            if let value = try look() { return value }
            Clock.sleep(milliseconds: 200)
        }
        return nil
    }

    /// Waits until the nodes are settled with, or without, the one of this name.
    static func settle(
        _ nodes: [ClusterFile.Node],
        _ name: String,
        isMember: Bool,
        _ load: FailoverLoad?
    ) throws -> Bool {
        let look = BackgroundTask {
            wait(FaultScene.patience) { () -> Bool? in
                let statuses = nodes.compactMap(NodeStatus.ask)
                let isSettled = NodeStatus.isSettled(statuses, name, isMember: isMember)
                return statuses.count == nodes.count && isSettled ? true : nil
            } ?? false
        }
        if let load { return try look.wait(load, seconds: 2 * FaultScene.patience) }
        return try wait(2 * FaultScene.patience) { look.isDone ? try look.value() : nil } ?? false
    }
}

/// A node beside those of the cluster: it joins, and leaves again.
final class Newcomer {
    let node: ClusterFile.Node
    private let arguments: [String]
    private let logPath: String
    private var server: ServerProcess?

    init(
        host: String,
        launcher: [String],
        cluster: VencejoCluster,
        binary: String,
        workspace: Workspace
    ) throws {
        let ports = try freePorts(count: 4)
        let id = "n\(cluster.file.nodes.count + 1)"
        node = ClusterFile.Node(
            id: id,
            host: host,
            gatewayPort: ports[0],
            meshPort: ports[1],
            gossipPort: ports[2],
            adminPort: ports[3],
            dataDirectory: try workspace.subdirectory("faults/\(id)")
        )
        var file = cluster.file
        file.nodes.append(node)
        let configuration = try workspace.write(file.text(), to: "faults/joins.toml")
        arguments =
            launcher + [binary, "serve", "--config", configuration, "--node", id] + Self.seeds(cluster.file.nodes)
        logPath = "\(workspace.path)/faults/\(id).log"
    }

    /// The arguments that make a node join the cluster of these.
    static func seeds(_ nodes: [ClusterFile.Node]) -> [String] {
        nodes.prefix(2).flatMap { ["--join", "\($0.host):\($0.gossipPort)"] }
    }

    /// The node, when it is there.
    var joined: [ClusterFile.Node] { server == nil ? [] : [node] }

    func log(lines: Int) -> String { server?.logTail(lines: lines) ?? "" }

    func join(_ scene: FaultScene) throws {
        server = try ServerProcess(name: node.id, arguments: arguments, logPath: logPath)
    }

    /// If it is there; with the load going on, if there is one.
    func leave(_ scene: FaultScene, _ load: FailoverLoad?) throws {
        guard let server else { return }
        let (nodes, id) = (scene.nodes, node.id)
        if let load {
            try BackgroundTask { try MemberCommand.post("/leave?node=\(id)", nodes) }.wait(load)
            load.run(seconds: FaultScene.patience) { !server.isRunning }
        } else {
            try MemberCommand.post("/leave?node=\(id)", nodes)
            _ = MemberCommand.wait(FaultScene.patience) { server.isRunning ? nil : true }
        }
        guard !server.isRunning else { throw BenchError("\(id) did not leave: \(log(lines: 2))") }
        self.server = nil
        guard try MemberCommand.settle(nodes, id, isMember: false, load) else {
            throw BenchError("\(id) has left, and the others did not get its replicas in time")
        }
        try removeData()
    }

    /// After a cell that broke off: it is gone, and forgotten.
    func abandon(_ scene: FaultScene) {
        guard let server else { return }
        server.kill()
        self.server = nil
        try? MemberCommand.post("/forget?node=\(node.id)", scene.nodes)
        try? removeData()
    }

    private func removeData() throws {
        try FileManager.default.removeItem(atPath: node.dataDirectory)
        try FileManager.default.createDirectory(atPath: node.dataDirectory, withIntermediateDirectories: true)
    }
}
