import Admin
import Foundation
import Glibc
import RESP
import Testing
import VencejoClient

@testable import vencejo

extension RealProcesses {
    /// WebSocket servers that scale through Redis Pub/Sub, each process at another node.
    @Suite struct RedisManagerTests {
        private static let hasServers = Python.has("redis, aiohttp")
        private static let hasSocketIO = Python.has("redis, aiohttp, socketio")

        /// An instance of the chat server at a node.
        private func withInstance(
            _ cluster: ProcessCluster,
            _ index: Int,
            _ options: [String] = [],
            _ body: (Int, Lines) async throws -> Void
        ) async throws {
            let port = try FreePorts.take(1)[0]
            let environment = [
                "REDIS_URL": "redis://127.0.0.1:\(cluster.nodes[index].resp)/0", "REDIS_PUBSUB_ENABLED": "true",
            ]
            let arguments = [String(port)] + options
            try await Python.with("redis_websocket_manager.py", arguments, environment: environment) { _, lines in
                let isUp = try await eventually(within: 30) {
                    lines.contains("listening") && lines.contains("subscribe chat_system")
                }
                #expect(isUp, "\(lines.all)")
                try await body(port, lines)
            }
        }

        @Test(
            """
            RS-25 P-05 RS-03 RS-08 the guide's RedisWebSocketManager at two nodes by its REDIS_URL: everybody, rooms, \
            a batch, redis-cli and a browser at a third node
            """,
            .enabled(if: hasServers, "needs a Python with redis and aiohttp; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3))
        )
        func manager() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                try await withInstance(cluster, 0) { first, lines in
                    try await withInstance(cluster, 1) { second, otherLines in
                        let isReady = try await eventually(within: 30) {
                            lines.contains("psubscribe chat_system:*")
                                && otherLines.contains("psubscribe chat_system:*")
                        }
                        #expect(isReady)
                        let ana = try PlainSocket.connect(first, "/ws")
                        let ben = try PlainSocket.connect(second, "/ws")
                        let browser = try await cluster.client(2, alone: true)
                        let heard = Shared<[String]>([])
                        let isSubscribed = Shared(false)
                        let events = browser.subscribe("chat_system")
                        Task {
                            for await event in events {
                                switch event {
                                case .subscribed: isSubscribed.change { $0 = true }
                                case .message(let message):
                                    heard.change { $0.append(String(decoding: message.data, as: UTF8.self)) }
                                default: break
                                }
                            }
                        }
                        #expect(try await eventually(within: 20) { isSubscribed.value })

                        ana.send(#"{"content":"to all é","user":"ana"}"#)
                        ben.send(#"{"content":"to a room","user":"ben","room":"blue"}"#)
                        for socket in [ana, ben] {
                            let toAll = try await socket.await { $0["content"] as? String == "to all é" }
                            #expect(toAll["type"] as? String == "message" && toAll["user"] as? String == "ana")
                            _ = try await socket.await { $0["content"] as? String == "to a room" }
                        }
                        ana.send(#"{"batch":50,"user":"ana"}"#)
                        let outside = try await RedisSocket.connect(cluster.nodes[2].resp)
                        // A foreign program; two instances and the browser hear it.
                        let json = #"{"type":"message","content":"last","user":"cli"}"#
                        for socket in [ana, ben] { _ = try await socket.await { $0["content"] as? Int == 49 } }
                        #expect(try await outside.call("PUBLISH", "chat_system", json).number == 3)
                        for socket in [ana, ben] {
                            _ = try await socket.await { $0["content"] as? String == "last" }
                            let numbers = socket.objects.compactMap { $0["content"] as? Int }
                            #expect(numbers == Array(0..<50), "in order, each once")
                            #expect(socket.objects.count == 53, "nothing twice: \(socket.received)")
                        }
                        // What the browser publishes is heard by the guide's clients, too.
                        let fromBrowser = #"{"type":"message","content":"from the browser","user":"bea"}"#
                        _ = try await browser.publish("chat_system", Array(fromBrowser.utf8))
                        for socket in [ana, ben] {
                            _ = try await socket.await { $0["content"] as? String == "from the browser" }
                        }
                        let isAll = try await eventually(within: 20) { heard.value.count >= 53 }
                        #expect(isAll && heard.value.count == 53, "all but what went to the room: \(heard.value.count)")

                        let instance = AdminClient(host: "127.0.0.1", port: first)
                        #expect(try await instance.get("/health/redis").text == #"{"status": "healthy"}"#)
                        let told = try await instance.get("/stats").body
                        let stats = try #require(
                            try JSONSerialization.jsonObject(with: Data(told)) as? [String: Any]
                        )
                        #expect(stats["connected_clients"] as? Int ?? 0 >= 2, "\(stats)")
                        #expect(stats["pubsub_channels"] as? Int == 1 && stats["pubsub_patterns"] as? Int == 1)
                        outside.close()
                        for socket in [ana, ben] { socket.close() }
                        await browser.close()
                    }
                }
            }
        }

        @Test(
            "RS-25 the manager as the guide describes it hears nothing: SUBSCRIBE takes its pattern for a name",
            .enabled(if: hasServers, "needs a Python with redis and aiohttp; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3))
        )
        func defect() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                try await withInstance(cluster, 0, ["as-described"]) { port, lines in
                    #expect(lines.contains("subscribe chat_system:*"))
                    let ana = try PlainSocket.connect(port, "/ws")
                    let outside = try await RedisSocket.connect(cluster.nodes[1].resp)
                    #expect(try await outside.call("PUBLISH", "chat_system", "{}").number == 0)
                    #expect(try await outside.call("PUBLISH", "chat_system:blue", "{}").number == 0)
                    // The channel of that very name is the one that it listens to.
                    #expect(try await outside.call("PUBLISH", "chat_system:*", #"{"content":"here"}"#).number == 1)
                    _ = try await ana.await { $0["content"] as? String == "here" }
                    #expect(ana.objects.count == 1)
                    outside.close()
                    ana.close()
                }
            }
        }

        @Test(
            "P-05 RS-03 python-socketio's Redis managers: two servers at two nodes, an emitter at a third",
            .enabled(if: hasSocketIO, "needs a Python with python-socketio and aiohttp; see VENCEJO_PYTHON"),
            .timeLimit(.minutes(3))
        )
        func socketIO() async throws {
            try await ProcessCluster.run(redisClients()) { cluster in
                try await cluster.startAndAwaitReady()
                let ports = try FreePorts.take(2).map { String($0) }
                let urls = cluster.nodes.map { "redis://127.0.0.1:\($0.resp)/0" }
                try await Python.with("socketio_server.py", [ports[0], urls[0]]) { _, first in
                    try await Python.with("socketio_server.py", [ports[1], urls[1]]) { _, second in
                        let isUp = try await eventually(within: 30) {
                            first.contains("listening") && second.contains("listening")
                        }
                        #expect(isUp, "\(first.all) \(second.all)")
                        let result = try await Python.run("socketio_clients.py", ports + [urls[2]])
                        #expect(
                            result.exit == .code(0) && result.lines.last == "good",
                            "\(result.lines) \(first.all) \(second.all)"
                        )
                    }
                }
            }
        }
    }
}
