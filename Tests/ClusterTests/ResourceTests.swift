import Admin
import Foundation
import Glibc
import Primitives
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    @Suite struct ResourceTests {
        private static func standalone() -> ProcessCluster.Options {
            var options = ProcessCluster.Options()
            options.nodes = 1
            options.mode = "standalone"
            return options
        }

        private static func descriptors(_ pid: pid_t) -> Int {
            (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count) ?? -1
        }

        private static func residentBytes(_ pid: pid_t) -> Int {
            let text = (try? String(contentsOfFile: "/proc/\(pid)/statm", encoding: .utf8)) ?? ""
            let pages = text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
            return pages * Int(getpagesize())
        }

        @Test(
            "GW-05 after 10,000 connections have come and gone, descriptors, memory and counts are as before",
            .timeLimit(.minutes(10))
        )
        func openAndClose() async throws {
            try await ProcessCluster.run(Self.standalone()) { cluster in
                try await cluster.startAndAwaitReady()
                let pid = try #require(cluster.child(0)?.pid)
                func round() async throws {
                    let sockets = try (0..<100).map { _ in
                        try PlainSocket.connect(cluster.nodes[0].gateway, "/ws?room=come:\(Int.random(in: 0..<50))")
                    }
                    #expect(sockets.allSatisfy { $0.status == 101 })
                    for socket in sockets { socket.close() }
                }
                // The first ones make the tables and pools that stay.
                for _ in 0..<10 { try await round() }
                _ = try await eventually(within: 20) { try await cluster.status(0).connections == 0 }
                let before = Self.descriptors(pid)
                let memory = Self.residentBytes(pid)
                for _ in 0..<90 { try await round() }
                var after = 0
                let isBack = try await eventually(within: 30) {
                    after = Self.descriptors(pid)
                    let status = try await cluster.status(0)
                    return status.connections == 0 && status.sessions <= 1 && after <= before + 2
                }
                #expect(isBack, "\(before) descriptors before, \(after) after")
                let grown = Self.residentBytes(pid) - memory
                print("10,000 connections came and went: resident memory grew by \(grown) bytes")
                #expect(grown < 16 << 20, "1.8 KiB for each of 9000 connections would be a leak")
                let metrics = try await cluster.admin(0).get("/metrics").text
                let closed = metrics.split(separator: "\n").first {
                    $0.contains("connections_closed_total") && !$0.hasPrefix("#")
                }
                #expect(closed != nil)
            }
        }

        @Test(
            "GW-17 near the descriptor limit new connections are refused, and the others live on",
            .timeLimit(.minutes(3))
        )
        func fewDescriptors() async throws {
            try await ProcessCluster.run(Self.standalone()) { cluster in
                let lines = Lines()
                let command = """
                    ulimit -n 128; exec '\(try Executable.vencejo())' serve --node n1 \
                    --config '\(cluster.configurationPath)' --stop-with-input
                    """
                let child = try ChildProcess.start(
                    "/bin/sh",
                    ["-c", command],
                    environment: Executable.environment()
                ) { lines.append($0) }
                defer { child.signal(SIGKILL) }
                _ = try await eventually(within: 30) { await cluster.admin(0).unreadiness() == nil }
                try #require(child.exit == nil, "\(lines.all.suffix(10))")
                let port = cluster.nodes[0].gateway
                let first = try PlainSocket.connect(port, "/ws")
                #expect(first.status == 101)
                var sockets: [PlainSocket] = []
                for _ in 0..<200 { if let socket = try? PlainSocket.connect(port, "/ws") { sockets.append(socket) } }
                let statuses = Dictionary(grouping: sockets, by: \.status).mapValues(\.count)
                print("128 descriptors, 200 connections: \(statuses)")
                #expect((statuses[101] ?? 0) > 10)
                #expect((statuses[503] ?? 0) > 0, "refused with a reason: \(statuses)")
                #expect(child.exit == nil)
                first.send(#"{"type":"ping"}"#)
                _ = try await first.await { $0["type"] as? String == "pong" }
                // The admin port answers too: it does not starve with the clients.
                #expect(try await cluster.admin(0).get("/health/live").status == 200)
                for socket in sockets { socket.close() }
                sockets = []
                let isOpen = try await eventually(within: 20) {
                    try PlainSocket.connect(port, "/ws").status == 101
                }
                #expect(isOpen, "there is room again")
                #expect(lines.contains("descriptor"), "a warning names the limit: \(lines.all)")
                child.signal(SIGTERM)
                #expect(await child.wait() == .code(0))
            }
        }

        @Test("GW-10 the loops keep their pace under load", .timeLimit(.minutes(3)))
        func lag() async throws {
            try await ProcessCluster.run(Self.standalone()) { cluster in
                try await cluster.startAndAwaitReady()
                var clients: [VencejoClient] = []
                for _ in 0..<20 { clients.append(try await cluster.client(0)) }
                for client in clients {
                    let events = client.subscribe("best:load")
                    Task { for await _ in events {} }
                }
                let payload = Array("\"\(String(repeating: "x", count: 1000))\"".utf8)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for client in clients {
                        group.addTask {
                            for _ in 0..<100 {
                                _ = try await client.publish("lag:room", payload)
                                _ = try await client.publish("best:load", payload)
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                let metrics = try await cluster.admin(0).get("/metrics").text
                let line = try #require(
                    metrics.split(separator: "\n").first {
                        $0.hasPrefix("event_loop_lag_seconds_max") || $0.contains("_event_loop_lag_seconds_max{")
                    }
                )
                let worst = try #require(line.split(separator: " ").last.flatMap { Double($0) })
                print("4000 publishes from 20 connections, 20 subscribers: worst loop lag \(worst) s")
                #expect(worst < 2)
                for client in clients { await client.close() }
            }
        }

        private static let canMount = geteuid() == 0 && FileManager.default.isExecutableFile(atPath: "/usr/bin/mount")

        @Test(
            "PS-13 on a full disk a node stops acknowledging, serves the rest, says so, and recovers",
            .enabled(if: canMount, "needs root to mount a small tmpfs"),
            .timeLimit(.minutes(5))
        )
        func fullDisk() async throws {
            let folder = FileManager.default.temporaryDirectory.path + "/vencejo-full-\(getpid())"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            let mounted = try await Executable.run("mount", ["-t", "tmpfs", "-o", "size=40m", "tmpfs", folder])
            guard mounted.exit == .code(0) else {
                // A container without the privilege: the test did not run, and that must be seen.
                Issue.record("cannot mount a tmpfs here: \(mounted.lines)", severity: .warning)
                return
            }
            var options = Self.standalone()
            options.dataDirectories = [0: folder + "/n1"]
            var failure: (any Error)?
            do {
                try await ProcessCluster.run(options) { try await Self.fill($0, ballast: folder + "/ballast") }
            } catch {
                failure = error
            }
            _ = try await Executable.run("umount", ["-l", folder])
            try? FileManager.default.removeItem(atPath: folder)
            if let failure { throw failure }
        }

        private static func fill(_ cluster: ProcessCluster, ballast: String) async throws {
            try Data(count: 16 << 20).write(to: URL(fileURLWithPath: ballast))
            try await cluster.startAndAwaitReady()
            let client = try await cluster.client(0) { $0.requestMilliseconds = 5000 }
            var random = SystemRandomNumberGenerator()
            var acknowledged: [UInt64: [UInt8]] = [:]
            var refusal: ClientFailure?
            for _ in 0..<4000 where refusal == nil {
                // Not compressible.
                let text = (0..<760).map { _ in String(UInt64.random(in: .min ... .max, using: &random), radix: 36) }
                let payload = Array("\"\(text.joined())\"".utf8)
                do {
                    let receipt = try await client.publish("full:room", payload)
                    acknowledged[receipt.position?.offset ?? 0] = payload
                } catch let failure as ClientFailure {
                    refusal = failure
                }
            }
            print("full disk after \(acknowledged.count) messages: \(refusal.map { "\($0)" } ?? "never refused")")
            #expect(refusal != nil, "24 MiB do not hold 36 MB")
            #expect(cluster.child(0)?.exit == nil, "the node lives on")
            let isTold = try await eventually(within: 20) { try await !cluster.status(0).diskHealthy }
            #expect(isTold, "status says that the log cannot be written")
            #expect(try await cluster.admin(0).get("/health/ready").status == 503)

            let received = Shared(0)
            let events = client.subscribe("best:full")
            Task { for await case .message in events { received.change { $0 += 1 } } }
            let isServed = try await eventually(within: 20) {
                _ = try? await client.publish("best:full", Array("1".utf8))
                return received.value > 0
            }
            #expect(isServed, "best effort goes on")

            try FileManager.default.removeItem(atPath: ballast)
            let clock = ContinuousClock()
            let freed = clock.now
            var last: PublishReceipt?
            let isBack = try await eventually(within: 60) {
                last = try? await client.publish("full:room", Array("\"after\"".utf8), idempotencyKey: "after")
                return last != nil
            }
            #expect(isBack, "acknowledges again when there is space")
            print("full disk: acknowledges again \(clock.now - freed) after there is space")
            #expect(try await eventually(within: 30) { try await cluster.status(0).diskHealthy })
            var position = RoomPosition(epoch: last?.position?.epoch ?? 0, offset: 0)
            var kept: [UInt64: [UInt8]] = [:]
            let reader = try await cluster.client(0) { $0.requestMilliseconds = 60_000 }
            while true {
                let page = try await reader.history("full:room", since: position)
                for message in page.messages {
                    kept[message.offset] = message.data
                    position.offset = message.offset
                }
                if page.messages.isEmpty { break }
            }
            for (offset, payload) in acknowledged where kept[offset] != payload {
                Issue.record("acknowledged message at \(offset) is not there")
            }
            await reader.close()
            await client.close()
        }
    }
}
