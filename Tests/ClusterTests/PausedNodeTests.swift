import Admin
import Foundation
import HistoryChecker
import Primitives
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    @Suite struct PausedNodeTests {
        @Test("CL-07 an owner that was stopped for 5 s is fenced, and nothing is lost", .timeLimit(.minutes(5)))
        func pausedOwner() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                let room = "fence:room"
                let recorder = Recorder()
                let owner = try #require(await cluster.owner(of: room))
                let partition = cluster.partition(of: room)
                let before = try await cluster.status(owner).partitions.first { $0.id == partition }
                let survivor = (owner + 1) % 3
                let isStopped = Shared(false)
                let stopped: @Sendable () -> Bool = { isStopped.value }

                let reader = try await cluster.client(survivor, alone: true) {
                    $0.duplicateWindow = DuplicateWindow(capacity: 1, lifetime: .zero)
                }
                let follower = Task { await recorder.follow(reader, room: room, process: 100) }
                // One publisher at a survivor, one that only knows the node that stops.
                var writers: [Task<Void, Never>] = []
                let messages = Shared<UInt64>(0)
                for (row, index) in [survivor, owner].enumerated() {
                    let writer = try await cluster.client(index, alone: true) { $0.requestMilliseconds = 2000 }
                    writers.append(
                        Task {
                            var sequence: UInt64 = 0
                            while !stopped() {
                                sequence += 1
                                await recorder.publish(
                                    writer,
                                    room: room,
                                    process: UInt32(row + 1),
                                    sequence: sequence,
                                    message: messages.next(),
                                    giveUp: { false }
                                )
                                try? await Task.sleep(for: .milliseconds(5))
                            }
                            await writer.close()
                        }
                    )
                }
                try await Task.sleep(for: .seconds(1))
                cluster.pause(owner)
                let acknowledged = recorder.acknowledged(in: room)
                try await Task.sleep(for: .seconds(5))
                #expect(recorder.acknowledged(in: room) > acknowledged, "the majority goes on")
                let successor = await cluster.owner(of: room, asking: cluster.nodes.indices.filter { $0 != owner })
                #expect(successor != nil && successor != owner)
                cluster.resume(owner)
                try await cluster.awaitReady()
                // The old owner has learnt the new term: whatever it still held was refused by it.
                let isFenced = try await eventually(within: 30) {
                    let row = try await cluster.status(owner).partitions.first { $0.id == partition }
                    return (row?.term ?? 0) > (before?.term ?? 0)
                }
                #expect(isFenced)
                try await Task.sleep(for: .seconds(1))
                isStopped.change { $0 = true }
                for writer in writers { await writer.value }

                var logs = FinalLogs()
                for index in cluster.nodes.indices {
                    let client = try await cluster.client(index, alone: true)
                    logs.logs.append(try await recorder.read(client, room: room, replica: UInt64(index + 1)))
                    await client.close()
                }
                let head = logs.logs[0].head
                let isComplete = try await eventually(within: 30) { recorder.last(of: 100) >= head }
                #expect(isComplete)
                await reader.close()
                await follower.value
                let report = ChaosTests.check(recorder, logs)
                #expect(report.isValid, "\(report.violations.prefix(10))")
                #expect(recorder.failures == [])
            }
        }

        @Test(
            """
            CL-09 CL-21 with two of three nodes stopped the third is degraded: it refuses guaranteed publishes for now \
            and delivers best effort, and it heals
            """,
            .timeLimit(.minutes(5))
        )
        func lostQuorum() async throws {
            try await ProcessCluster.run { cluster in
                try await cluster.startAndAwaitReady()
                let client = try await cluster.client(0, alone: true) { $0.requestMilliseconds = 20_000 }
                let acknowledged = try await client.publish("quorum:room", Array("1".utf8))
                cluster.pause(1)
                cluster.pause(2)
                let isDegraded = try await eventually(within: 30) { try await cluster.status(0).degraded }
                #expect(isDegraded)
                #expect(try await cluster.admin(0).get("/health/ready").status == 503)

                // Every partition, so that it does not matter who owned which.
                for number in 0..<8 {
                    do {
                        let receipt = try await client.publish("quorum:\(number)", Array("2".utf8))
                        Issue.record("acknowledged without a quorum: \(receipt)")
                    } catch let failure as ClientFailure {
                        guard case .server(_, let message, let isTemporary) = failure else {
                            Issue.record("not an answer: \(failure)")
                            continue
                        }
                        #expect(isTemporary, "\(message)")
                    }
                }
                let received = Shared<[String]>([])
                for number in 0..<4 {
                    let room = "best:\(number)"
                    let events = client.subscribe(room)
                    Task {
                        for await case .message(let message) in events {
                            received.change { $0.append(String(decoding: message.data, as: UTF8.self)) }
                        }
                    }
                }
                let isLocal = try await eventually(within: 20) {
                    for number in 0..<4 { _ = try? await client.publish("best:\(number)", Array("\(number)".utf8)) }
                    return Set(received.value).count == 4
                }
                #expect(isLocal, "best effort on the node itself: \(received.value)")

                cluster.resume(1)
                cluster.resume(2)
                try await cluster.awaitReady()
                #expect(try await cluster.status(0).degraded == false)
                let healed = try await client.publish("quorum:room", Array("3".utf8))
                let history = try await client.history("quorum:room")
                #expect(healed.position?.epoch == acknowledged.position?.epoch)
                let kept = history.messages.map { String(decoding: $0.data, as: UTF8.self) }
                #expect(kept.first == "1")
                #expect(kept.last == "3")
                await client.close()
            }
        }
    }
}
