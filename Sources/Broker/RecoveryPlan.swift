import PeerProtocol
import Placement
import Primitives
import Raft
import Rooms

/// Why a recovery is not planned.
package enum RecoveryRefusal: Error, Equatable, Sendable, CustomStringConvertible {
    case noControlGroup
    case foreignReport(String, cluster: String)
    case notMember(String)
    case twoReports(String)
    case unknownNode(String, known: [String])
    case lostButReported(String)
    case unreported([String])

    package var description: String {
        switch self {
        case .noControlGroup:
            "no survivor has a sound copy of the control group: restore a backup of one data directory"
        case .foreignReport(let name, let cluster): "the report of \(name) is of another cluster, \"\(cluster)\""
        case .notMember(let name): "\(name) is not a node of this cluster by the newest control group's log"
        case .twoReports(let name): "there are two reports of \(name)"
        case .unknownNode(let name, let known): "\(name) is no node of this cluster: \(known.joined(separator: ", "))"
        case .lostButReported(let name): "\(name) is said to be lost, and its disk is here"
        case .unreported(let names):
            "\(names.joined(separator: ", ")): neither said to be lost (--lost) nor reported (--with)"
        }
    }
}

/// How a cluster goes on that has lost the majority of some groups for good: decided from what the survivors' disks
/// have, alike on all of them, and carried out by each on its own disk while it stands still.
///
/// A group without a majority goes on from one copy, the most complete one by Raft's order of logs. What any survivor
/// knows to be committed is in that copy's log: with the same last term the longer log contains the other, and with a
/// higher one it comes from a leader that had all that was committed before (leader completeness, Raft 5.4.3). That
/// node appends to its log, in a term that nobody has voted in, that it alone votes (`MembershipChange.recover`), and
/// that rooms begin new epochs; all of it, with the log's end so far, is committed there. Copies of other survivors
/// are discarded but for their votes: among the old members they could elect, and commit what that node has not. The
/// new leader takes them in as learners, and fills them.
///
/// When any group is rewritten the control group is too, and forgets the nodes that were lost: their disks would be a
/// majority of the old members, should they come back.
///
/// After CockroachDB's loss of quorum recovery (collect, plan, apply) and etcd's `--force-new-cluster`, which appends
/// the change of members to the log.
package struct RecoveryPlan: Equatable, Sendable {
    package enum Outcome: Equatable, Sendable {
        /// A majority of sound copies is there.
        case unchanged
        /// From the copy of this node.
        case goesOn(NodeID)
        /// Nobody has a sound copy: empty, on this node.
        case beginsEmpty(NodeID)
    }

    package struct Group: Equatable, Sendable {
        package var id: GroupID
        /// As the most complete copy knows them, or the placement table where there is none.
        package var members: [NodeID]
        /// The most complete copy.
        package var copy: SurvivingCopy?
        /// Who has a sound copy; sorted.
        package var holders: [NodeID]
        package var outcome: Outcome
    }

    /// In the order of their numbers.
    package let groups: [Group]
    package let survivors: [ClusterNode]
    package let lost: [ClusterNode]
    /// By the most complete copy of the control group.
    package let control: ControlState
    /// Of what is appended: far above what any lost node can have voted in.
    package let term: Term

    /// Elections that the lost may have held among themselves since the survivors last heard of them.
    static let termsAhead: Term = 1 << 20

    /// Partitions whose history may miss something.
    package var partitions: [PartitionID] { groups.filter { $0.outcome != .unchanged }.compactMap(\.id.partition) }
    package var isEmpty: Bool { groups.allSatisfy { $0.outcome == .unchanged } }

    /// - Parameters:
    ///   - reports: one of each survivor.
    ///   - names: of the nodes whose disks are gone for good; those that a recovery has given up already may be named
    ///     again.
    package init(reports: [SurvivorReport], lost names: [String]) throws(RecoveryRefusal) {
        let reports = reports.sorted { $0.node < $1.node }
        for (index, report) in reports.enumerated() {
            guard report.cluster == reports[0].cluster else {
                throw .foreignReport(report.name, cluster: report.cluster)
            }
            if index > 0, reports[index - 1].node == report.node { throw .twoReports(report.name) }
        }
        guard let newest = RecoveryPlan.mostComplete(.control, reports) else { throw .noControlGroup }
        let control = newest.report.control
        guard let table = control.placement else { throw .noControlGroup }
        for report in reports where control.member(report.node) == nil { throw .notMember(report.name) }
        for name in names {
            if reports.contains(where: { $0.name == name }) { throw .lostButReported(name) }
            guard control.member(named: name) != nil || control.formerNodes.contains(where: { $0.name == name }) else {
                throw .unknownNode(name, known: control.members.map(\.name).sorted())
            }
        }
        lost = control.members.filter { names.contains($0.name) }
        survivors = control.members.filter { !names.contains($0.name) }
        let unreported = survivors.filter { node in !reports.contains { $0.node == node.id } }.map(\.name).sorted()
        guard unreported.isEmpty else { throw .unreported(unreported) }
        self.control = control
        var groups: [Group] = []
        var highest: Term = 0
        for number in 0...(control.partitions + control.keyPartitions) {
            let id = GroupID(rawValue: UInt32(number))
            let best = RecoveryPlan.mostComplete(id, reports)
            let holders = reports.filter { report in report.copies.contains { $0.group == id && $0.isSound } }
            var group = Group(
                id: id,
                members: best?.copy.memberships.last?.members
                    ?? id.partition.map { table.replicas(of: $0).sorted() } ?? [],
                copy: best?.copy,
                holders: holders.map(\.node),
                outcome: .beginsEmpty(newest.report.node)
            )
            if let best {
                let hasMajority = best.copy.memberships.allSatisfy { $0.hasMajority(of: group.holders) }
                group.outcome = hasMajority ? .unchanged : .goesOn(best.report.node)
            }
            groups.append(group)
        }
        for copy in reports.flatMap(\.copies) { highest = max(highest, copy.term, copy.lastTerm) }
        if groups.contains(where: { $0.outcome != .unchanged }) { groups[0].outcome = .goesOn(newest.report.node) }
        self.groups = groups
        // A node ignores terms in the upper half.
        term = min(highest, Term.max / 4) + RecoveryPlan.termsAhead
    }

    private static func mostComplete(
        _ group: GroupID,
        _ reports: [SurvivorReport]
    ) -> (report: SurvivorReport, copy: SurvivingCopy)? {
        var best: (report: SurvivorReport, copy: SurvivingCopy)?
        for report in reports {
            guard let copy = report.copies.first(where: { $0.group == group && $0.isSound }) else { continue }
            if best.map({ $0.copy.isLessComplete(than: copy) }) ?? true { best = (report, copy) }
        }
        return best
    }

    // MARK: The rewrite

    /// What one node has to write: first nothing is left of `discarded`, then all `items` become true at once.
    package struct Rewrite: Sendable {
        package var discarded: [GroupID] = []
        package var items: [StorageRequest.Item] = []
    }

    /// - Parameter random: makes the rooms' new epochs.
    package func rewrite(
        of report: SurvivorReport,
        at time: Timestamp,
        random: inout Xoshiro256
    ) -> Rewrite {
        var rewrite = Rewrite()
        func discard(_ group: GroupID) {
            if report.copies.contains(where: { $0.group == group }) { rewrite.discarded.append(group) }
        }
        for group in groups {
            let last: LogIndex
            switch group.outcome {
            case .goesOn(report.node): last = group.copy?.lastIndex ?? 0
            case .beginsEmpty(report.node):
                last = 0
                discard(group.id)
            case .goesOn, .beginsEmpty:
                discard(group.id)
                continue
            case .unchanged: continue
            }
            var entries = [
                Entry(
                    term: term,
                    index: last + 1,
                    kind: .membership,
                    data: MembershipChange.recover(voters: [report.node]).encoded()
                )
            ]
            if let data = command(of: group.id, at: time, random: &random) {
                entries.append(Entry(term: term, index: last + 2, data: data))
            }
            let state = HardState(term: term, vote: report.node, commit: last + LogIndex(entries.count))
            rewrite.items.append(StorageRequest.Item(group: group.id, hardState: state, entries: entries))
        }
        return rewrite
    }

    private func command(of group: GroupID, at time: Timestamp, random: inout Xoshiro256) -> [UInt8]? {
        guard let partition = group.partition else {
            let recovery = QuorumRecovery(time: time, lost: lost.map(\.id), partitions: partitions)
            return ControlCommand.recover(recovery).encoded()
        }
        // Keys have no positions that a client could hold.
        guard Int(partition.rawValue) < control.partitions else { return nil }
        var batch = CommandBatchWriter(timestamp: time)
        batch.recover(epochSeed: random.next() | 1)
        return batch.bytes
    }
}

extension Membership {
    /// These nodes are enough to elect and to commit.
    fileprivate func hasMajority(of nodes: [NodeID]) -> Bool {
        [voters, outgoing].allSatisfy { half in
            half.isEmpty || half.count { nodes.contains($0) } > half.count / 2
        } && !voters.isEmpty
    }
}
