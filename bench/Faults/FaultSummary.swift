import HistoryChecker

/// Outcomes turned into a report.
struct FaultSummary {
    let outcomes: [FaultMatrix.Outcome]
    let logs: FaultMatrix.LogComparison

    /// One cell on one line, while others still run.
    static func line(_ outcome: FaultMatrix.Outcome) -> String {
        if let reason = outcome.reason { return "not run: \(reason)" }
        let publishers = percentile(99, of: outcome.silence.publishers).map(format) ?? "-"
        let subscribers = percentile(99, of: outcome.silence.subscribers).map(format) ?? "-"
        let served = outcome.rounds.compactMap(\.served).max().map(format) ?? "?"
        return "silence p99 \(publishers) ms at publishers, \(subscribers) ms at subscribers; "
            + "\(outcome.statistics.acknowledged) acknowledged, \(outcome.delivery.lost) lost, "
            + "\(outcome.delivery.duplicated) doubled, \(outcome.delivery.reordered) reordered; "
            + "victim's clients served after \(served) s; \(outcome.breaches.count) findings"
    }

    var measurements: [Measurement] {
        outcomes.map { outcome in
            if let reason = outcome.reason {
                return .notRun(scenario: outcome.cell.title, target: outcome.role.title, because: reason)
            }
            var line = Measurement(scenario: outcome.cell.title, target: outcome.role.title)
            line.rounds = outcome.rounds.count
            line.attempted = UInt64(outcome.attempted)
            line.failed = UInt64(outcome.attempted - outcome.statistics.acknowledged)
            line.silenceMilliseconds = outcome.silence.p99
            line.delivery = outcome.delivery
            line.remarks = "\(outcome.statistics.received) received"
            return line
        }
    }

    /// The cells that have a bound.
    var goals: [Goal] { silenceGoals + latencyGoals }

    private var silenceGoals: [Goal] {
        FaultCell.allCases.compactMap { cell in
            let runs = outcomes.filter { $0.cell == cell }
            guard let target = cell.target, !runs.isEmpty else { return nil }
            let silences = runs.filter { $0.reason == nil }.map(\.silence)
            let slowest = silences.compactMap(\.p99).max()
            return Goal(
                name: cell.title,
                required: "silence of clients at other nodes at most \(format(target)) ms, p99",
                limit: target,
                isMinimum: false,
                measured: slowest,
                remarks: slowest == nil ? "was not run" : "the slowest of \(silences.count) kinds of victims"
            )
        }
    }

    /// A move of replicas must not slow publishes down much.
    private var latencyGoals: [Goal] {
        ran.filter { $0.cell == .join }.map { outcome in
            let ratios = outcome.latencies.compactMap { $0 }.map { $0.during.p99 / max($0.before.p99, 0.001) }
            return Goal(
                name: outcome.cell.title,
                required: "publish latency p99 at most twice that before, times",
                limit: 2,
                isMinimum: false,
                measured: ratios.max(),
                remarks: ratios.isEmpty ? "was not run" : "the slowest of \(ratios.count) rounds"
            )
        }
    }

    /// What is wrong: nothing of it may be there. Targets that were missed are `goals`.
    var breaches: [String] {
        outcomes.flatMap(\.breaches) + (logs.isEqual ? [] : ["the nodes' logs differ: \(logs.text)"])
    }

    var details: [BenchmarkReport.Detail] { [silences, deliveries, takeovers, isolation, members, drains, comparison] }

    private var ran: [FaultMatrix.Outcome] { outcomes.filter { $0.reason == nil } }

    private var silences: BenchmarkReport.Detail {
        func figures(_ values: [Double]) -> [String] {
            [50, 99, 100].map { percentile($0, of: values).map(format) ?? "" }
        }
        func seconds(_ values: [Double?]) -> String {
            let found = values.compactMap { $0 }
            return found.count < values.count ? "never" : found.max().map(format) ?? ""
        }
        return BenchmarkReport.Detail(
            title: "Longest silence of each client at a healthy node, and the victim's way back",
            columns: [
                "fault", "victim", "publishers p50 ms", "p99 ms", "max ms", "subscribers p50 ms", "p99 ms", "max ms",
                "victim ready s", "its clients served s",
            ],
            rows: ran.map { outcome in
                [outcome.cell.title, outcome.role.title] + figures(outcome.silence.publishers)
                    + figures(outcome.silence.subscribers)
                    + [
                        seconds(outcome.rounds.map(\.ready)),
                        outcome.cell == .join ? "" : seconds(outcome.rounds.map(\.served)),
                    ]
            }
        )
    }

