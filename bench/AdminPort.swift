import Foundation
import Glibc
import Primitives

/// What a benchmark asks of a node's admin port. All knowledge of its answers is here.
enum AdminPort {
    static func isReady(_ node: ClusterFile.Node) -> Bool { get("/health/ready", node)?.status == 200 }

    /// The index in `nodes` of the node that leads the room's partition; nil when the status does not tell.
    static func owner(of room: String, asking node: ClusterFile.Node, nodes: [String], partitions: Int) -> Int? {
        guard let answer = get("/status", node), answer.status == 200 else { return nil }
        return owner(of: room, status: answer.body, nodes: nodes, partitions: partitions)
    }

    /// Takes any document with `partitions: [{id, owner}]` (or `leader`) where the owner is a node's name, or an
    /// identity that `nodes: [{id, name}]` translates.
    static func owner(of room: String, status: Data, nodes: [String], partitions: Int) -> Int? {
        guard let root = try? JSONSerialization.jsonObject(with: status) as? [String: Any],
            let list = root["partitions"] as? [[String: Any]]
        else { return nil }
        // The list goes on with the partitions of keys.
        let partition = partition(of: room, of: partitions)
        func text(_ value: Any?) -> String? { value.map { "\($0)" } }
        var names: [String: String] = [:]
        for node in root["nodes"] as? [[String: Any]] ?? [] {
            guard let name = text(node["name"]) ?? text(node["id"]) else { continue }
            for key in ["id", "identity", "node_id", "uuid", "name"] {
                if let identity = text(node[key]) { names[identity] = name }
            }
        }
        for entry in list {
            guard let id = text(entry["id"]), id == "\(partition)" || id == "p\(partition)" else { continue }
            guard let leader = text(entry["owner"]) ?? text(entry["leader"]) else { return nil }
            return nodes.firstIndex(of: names[leader] ?? leader) ?? nodes.firstIndex(of: leader)
        }
        return nil
    }

    static func partition(of room: String, of partitions: Int) -> Int {
        Int(HashSlot.slot(of: Array(room.utf8))) * partitions / Int(HashSlot.count)
    }

    /// A blocking GET with a short deadline; nil when nobody answers.
    static func get(_ path: String, _ node: ClusterFile.Node) -> (status: Int, body: Data)? {
        ask("GET", path, node, milliseconds: 1000)
    }

    /// A command; what the control group is asked for may take a while.
    static func post(_ path: String, _ node: ClusterFile.Node) -> (status: Int, body: Data)? {
        ask("POST", path, node, milliseconds: 12_000)
    }

    private static func ask(
        _ method: String,
        _ path: String,
        _ node: ClusterFile.Node,
        milliseconds: Int
    ) -> (status: Int, body: Data)? {
        let socket = try? connectBlocking(host: node.host, port: node.adminPort, timeoutMilliseconds: milliseconds)
        guard let descriptor = socket else { return nil }
        defer { close(descriptor) }
        let length = method == "POST" ? "Content-Length: 0\r\n" : ""
        let request = Array(
            "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\n\(length)Connection: close\r\n\r\n".utf8
        )
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return nil }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while answer.count < 16 << 20 {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            answer.append(contentsOf: buffer[..<count])
        }
        return parse(answer)
    }

    /// Status and body of a whole HTTP/1.1 answer, chunked or not.
    static func parse(_ answer: [UInt8]) -> (status: Int, body: Data)? {
        guard let head = find("\r\n\r\n", in: answer, from: 0) else { return nil }
        let lines = String(decoding: answer[..<head], as: UTF8.self).components(separatedBy: "\r\n")
        let words = lines[0].split(separator: " ")
        guard words.count >= 2, let status = Int(words[1]) else { return nil }
        let isChunked = lines.contains {
            $0.lowercased().hasPrefix("transfer-encoding:") && $0.lowercased().hasSuffix("chunked")
        }
        guard isChunked else { return (status, Data(answer[(head + 4)...])) }
        var body: [UInt8] = []
        var at = head + 4
        while let end = find("\r\n", in: answer, from: at) {
            let size = String(decoding: answer[at..<end], as: UTF8.self).split(separator: ";").first ?? ""
            guard let count = Int(size, radix: 16), count > 0, end + 2 + count <= answer.count else { break }
            body.append(contentsOf: answer[(end + 2)..<(end + 2 + count)])
            at = end + 2 + count + 2
        }
        return (status, Data(body))
    }

    private static func find(_ text: StaticString, in bytes: [UInt8], from start: Int) -> Int? {
        let length = text.utf8CodeUnitCount
        guard bytes.count - start >= length else { return nil }
        for at in start...(bytes.count - length)
        where (0..<length).allSatisfy({ bytes[at + $0] == text.utf8Start[$0] }) { return at }
        return nil
    }
}
