import Foundation
import Glibc

/// Each node in a network namespace of its own, joined by a bridge, and what is wrong with the wires.
///
/// This process is in a network namespace of its own too, which has the bridge, and in a mount namespace of its own,
/// which has the names: all of it is gone when the last process in it is, however that ended. Nothing leads out.
struct FaultNetwork: Sendable {
    /// Packets of `from` that do not reach `to`. The receiver drops them, so that the sender notices nothing.
    struct Drop: Equatable, Sendable {
        var from: Int
        var to: Int
        /// Of a hundred.
        var percent = 100
    }

    /// The names of the nodes' namespaces, which are those of the bridge's ports.
    let names: [String]
    let hosts: [String]

    static let hostOfClients = "10.77.0.254"
    private static let table = "add table ip faults; add chain ip faults input { type filter hook input priority 0; }"

    /// Needs to be root in namespaces of its own.
    init(nodes: Int) throws {
        let prefix = "v\(getpid())"
        names = (1...nodes).map { "\(prefix)n\($0)" }
        hosts = (1...nodes).map { "10.77.0.\($0)" }
        let bridge = "\(prefix)br"
        try FileManager.default.createDirectory(atPath: "/run/netns", withIntermediateDirectories: true)
        try SystemTool.run("mount", "-t", "tmpfs", "none", "/run/netns")
        try SystemTool.run("ip", "link", "set", "lo", "up")
        try SystemTool.run("ip", "link", "add", bridge, "type", "bridge")
        try SystemTool.run("ip", "addr", "add", "\(Self.hostOfClients)/24", "dev", bridge)
        try SystemTool.run("ip", "link", "set", bridge, "up")
        for (name, host) in zip(names, hosts) {
            try SystemTool.run("ip", "netns", "add", name)
            try SystemTool.run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            try SystemTool.run("ip", "link", "set", name, "master", bridge, "up")
            try SystemTool.run("ip", "-n", name, "addr", "add", "\(host)/24", "dev", "eth0")
            try SystemTool.run("ip", "-n", name, "link", "set", "eth0", "up")
            try SystemTool.run("ip", "-n", name, "link", "set", "lo", "up")
        }
    }

    /// Why packets cannot be dropped here; nil when they can.
    static var dropIsMissing: String? { SystemTool.find("nft") == nil ? "no nft found" : nil }

    /// What starts a program in a node's namespace; the process keeps its number.
    func launcher(_ node: Int) throws -> [String] {
        guard let nsenter = SystemTool.find("nsenter") else { throw BenchError("no nsenter found") }
        return [nsenter, "--net=/run/netns/\(names[node])"]
    }

    /// From now on these packets are dropped, and no others.
    func drop(_ drops: [Drop]) throws {
        guard let nft = SystemTool.find("nft") else { throw BenchError("no nft found") }
        for node in names.indices {
            try SystemTool.run(launcher(node) + [nft, Self.rules(of: node, hosts: hosts, drops)])
        }
    }

    /// The whole rule set of one node, in nft's words: replaced at once.
    static func rules(of node: Int, hosts: [String], _ drops: [Drop]) -> String {
        var text = "\(table); flush chain ip faults input"
        for drop in drops where drop.to == node {
            let chance = drop.percent < 100 ? " numgen random mod 100 < \(drop.percent)" : ""
            text += "; add rule ip faults input ip saddr \(hosts[drop.from])\(chance) drop"
        }
        return text
    }

    /// Both directions between each of `some` and each of the `others`.
    static func cut(_ some: [Int], from others: [Int], percent: Int = 100) -> [Drop] {
        some.flatMap { one in
            others.flatMap { other in
                [Drop(from: one, to: other, percent: percent), Drop(from: other, to: one, percent: percent)]
            }
        }
    }

    /// Pulls the node's plug, or puts it in again: to other nodes and to clients.
    func setLink(_ node: Int, isUp: Bool) throws {
        try SystemTool.run("ip", "link", "set", names[node], isUp ? "up" : "down")
    }
}