    private var deliveries: BenchmarkReport.Detail {
        BenchmarkReport.Detail(
            title: "What the checker found",
            columns: [
                "fault", "victim", "sent", "acknowledged", "received", "lost", "duplicated", "reordered",
                "acknowledged without a majority",
            ],
            rows: ran.map { outcome in
                [
                    outcome.cell.title, outcome.role.title, "\(outcome.attempted)",
                    "\(outcome.statistics.acknowledged)", "\(outcome.statistics.received)",
                    "\(outcome.delivery.lost)", "\(outcome.delivery.duplicated)", "\(outcome.delivery.reordered)",
                    "\(outcome.wronglyAcknowledged)",
                ]
            }
        )
    }

    private var takeovers: BenchmarkReport.Detail {
        BenchmarkReport.Detail(
            title: "Ownerships won, and what the other nodes recorded, most of any round",
            columns: [
                "fault", "victim", "in the first 60 % of the fault", "in the rest", "after it", "suspicions",
                "heard again", "takeovers", "slowest takeover ms", "partitions without owner",
            ],
            rows: ran.map { outcome in
                func most(_ value: (FaultRound.Result) -> Int) -> String { "\(outcome.rounds.map(value).max() ?? 0)" }
                return [
                    outcome.cell.title, outcome.role.title, most { Int($0.early) }, most { Int($0.late) },
                    most { Int($0.after) }, most(\.incidents.suspected), most(\.incidents.heardAgain),
                    most(\.incidents.takeovers), most(\.incidents.slowestTakeover), most(\.incidents.quorumLost),
                ]
            }
        )
    }

    private var isolation: BenchmarkReport.Detail {
        var rows: [[String]] = []
        for outcome in ran {
            for case let finding? in outcome.rounds.map(\.isolation) {
                rows.append([
                    outcome.cell.title, outcome.role.title, finding.degradedAfter.map(format) ?? "never",
                    "\(finding.acknowledged)", "\(finding.refusedForNow)", "\(finding.refusedForGood)",
                    "\(finding.unanswered)", format(finding.slowestRefusal),
                    "\(finding.bestEffortDelivered) of \(finding.bestEffortRooms)",
                ])
            }
        }
        return BenchmarkReport.Detail(
            title: "The isolated node and its own clients",
            columns: [
                "fault", "victim", "degraded after s", "guaranteed: acknowledged", "refused for now",
                "refused for good", "not answered", "slowest refusal ms", "best-effort rooms that work",
            ],
            rows: rows
        )
    }

    private var members: BenchmarkReport.Detail {
        var rows: [[String]] = []
        for outcome in ran {
            for (turn, round) in outcome.rounds.enumerated() {
                guard let change = round.placement else { continue }
                let latency = outcome.latencies[turn]
                rows.append([
                    outcome.cell.title, outcome.role.title, format(change.seconds),
                    "\(change.moved) of \(change.replicas)", "\(format(change.share * 100)) %",
                    format(change.mostToMean), latency.map { format($0.before.p99) } ?? "",
                    latency.map { format($0.during.p99) } ?? "",
                ])
            }
        }
        return BenchmarkReport.Detail(
            title: "What a change of members moved, round by round",
            columns: [
                "change", "node", "took s", "replicas that moved", "share", "most replicas of a node to the mean",
                "publish p99 before ms", "during ms",
            ],
            rows: rows
        )
    }

    private var drains: BenchmarkReport.Detail {
        var rows: [[String]] = []
        for outcome in ran {
            for case let drain? in outcome.rounds.map(\.drain) {
                rows.append([
                    outcome.cell.title, outcome.role.title, "\(drain.elapsedMilliseconds)", "\(drain.moved)",
                    "\(drain.cut)",
                ])
            }
        }
        return BenchmarkReport.Detail(
            title: "Drains",
            columns: ["cell", "victim", "empty after ms", "clients that went when told", "clients cut off"],
            rows: rows
        )
    }

    private var comparison: BenchmarkReport.Detail {
        BenchmarkReport.Detail(
            title: "The nodes' logs after it all",
            columns: ["vencejo log compare"],
            rows: [[logs.text]]
        )
    }
}
