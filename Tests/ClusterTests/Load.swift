import Foundation
import HistoryChecker
import Primitives
import VencejoClient

@testable import vencejo

/// Publishers and subscribers at every node, for as long as a test needs them, and the checker's verdict.
final class Load: Sendable {
    let recorder = Recorder()
    private let cluster: ProcessCluster
    private let rooms: [String]
    private let isStopped = Shared(false)
    private let isDone = Shared(false)
    private let messages = Shared<UInt64>(0)
    private let clients = Shared<[VencejoClient]>([])
    private let publishers = Shared<[Task<Void, Never>]>([])
    private let followers = Shared<[Task<Void, Never>]>([])
    private let sessions = Shared<[(process: UInt32, room: String)]>([])

    private init(_ cluster: ProcessCluster, _ rooms: [String]) {
        self.cluster = cluster
        self.rooms = rooms
    }

    /// For each node a client that is subscribed to all rooms and, at the nodes `writersAt` (all), one publisher for
    /// each room. Clients whose node sends them away go on at another one. `at`: these nodes only.
    static func start(
        _ cluster: ProcessCluster,
        _ rooms: [String],
        at indices: [Int]? = nil,
        writersAt: [Int]? = nil
    ) async throws -> Load {
        let load = Load(cluster, rooms)
        for index in indices ?? Array(cluster.nodes.indices) {
            // No window: a repeat on the wire must reach the checker.
            let reader = try await cluster.client(index) {
                $0.duplicateWindow = DuplicateWindow(capacity: 1, lifetime: .zero)
            }
            load.clients.change { $0.append(reader) }
            for (row, room) in rooms.enumerated() {
                let process = UInt32(1000 + index * 100 + row)
                load.sessions.change { $0.append((process, room)) }
                let recorder = load.recorder
                load.followers.change {
                    $0.append(Task { await recorder.follow(reader, room: room, process: process) })
                }
                guard writersAt?.contains(index) ?? true else { continue }
                let writer = try await cluster.client(index) { $0.requestMilliseconds = 3000 }
                load.clients.change { $0.append(writer) }
                let lane = UInt32(1 + index * rooms.count + row)
                load.publishers.change { $0.append(Task { await load.publish(writer, room, process: lane) }) }
            }
        }
        return load
    }

    private func publish(_ writer: VencejoClient, _ room: String, process: UInt32) async {
        let done = isDone
        var sequence: UInt64 = 0
        while !isStopped.value {
            sequence += 1
            await recorder.publish(
                writer,
                room: room,
                process: process,
                sequence: sequence,
                message: messages.next(),
                giveUp: { done.value }
            )
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Publishes acknowledged so far.
    var acknowledged: Int { rooms.map { recorder.acknowledged(in: $0) }.reduce(0, +) }

    /// Ends everything without a verdict: the cluster is gone.
    func abandon() async {
        isStopped.change { $0 = true }
        isDone.change { $0 = true }
        for client in clients.value { await client.close() }
        for task in publishers.value + followers.value { await task.value }
    }

    /// Ends the publishers, lets every subscriber read to the end, and checks all that happened.
    func finish() async throws -> CheckReport {
        isStopped.change { $0 = true }
        let done = isDone
        let alarm = Task {
            try await Task.sleep(for: .seconds(60))
            done.change { $0 = true }
        }
        for publisher in publishers.value { await publisher.value }
        alarm.cancel()
        var logs = FinalLogs()
        for index in cluster.nodes.indices where cluster.child(index) != nil {
            let client = try await cluster.client(index, alone: true)
            for room in rooms {
                logs.logs.append(try await recorder.read(client, room: room, replica: UInt64(index + 1)))
            }
            await client.close()
        }
        for session in sessions.value {
            let number = recorder.history.rooms.names.firstIndex(of: session.room).map { UInt32($0 + 1) }
            let head = logs.logs.first { $0.room == number }?.head ?? 0
            let isComplete = try await eventually(within: 60) { recorder.last(of: session.process) >= head }
            let last = recorder.last(of: session.process)
            if !isComplete { recorder.note("session \(session.process) stays at \(last)") }
        }
        for client in clients.value { await client.close() }
        for follower in followers.value { await follower.value }
        var options = CheckOptions()
        options.gapPolicy = .belowFloor
        options.sessionsReadToEnd = true
        options.maximumSilence = .seconds(60)
        return HistoryChecker.check(recorder.history, finalLogs: logs, options: options)
    }

    /// One line for the test's output.
    static func summary(_ report: CheckReport) -> String {
        let statistics = report.statistics
        let silence = statistics.silences.map(\.length.milliseconds).max() ?? 0
        return "\(statistics.acknowledged) acknowledged, \(statistics.received) received, "
            + "\(statistics.redelivered) redelivered, \(statistics.declaredGaps) gaps, longest silence of a room "
            + "\(silence) ms"
    }
}
