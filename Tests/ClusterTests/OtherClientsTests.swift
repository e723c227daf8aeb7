import Foundation
import Glibc
import Testing
import VencejoClient

@testable import vencejo

extension Lines {
    /// What centrifuge_recover.py has told under that name.
    fileprivate func events(_ name: String) -> [[String: Any]] {
        all.compactMap { line in
            let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            return object?["event"] as? String == name ? object : nil
        }
    }

    /// The numbers in the messages that it was sent.
    fileprivate var publishedNumbers: [Int] {
        events("publication").compactMap { ($0["data"] as? [String: Any])?["n"] as? Int }
    }
}

extension RealProcesses {
    /// Other people's clients, unmodified. They need a Python with them, as `.ci/run` makes one:
    ///
    ///     python3 -m venv .build/venv
    ///     .build/venv/bin/pip install centrifuge-python websockets redis python-socketio aiohttp
    @Suite struct OtherClientsTests {
        private static let python =
            ProcessInfo.processInfo.environment["VENCEJO_PYTHON"] ?? Checkout.root + "/.build/venv/bin/python"
        private static let hasPython = FileManager.default.isExecutableFile(atPath: python)
        private static let clients = Checkout.root + "/Tests/ClusterTests/Clients"

        @Test(
            "P-04 P-06 RA-32 CL-11 centrifuge-python: cut off by kill -9 of its node, it resumes and misses nothing",
            .enabled(if: hasPython, "needs a Python with centrifuge-python; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(5)),
            arguments: RunMode.here
        )
        func centrifuge(_ mode: RunMode) async throws {
            try await ProcessCluster.run(mode.options) { cluster in
                try await cluster.startAndAwaitReady()
                let room = "python:room"
                let lines = Lines()
                let python = try ChildProcess.start(
                    Self.python,
                    [Self.clients + "/centrifuge_recover.py", cluster.nodes[0].url, room],
                    environment: Executable.environment()
                ) { lines.append($0) }
                defer { python.signal(SIGKILL) }
                #expect(try await eventually(within: 30) { lines.events("subscribed").count == 1 }, "\(lines.all)")

                let publisher = try await cluster.client(2, alone: true)
                for number in 1...20 { _ = try await publisher.publish(room, Array("{\"n\":\(number)}".utf8)) }
                let isHeard = try await eventually(within: 20) { lines.events("publication").count == 20 }
                #expect(isHeard, "\(lines.all.suffix(5))")
                await cluster.kill(0)
                for number in 21...60 {
                    let data = Array("{\"n\":\(number)}".utf8)
                    let isPublished = try await eventually(within: 30) {
                        (try? await publisher.publish(room, data, idempotencyKey: "\(number)")) != nil
                    }
                    #expect(isPublished)
                }
                try cluster.start(0)
                try await cluster.awaitReady()
                let isResumed = try await eventually(within: 30) { lines.events("publication").count >= 60 }
                #expect(isResumed, "\(lines.all.suffix(9))")
                for number in 61...70 { _ = try await publisher.publish(room, Array("{\"n\":\(number)}".utf8)) }
                _ = try await eventually(within: 20) { lines.events("publication").count >= 70 }

                let others = lines.all.filter { !$0.contains("pub") }
                #expect(lines.publishedNumbers == Array(1...70), "in order, each once: \(others)")
                let offsets = lines.events("publication").compactMap { $0["offset"] as? Int }
                #expect(offsets == Array(1...70))
                let subscribed = try #require(lines.events("subscribed").last)
                #expect(subscribed["recovering"] as? Bool == true && subscribed["recovered"] as? Bool == true)
                #expect(lines.events("error").count < 50 && python.exit == nil)
                await publisher.close()
            }
        }

        @Test(
            "LB-07 GW-09 centrifuge-python: its node is drained and says 3001, and after undrain it has missed nothing",
            .enabled(if: hasPython, "needs a Python with centrifuge-python; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(5)),
            arguments: RunMode.here
        )
        func centrifugeDrained(_ mode: RunMode) async throws {
            try await ProcessCluster.run(mode.options) { cluster in
                try await cluster.startAndAwaitReady()
                let room = "python:drain"
                try await Python.with("centrifuge_recover.py", [cluster.nodes[0].url, room]) { _, lines in
                    #expect(try await eventually(within: 30) { lines.events("subscribed").count == 1 }, "\(lines.all)")
                    let publisher = try await cluster.client(2, alone: true)
                    for number in 1...20 { _ = try await publisher.publish(room, Array("{\"n\":\(number)}".utf8)) }
                    let config = ["--config", cluster.configurationPath]
                    let drained = try await Executable.run(["drain", "n1"] + config)
                    #expect(drained.exit == .code(0), "\(drained.lines)")
                    let isTold = try await eventually(within: 10) {
                        lines.events("connecting").contains { $0["code"] as? Int == 3001 }
                    }
                    #expect(isTold, "\(lines.all.filter { !$0.contains("pub") })")
                    for number in 21...60 { _ = try await publisher.publish(room, Array("{\"n\":\(number)}".utf8)) }
                    #expect(try await Executable.run(["undrain", "n1"] + config).exit == .code(0))
                    let isResumed = try await eventually(within: 30) { lines.events("publication").count >= 60 }
                    #expect(isResumed, "\(lines.all.suffix(9))")
                    #expect(lines.publishedNumbers == Array(1...60), "in order, each once")
                    let subscribed = try #require(lines.events("subscribed").last)
                    #expect(subscribed["recovering"] as? Bool == true && subscribed["recovered"] as? Bool == true)
                    await publisher.close()
                }
            }
        }

        @Test(
            "P-06 RA-32 GW-01 GW-13 the websockets library speaks /ws across nodes",
            .enabled(if: hasPython, "needs a Python with websockets; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3)),
            arguments: RunMode.here
        )
        func websockets(_ mode: RunMode) async throws {
            try await ProcessCluster.run(mode.options) { cluster in
                try await cluster.startAndAwaitReady()
                let urls = [0, 1].map { "ws://127.0.0.1:\(cluster.nodes[$0].gateway)/ws" }
                let result = try await Executable.run(Self.python, [Self.clients + "/plain_chat.py"] + urls)
                #expect(result.exit == .code(0), "\(result.lines)")
                #expect(result.lines.last == "good")
            }
        }
    }
}
