import Primitives
import Raft

// The words of the scripts' traces.
extension TestCluster {
    func describe(_ write: Write) -> String {
        var parts: [String] = []
        if let hard = write.hardState {
            parts.append("term \(hard.term) vote \(hard.vote.map { "\($0)" } ?? "-") commit \(hard.commit)")
        }
        if !write.entries.isEmpty { parts.append(describe(write.entries)) }
        if parts.isEmpty { parts.append("nothing, in line") }
        return parts.joined(separator: " ")
    }

    /// One line about a replica, and one for each member that it sends to when it leads.
    func statusLines(_ position: Int) -> [String] {
        let replica = replicas[position]
        guard let status = replica.node?.status() else { return ["\(replica.id) down"] }
        var line = "\(status.id) \(status.role) term \(status.term) vote \(status.vote.map { "\($0)" } ?? "-")"
        line += " leader \(status.leader.map { "\($0)" } ?? "-") log \(status.firstIndex)...\(status.lastIndex)"
        line += " stable \(status.stableIndex) commit \(status.commitIndex) applied \(status.appliedIndex)"
        line += " \(describe(status.membership))\(status.isFaulty ? " faulty" : "")"
        line += status.transferTarget.map { " transferring to \($0)" } ?? ""
        return [line]
            + status.peers.filter { $0.id != status.id }.map { peer in
                "  \(peer.id) \(peer.state)\(peer.isLearner ? " learner" : "") match \(peer.match) next \(peer.next)"
                    + " in flight \(peer.inflightMessages)\(peer.isRecentlyActive ? "" : " silent")"
            }
    }

    func describe(_ entries: [Entry]) -> String { "[" + entries.map(describe).joined(separator: ", ") + "]" }

    func describe(_ entry: Entry) -> String {
        switch entry.kind {
        case .noop: return "\(entry.index)/\(entry.term) no-op"
        case .membership: return "\(entry.index)/\(entry.term) membership"
        case .command:
            let text = entry.data.count > 12 ? "\(entry.data.count) bytes" : String(decoding: entry.data, as: UTF8.self)
            return "\(entry.index)/\(entry.term) \(text)"
        }
    }

    func describe(_ membership: Membership) -> String {
        func list(_ ids: [NodeID]) -> String { ids.map { "\($0)" }.joined(separator: ",") }
        var text = "voters \(list(membership.voters))"
        if membership.isJoint { text += " outgoing \(list(membership.outgoing))" }
        if !membership.learners.isEmpty { text += " learners \(list(membership.learners))" }
        return text
    }

    func describe(_ message: RaftMessage) -> String {
        let term = "term \(message.term)"
        switch message.body {
        case .preVote(let request): return "pre-vote \(term) last \(request.lastIndex)/\(request.lastTerm)"
        case .preVoteReply(let granted): return "pre-vote reply \(term) \(granted ? "granted" : "refused")"
        case .vote(let request):
            return "vote \(term) last \(request.lastIndex)/\(request.lastTerm)\(request.isTransfer ? " transfer" : "")"
        case .voteReply(let granted): return "vote reply \(term) \(granted ? "granted" : "refused")"
        case .append(let request):
            return "append \(term) after \(request.previousIndex)/\(request.previousTerm) commit \(request.commit)"
                + (request.entries.isEmpty ? "" : " " + describe(request.entries))
        case .appendReply(let reply):
            return reply.rejected
                ? "append reply \(term) rejected \(reply.index) hint \(reply.hintIndex)/\(reply.hintTerm)"
                : "append reply \(term) to \(reply.index)"
        case .heartbeat(let commit, let context):
            return "heartbeat \(term) commit \(commit)" + (context > 0 ? " round \(context)" : "")
        case .heartbeatReply(let context):
            return "heartbeat reply \(term)" + (context > 0 ? " round \(context)" : "")
        case .snapshot(let descriptor): return "snapshot \(term) \(descriptor.index)/\(descriptor.term)"
        case .timeoutNow: return "timeout now \(term)"
        }
    }
}
