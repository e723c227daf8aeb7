/// What is compared.
enum CompareTarget: String, CaseIterable, Codable {
    case cluster
    case redisMode = "redis-mode"
    case redis

    /// As reports name it; "redis" is the name that ratios look for.
    var label: String {
        switch self {
        case .cluster: "cluster mode"
        case .redisMode: "redis mode"
        case .redis: "redis"
        }
    }

    /// Needs redis-server.
    var needsRedis: Bool { self != .cluster }
}

enum CompareWorkload: String, CaseIterable {
    case fanOut = "fan-out"
    case guaranteed
    case resumeStorm = "resume-storm"
    case failover

    /// Why a target cannot be given this work; nil when it can.
    func isImpossible(_ target: CompareTarget) -> String? {
        self == .guaranteed && target == .redis ? "Pub/Sub keeps nothing: there is nothing to acknowledge" : nil
    }
}

/// How much of everything.
struct CompareSize: Equatable {
    var rounds: Int
    /// Of guaranteed rooms: the disk makes them differ more than others.
    var guaranteedRounds: Int
    var seconds: Double
    var subscribers: Int
    var inFlight: [Int]
    /// Of guaranteed rooms.
    var publishers = 24
    var storm: ResumeStormSize
    var stormRounds: Int
    var kills: Int
    var redisKills: Int

    struct ResumeStormSize: Equatable {
        var clients = 1000
        var rooms = 10
        var missed = 50
    }

    static let full = CompareSize(
        rounds: 7,
        guaranteedRounds: 11,
        seconds: 4,
        subscribers: 1000,
        inFlight: [1, 64],
        storm: ResumeStormSize(),
        stormRounds: 7,
        kills: 12,
        redisKills: 4
    )
    static let quick = CompareSize(
        rounds: 5,
        guaranteedRounds: 7,
        seconds: 2,
        subscribers: 1000,
        inFlight: [64],
        storm: ResumeStormSize(),
        stormRounds: 5,
        kills: 6,
        redisKills: 2
    )
}

/// The order of the runs. Targets alternate within each round, and each round begins with another target, so that
/// neither a slow spell of the machine nor a place in the order belongs to one of them.
struct CompareSchedule: Equatable {
    struct Step: Equatable {
        var workload: CompareWorkload
        var target: CompareTarget
        var round: Int
        /// Of fan-out.
        var inFlight = 0
    }

    var steps: [Step] = []

    init(workloads: [CompareWorkload], targets: [CompareTarget], size: CompareSize) {
        for workload in CompareWorkload.allCases where workloads.contains(workload) {
            let able = targets.filter { workload.isImpossible($0) == nil }
            switch workload {
            case .fanOut:
                for depth in size.inFlight { alternate(workload, able, rounds: size.rounds, inFlight: depth) }
            case .guaranteed: alternate(workload, able, rounds: size.guaranteedRounds)
            case .resumeStorm: alternate(workload, able, rounds: size.stormRounds)
            case .failover: spread(size, able)
            }
        }
    }

    private mutating func alternate(
        _ workload: CompareWorkload,
        _ targets: [CompareTarget],
        rounds: Int,
        inFlight: Int = 0
    ) {
        for round in 0..<rounds {
            for index in targets.indices {
                let target = targets[(index + round) % targets.count]
                steps.append(Step(workload: workload, target: target, round: round, inFlight: inFlight))
            }
        }
    }

    /// A kill of Redis's master serves Redis mode and Redis itself; it takes long, and is rarer, so the owners' kills
    /// are spread around it.
    private mutating func spread(_ size: CompareSize, _ targets: [CompareTarget]) {
        let masters = targets.contains(.redisMode) ? size.redisKills : 0
        let owners = targets.contains(.cluster) ? size.kills : 0
        var (master, owner) = (0, 0)
        while master < masters || owner < owners {
            // Whichever is further behind its share; owners first.
            if owner < owners, master >= masters || owner * masters <= master * owners {
                steps.append(Step(workload: .failover, target: .cluster, round: owner))
                owner += 1
            } else {
                steps.append(Step(workload: .failover, target: .redisMode, round: master))
                master += 1
            }
        }
    }
}
