import Admin
import Broker
import Locks
import PeerProtocol
import Primitives

/// What operators ask of the control group by the admin port, in names instead of identities.
struct NodeControl: Sendable {
    let node: NodeRuntime

    func run(_ command: String, _ parameters: [String: String]) async -> CommandOutcome {
        switch request(command, parameters) {
        case .failure(let refusal): return .invalid(refusal.reason)
        case .success(let request): return outcome(await node.requestControl(request))
        }
    }

    private struct Refusal: Error { var reason: String }

    private func request(_ command: String, _ parameters: [String: String]) -> Result<ControlRequest, Refusal> {
        if command == "rebalance" { return .success(parameters["dry-run"] == nil ? .rebalance : .plan) }
        guard let name = parameters["node"] else { return .failure(Refusal(reason: "which node? node=n2")) }
        let members = node.members.withLock { $0.nodes }
        guard let id = members.first(where: { $0.name == name })?.id else {
            let known = members.map(\.name).sorted().joined(separator: ", ")
            return .failure(Refusal(reason: "\(name) is not a node of this cluster, which has \(known)"))
        }
        switch command {
        case "move":
            guard let number = parameters["partition"].flatMap({ UInt32($0) }) else {
                return .failure(Refusal(reason: "which partition? partition=3"))
            }
            return .success(.move(PartitionID(number), id))
        case "weight":
            guard let weight = parameters["weight"].flatMap({ UInt8($0) }), (1...100).contains(weight) else {
                return .failure(Refusal(reason: "weight must be 1 to 100"))
            }
            return .success(.setWeight(id, weight))
        case "leave": return .success(.setLeaving(id, true))
        case "stay": return .success(.setLeaving(id, false))
        default: return .success(.forget(id))
        }
    }

    private func outcome(_ reply: ControlReply) -> CommandOutcome {
        switch reply {
        case .accepted: return .done(#"{"state":"accepted"}"#)
        case .refused(let reason): return .refused(reason)
        case .unavailable(let reason): return .unavailable(reason)
        case .notMember: return .refused("it is not a node of this cluster any more")
        case .plan(let moves):
            let report = PlacementPlan(
                moves: moves.map { move in
                    PlacementPlan.Move(
                        partition: Int(move.partition.rawValue),
                        from: move.from.map(node.name(of:)),
                        to: move.to.map(node.name(of:))
                    )
                }
            )
            return .done(report.json())
        }
    }
}
