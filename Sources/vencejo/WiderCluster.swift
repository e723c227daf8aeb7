import ClusterConfiguration
import Glibc

/// A configuration with more nodes on this machine than its file has: the file's text with a table for each of them.
enum WiderCluster {
    /// Nodes of one machine at most: more are no use for a trial.
    static let nodesMax = 32

    struct Failure: Error, CustomStringConvertible {
        let description: String

        init(path: String) { description = "cannot write \(path): \(String(cString: strerror(errno)))" }
    }

    /// `text` with further `[[node]]` tables, as many as make `count` nodes with those of `nodes`. Ports go on in the
    /// steps between the last two nodes; zones and names by letter and number.
    static func text(_ text: String, _ nodes: [ClusterConfiguration.Node], count: Int) -> String {
        guard var last = nodes.last, nodes.count < count else { return text }
        let earlier = nodes.dropLast().last
        var text = text
        if !text.hasSuffix("\n") { text += "\n" }
        let parent = last.dataDirectory.lastIndex(of: "/").map { String(last.dataDirectory[...$0]) } ?? ""
        let ports: [(String, WritableKeyPath<ClusterConfiguration.Node, Int>)] = [
            ("gateway_port", \.gatewayPort), ("resp_port", \.respPort), ("cluster_port", \.clusterPort),
            ("sentinel_port", \.sentinelPort), ("mesh_port", \.meshPort), ("gossip_port", \.gossipPort),
            ("admin_port", \.adminPort),
        ]
        let newest = last
        let steps = ports.map { port in earlier.map { newest[keyPath: port.1] - $0[keyPath: port.1] } ?? 10 }
        for number in (nodes.count + 1)...count {
            last.id = "n\(number)"
            last.zone = next(last.zone, number)
            text += """

                [[node]]
                id = \(SettingText.quote(last.id))
                host = \(SettingText.quote(last.host))
                bind = \(SettingText.quote(last.bind))
                zone = \(SettingText.quote(last.zone))

                """
            for (port, step) in zip(ports, steps) {
                if last[keyPath: port.1] != 0 { last[keyPath: port.1] += step }
                text += "\(port.0) = \(last[keyPath: port.1])\n"
            }
            text += "data_dir = \(SettingText.quote(parent + last.id))\n"
        }
        return text
    }

    /// The letter after it, or a name of its own.
    private static func next(_ zone: String, _ number: Int) -> String {
        guard zone.utf8.count == 1, let letter = zone.utf8.first, (97..<122).contains(letter) else {
            return "zone-n\(number)"
        }
        return String(decoding: [letter + 1], as: UTF8.self)
    }

    /// Writes the wider file beside the nodes' data directories, and returns its path.
    static func write(
        _ configuration: ClusterConfiguration,
        from path: String,
        count: Int,
        data: String?
    ) throws -> String {
        let first = configuration.nodes[0].dataDirectory
        let beside = first.lastIndex(of: "/").map { String(first[..<$0]) } ?? "."
        let directory = data ?? (beside.isEmpty ? "/" : beside)
        try DirectoryTree.make(directory)
        let wider = "\(directory)/cluster.toml"
        let lines = text(try ClusterConfiguration.readFile(path), configuration.nodes, count: count)
        guard let file = fopen(wider, "we") else { throw Failure(path: wider) }
        let written = fwrite(Array(lines.utf8), 1, lines.utf8.count, file)
        guard fclose(file) == 0, written == lines.utf8.count else { throw Failure(path: wider) }
        return wider
    }
}
