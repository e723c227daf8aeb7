import Broker
import ClusterConfiguration
import EventLoops
import LogFormat
import LogStorage
import Logging
import Placement
import Primitives
import Raft

/// `vencejo recover` on one node's data directory, which no process may have open: the survivor's report, and its part
/// of the plan.
package struct NodeRecovery {
    /// What this node's disk has.
    package let report: SurvivorReport
    private let store: LogStore<PosixDisk>

    /// Opens the data directory of `name`, as a start of the node would, and reads all logs.
    package init(configuration: ClusterConfiguration, node name: String) throws {
        guard let own = configuration.node(id: name) else {
            throw NodeError.unknownNode(name, known: configuration.nodes.map(\.id))
        }
        let (store, recovery) = try LogStore<PosixDisk>.open(
            disk: PosixDisk(),
            directory: own.dataDirectory,
            settings: NodeService.logSettings(configuration),
            seed: NodeService.randomNumber()
        )
        self.store = store
        let identity = try NodeIdentity.load(from: store)
        let formation = try Formation.load(from: store, own: name, node: identity.node)
        let list = try MemberList.load(from: store, own: name, node: identity.node)
        try list?.checkFeatureLevel()
        // Whoever opens the log finds it whole the next time: what it lacks is written down first.
        _ = try NodeService.hasLostRecords(recovery, store, hasRunBefore: list != nil, Logger(label: name))
        let founders = formation.map { made in made.expected.compactMap { made.members[$0] } } ?? []
        let voters = Array(founders.prefix(Broker.controlVotersMax))
        let base = Membership(voters: voters, learners: founders.filter { !voters.contains($0) })
        var copies: [SurvivingCopy] = []
        var control: ControlState?
        // Sorted: the control group, whose state names the first members of all others, comes first.
        for (group, replica) in recovery.replicas {
            let first = group.partition.flatMap { control?.genesis?.members(of: $0) } ?? base
            var reader = try CopyReader(group, replica, base: first)
            while !reader.isAtEnd, !replica.isFaulty {
                let entries = try store.read(
                    group: group,
                    from: reader.next,
                    upTo: reader.copy.lastIndex,
                    maxBytes: NodeRecovery.readBytes
                )
                guard !entries.isEmpty else {
                    throw NodeError.shortLog(group: group, entry: reader.next)
                }
                try reader.read(entries)
            }
            if group == .control { control = reader.control }
            copies.append(reader.copy)
        }
        report = SurvivorReport(
            cluster: configuration.cluster.name,
            node: identity.node,
            name: name,
            control: control ?? ControlState(),
            copies: copies
        )
    }

    private static let readBytes = 4 << 20

    /// Does this node's part. May be repeated, whatever became of it the last time.
    package func carryOut(_ plan: RecoveryPlan) throws {
        // The lost are strangers from here on, to every survivor.
        let former = plan.control.formerNodes + plan.lost.map { FormerNode(id: $0.id, name: $0.name) }
        let list = MemberList(
            nodes: plan.survivors,
            former: former.suffix(ControlState.formerNodesMax),
            featureLevel: plan.control.featureLevel
        )
        try store.writeMeta(MemberList.file, list.encoded)
        var random = Xoshiro256(seed: try NodeService.randomNumber())
        let rewrite = plan.rewrite(of: report, at: WallClock.now(), random: &random)
        for group in rewrite.discarded { try store.discardGroup(group: group) }
        // One record, unless it is of megabytes; each group's part is whole in any case.
        try store.append(
            rewrite.items.map { LogItem(group: $0.group, hardState: $0.hardState, entries: $0.entries) }
        )
        try store.sync()
    }

    package func close() throws { try store.close() }
}

extension PlacementTable {
    fileprivate func members(of partition: PartitionID) -> Membership? {
        Int(partition.rawValue) < self.replicas.count ? Membership(voters: replicas(of: partition)) : nil
    }
}
