/// What is done to the victim.
enum FaultCell: String, CaseIterable, Sendable {
    case kill
    case stop
    case blackhole
    case sendOnly = "send-only"
    case receiveOnly = "receive-only"
    case pair
    case split
    case flap
    case loss
    case slowDisk = "slow-disk"
    case fullDisk = "full-disk"
    case rolling
    case drain
    case leave
    case join

    static let names = allCases.map(\.rawValue).joined(separator: ", ")

    var title: String {
        switch self {
        case .kill: "kill -9, restart after 2 s"
        case .stop: "SIGSTOP 10 s"
        case .blackhole: "blackhole both ways 6 s"
        case .sendOnly: "send only 8 s"
        case .receiveOnly: "receive only 8 s"
        case .pair: "one pair cut 8 s"
        case .split: "split into two sides 6 s"
        case .flap: "link down and up every 300 ms, 10 s"
        case .loss: "20 % loss 10 s"
        case .slowDisk: "slow disk 8 s"
        case .fullDisk: "full disk 8 s"
        case .rolling: "rolling restart"
        case .drain: "drained, and back after 2 s"
        case .leave: "leaves, and a fresh node comes"
        case .join: "a sixth node joins"
        }
    }

    /// How long the fault lasts.
    var seconds: Double {
        switch self {
        case .kill, .drain: 2
        case .blackhole, .split: 6
        case .sendOnly, .receiveOnly, .pair, .slowDisk, .fullDisk: 8
        case .stop, .flap, .loss: 10
        case .rolling, .leave, .join: 0
        }
    }

    /// The longest silence that is allowed, in milliseconds at the 99th percentile; nil: it is only reported.
    var target: Double? {
        switch self {
        case .kill: 1000
        case .blackhole: 1500
        case .rolling, .drain: 200
        default: nil
        }
    }

    /// Nobody is cut off: what clients of the node itself notice counts too.
    var isOrderly: Bool { [.rolling, .drain, .leave, .join].contains(self) }

    /// Clients that are told to go connect to the next node, and stay there.
    var movesClients: Bool { self == .drain || self == .leave }

    var needsDisks: Bool { self == .slowDisk || self == .fullDisk }

    /// Why it cannot be run here; nil when it can.
    var isMissing: String? {
        switch self {
        case .kill, .stop, .flap, .rolling, .drain, .leave, .join, .fullDisk: nil
        case .blackhole, .sendOnly, .receiveOnly, .pair, .split, .loss: FaultNetwork.dropIsMissing
        case .slowDisk: FaultDisks.slownessIsMissing
        }
    }

    /// The nodes that are on the victim's side of the fault.
    func side(of victim: Int, nodes: Int) -> [Int] {
        switch self {
        case .split: (0..<max(1, (nodes - 1) / 2)).map { (victim + $0) % nodes }
        case .pair: [victim, (victim + 1) % nodes]
        default: [victim]
        }
    }

    /// What the network loses meanwhile.
    func drops(victim: Int, nodes: Int) -> [FaultNetwork.Drop] {
        let side = side(of: victim, nodes: nodes)
        let others = (0..<nodes).filter { $0 != victim }
        switch self {
        case .blackhole: return FaultNetwork.cut([victim], from: others)
        case .sendOnly: return others.map { FaultNetwork.Drop(from: $0, to: victim) }
        case .receiveOnly: return others.map { FaultNetwork.Drop(from: victim, to: $0) }
        case .pair: return FaultNetwork.cut([side[0]], from: [side[1]])
        case .split: return FaultNetwork.cut(side, from: (0..<nodes).filter { !side.contains($0) })
        case .loss: return FaultNetwork.cut([victim], from: others, percent: 20)
        case .kill, .stop, .flap, .slowDisk, .fullDisk, .rolling, .drain, .leave, .join: return []
        }
    }
}

/// Whom it is done to.
enum FaultVictim: String, CaseIterable, Sendable {
    /// Owns the partition of a measured room.
    case owner
    /// Has a replica of it.
    case follower
    /// Leads the control group.
    case control
    /// A node more than there were.
    case newcomer

    static let choices: [FaultVictim] = [.owner, .follower, .control]
    static let names = choices.map(\.rawValue).joined(separator: ", ")

    var title: String { self == .control ? "control leader" : rawValue }
}
