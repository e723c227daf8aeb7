import Foundation
import Glibc

extension RedisProcess {
    /// The program that was built with these tests, or `VENCEJO_BIN`.
    private static let vencejo: String = {
        if let named = ProcessInfo.processInfo.environment["VENCEJO_BIN"] { return named }
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: own).deletingLastPathComponent().path + "/vencejo"
    }()

    /// The nodes of a cluster, not started: real processes, whose keys are on disk and outlive `kill`. `port` gives
    /// ports that are free.
    public static func shims(_ count: Int = 1, password: String = "", port: () -> Int) throws -> [RedisProcess] {
        var text = """
            [cluster]
            name = "shim"
            partitions = 8
            replication_factor = \(min(3, count))
            secret = "a-secret-of-the-tests-only"
            threads = 1
            [resp]
            password = "\(password)"
            [log]
            wal_file_size = "4MiB"
            min_free_disk = 0
            [admin]
            host = "127.0.0.1"

            """
        // As the shipped cluster.toml has it: what the adapter publishes on channels is not stored.
        for (prefix, deliveryClass) in [("", "guaranteed"), ("chat_system", "best_effort")] {
            text += """
                [[namespace]]
                prefix = "\(prefix)"
                class = "\(deliveryClass)"
                anonymous_subscribe = true
                anonymous_publish = true

                """
        }
        var nodes: [RedisProcess] = []
        for index in 0..<count {
            let (resp, sentinel) = (port(), port())
            let directory = RedisProcess.directory(resp)
            text += """
                [[node]]
                id = "n\(index + 1)"
                host = "127.0.0.1"
                zone = "\(index)"
                gateway_port = \(port())
                resp_port = \(resp)
                sentinel_port = \(sentinel)
                mesh_port = \(port())
                gossip_port = \(port())
                admin_port = 0
                data_dir = "\(directory)/data"

                """
            nodes.append(
                try RedisProcess(
                    port: resp,
                    sentinelPort: sentinel,
                    program: [vencejo, "serve", "--node", "n\(index + 1)", "--config", "\(directory)/cluster.toml"],
                    // The owner of the keys answers that, so there is one.
                    question: (["DBSIZE"], ":")
                )
            )
        }
        for node in nodes {
            try text.write(toFile: node.directory + "/cluster.toml", atomically: true, encoding: .utf8)
        }
        return nodes
    }
}
