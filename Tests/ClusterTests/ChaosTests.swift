import Admin
import Foundation
import HistoryChecker
import Primitives
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    @Suite struct ChaosTests {
        /// How long owners are killed: `VENCEJO_CHAOS_SECONDS`, else 60.
        static let seconds = Double(ProcessInfo.processInfo.environment["VENCEJO_CHAOS_SECONDS"] ?? "") ?? 60

        private static let rooms = ["chaos:a", "chaos:b", "chaos:c", "chaos:d"]

        @Test(
            """
            P-04 DL-02 DL-06 DL-11 DL-14 CL-04 CL-06 CL-11 CL-12 CL-13 owners are killed in turn and nothing \
            acknowledged is lost, repeated or reordered
            """,
            .timeLimit(.minutes(15))
        )
        func killOwners() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                let recorder = Recorder()
                let isStopped = Shared(false)
                let isDone = Shared(false)
                let stopped: @Sendable () -> Bool = { isStopped.value }
                let done: @Sendable () -> Bool = { isDone.value }
                var followers: [Task<Void, Never>] = []
                var publishers: [Task<Void, Never>] = []
                var clients: [VencejoClient] = []
                var sessions: [(process: UInt32, room: String)] = []
                let messages = Shared<UInt64>(0)

                for index in cluster.nodes.indices {
                    // No window: a repeat on the wire must reach the checker.
                    let reader = try await cluster.client(index) {
                        $0.duplicateWindow = DuplicateWindow(capacity: 1, lifetime: .zero)
                    }
                    clients.append(reader)
                    for (row, room) in Self.rooms.enumerated() {
                        let process = UInt32(1000 + index * 100 + row)
                        sessions.append((process, room))
                        followers.append(Task { await recorder.follow(reader, room: room, process: process) })
                    }
                    for lane in 0..<2 {
                        let writer = try await cluster.client(index) { $0.requestMilliseconds = 3000 }
                        clients.append(writer)
                        let process = UInt32(1 + index * 2 + lane)
                        let room = Self.rooms[(index * 2 + lane) % Self.rooms.count]
                        publishers.append(
                            Task {
                                var sequence: UInt64 = 0
                                while !stopped() {
                                    sequence += 1
                                    let message = messages.next()
                                    await recorder.publish(
                                        writer,
                                        room: room,
                                        process: process,
                                        sequence: sequence,
                                        message: message,
                                        giveUp: done
                                    )
                                    try? await Task.sleep(for: .milliseconds(5))
                                }
                            }
                        )
                    }
                }

                let kills = try await Self.killInTurn(cluster, recorder)
                isStopped.change { $0 = true }
                let alarm = Task {
                    try await Task.sleep(for: .seconds(60))
                    isDone.change { $0 = true }
                }
                for publisher in publishers { await publisher.value }
                alarm.cancel()

                var logs = FinalLogs()
                var events: [StatusReport.Event] = []
                for index in cluster.nodes.indices {
                    let client = try await cluster.client(index, alone: true)
                    for room in Self.rooms {
                        logs.logs.append(try await recorder.read(client, room: room, replica: UInt64(index + 1)))
                    }
                    await client.close()
                    events += try await cluster.status(index).events
                }
                // CL-13: who took over, in which term, after how long. The one that was killed last has none yet.
                let failovers = events.filter { $0.kind == "owner" && $0.text.contains(" ms after ") }
                #expect(failovers.contains { $0.text.contains("in term") && $0.time > 0 }, "\(events.suffix(9))")
                for session in sessions {
                    let number = recorder.history.rooms.names.firstIndex(of: session.room).map { UInt32($0 + 1) }
                    let head = logs.logs.first { $0.room == number }?.head ?? 0
                    let isComplete = try await eventually(within: 60) { recorder.last(of: session.process) >= head }
                    #expect(isComplete, "session \(session.process) stays at \(recorder.last(of: session.process))")
                }
                for client in clients { await client.close() }
                for follower in followers { await follower.value }

                let report = Self.check(recorder, logs)
                Self.print(report, kills)
                if kills.contains(where: { $0.recovery > 10 || $0.silence > 5 }) { cluster.printLogs(60) }
                #expect(kills.count >= 1)
                #expect(report.isValid, "\(report.violations.prefix(10))")
                #expect(recorder.failures == [])
                #expect(report.statistics.acknowledged > 100)
                #expect(report.statistics.unknownOutcome == 0, "every publish was acknowledged in the end")
                for kill in kills { #expect(kill.silence < 60, "CL-04 \(kill)") }
            }
        }

        struct Kill: CustomStringConvertible {
            var node: String
            var successor: String
            /// Seconds from the kill until a survivor names another owner, and until the node was ready again.
            var silence: Double
            var recovery: Double
            var description: String {
                "\(node) -> \(successor) after \(Int(silence * 1000)) ms, back after \(Int(recovery * 1000)) ms"
            }
        }

        private static func killInTurn(_ cluster: ProcessCluster, _ recorder: Recorder) async throws -> [Kill] {
            var kills: [Kill] = []
            let clock = ContinuousClock()
            let end = clock.now + .seconds(seconds)
            try await Task.sleep(for: .seconds(2))
            while clock.now < end {
                let room = rooms[kills.count % rooms.count]
                guard let victim = await cluster.owner(of: room) else {
                    throw ClusterFailure("nobody owns \(room)")
                }
                let others = cluster.nodes.indices.filter { $0 != victim }
                let began = Recorder.now()
                await cluster.kill(victim)
                var successor: Int?
                let isOwned = try await eventually(within: 60) {
                    successor = await cluster.owner(of: room, asking: others)
                    return successor != nil && successor != victim
                }
                guard isOwned, let successor else { throw ClusterFailure("\(room) stays without an owner") }
                let silence = (Recorder.now() - began).seconds
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...2000)))
                try cluster.start(victim)
                try await cluster.awaitReady()
                recorder.fault(victim + 1, 1, from: began)
                let recovery = (Recorder.now() - began).seconds
                kills.append(
                    Kill(
                        node: cluster.nodes[victim].id,
                        successor: cluster.nodes[successor].id,
                        silence: silence,
                        recovery: recovery
                    )
                )
                try await Task.sleep(for: .milliseconds(Int.random(in: 200...1500)))
            }
            return kills
        }

        static func check(_ recorder: Recorder, _ logs: FinalLogs) -> CheckReport {
            var options = CheckOptions()
            options.gapPolicy = .belowFloor
            options.sessionsReadToEnd = true
            options.maximumSilence = .seconds(60)
            return HistoryChecker.check(recorder.history, finalLogs: logs, options: options)
        }

        static func print(_ report: CheckReport, _ kills: [Kill]) {
            let statistics = report.statistics
            let silence = statistics.silences.map(\.length.milliseconds).max() ?? 0
            Swift.print(
                """
                chaos: \(kills.count) kills, \(statistics.acknowledged) acknowledged, \(statistics.received) received, \
                \(statistics.redelivered) redelivered, \(statistics.declaredGaps) gaps, longest silence of a room \
                \(silence) ms, worst lag of a session \(statistics.worstRealTimeLag.milliseconds) ms
                """
            )
            for kill in kills { Swift.print("chaos: \(kill)") }
        }
    }
}
