import Cluster
import EventLoops
import Glibc
import Locks
import Logging
import NIOCore
import PeerProtocol
import Primitives
import Raft

/// One mesh on a shard of its own, with everything that it told.
final class TestNode: Sendable {
    struct Seen {
        var events: [MeshEvent] = []
        var ups: [String] = []
        var downs: [String] = []
        var refusals: [String] = []
        var strangersRefusals = 0
        /// Numbers of `.snapshotProgress` messages by sender.
        var numbers: [NodeID: [UInt64]] = [:]
        var bodies: [Int] = []
        /// Chunks of snapshots, and how many of them had come when each number came.
        var chunks = 0
        var chunksBefore: [Int] = []
        /// The first entry of each append.
        var appends: [LogIndex] = []
    }

    let shards: Shards
    let mesh: Mesh
    let identity: MeshIdentity
    private let content: Box

    private final class Box: Sendable {
        let seen = Lock(Seen())
    }

    init(
        _ identity: MeshIdentity,
        port: Int,
        peers: [MeshPeer],
        settings: MeshSettings = MeshSettings(),
        admit: @escaping @Sendable (String, NodeID) -> String? = { _, _ in nil }
    ) {
        self.identity = identity
        let shards = Shards(count: 1)
        let box = Box()
        self.shards = shards
        content = box
        mesh = Mesh(
            shard: shards[0],
            identity: identity,
            host: "127.0.0.1",
            port: port,
            peers: peers,
            settings: settings,
            logger: Logger(label: "mesh", factory: { _ in SwiftLogNoOpLogHandler() }),
            admit: admit
        ) { event in
            box.seen.withLock { seen in
                switch event {
                case .up(_, let name): seen.ups.append(name)
                case .down(_, let name, let reason): seen.downs.append("\(name): \(reason)")
                case .refused(_, let reason, let isStranger):
                    seen.refusals.append(reason)
                    if isStranger { seen.strangersRefusals += 1 }
                case .message(let from, .snapshotProgress(_, let index, _)):
                    seen.numbers[from, default: []].append(index)
                    seen.chunksBefore.append(seen.chunks + seen.bodies.count)
                case .message(_, .snapshotChunk): seen.chunks += 1
                case .message(_, .raft(_, let raft)):
                    if case .append(let request) = raft.body { seen.appends.append(request.previousIndex + 1) }
                case .message(_, .announce(_, _, let body)): seen.bodies.append(body.count)
                case .message: break
                }
            }
        }
    }

    func seen<T>(_ read: (Seen) -> T) -> T { content.seen.withLock { read($0) } }

    func onLoop<T: Sendable>(_ work: @escaping @Sendable (Mesh) -> T) async throws -> T {
        let mesh = mesh
        return try await shards[0].loop.submit { work(mesh) }.get()
    }

    /// Starts on a port that was in use a moment ago: processes that other tests started may have inherited its socket.
    func restart() async throws {
        for _ in 0..<1000 {
            if (try? await mesh.start()) != nil { return }
            try await Task.sleep(for: .milliseconds(10))
        }
        _ = try await mesh.start()
    }

    func stop() async throws {
        await mesh.stop()
        try await shards.shutDown()
    }
}

func identity(
    _ name: String,
    node: UInt64? = nil,
    incarnation: UInt64 = 1,
    cluster: String = "test",
    secret: String = "a secret of the cluster",
    version: UInt16 = PeerFrame.version
) -> MeshIdentity {
    MeshIdentity(
        clusterName: cluster,
        name: name,
        node: NodeID(node ?? UInt64(name.utf8.first!)),
        incarnation: incarnation,
        secret: Array(secret.utf8),
        protocolVersion: version
    )
}

/// Ports below the ephemeral range that nobody listens on just now.
func freePorts(_ count: Int) -> [Int] {
    var ports: [Int] = []
    while ports.count < count {
        let port = Int.random(in: 15_000..<30_000)
        let probe = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(probe) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let outcome = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(probe, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if outcome == 0 && !ports.contains(port) { ports.append(port) }
    }
    return ports
}

func peer(_ name: String, _ port: Int) -> MeshPeer { MeshPeer(name: name, host: "127.0.0.1", port: port) }

/// Two nodes that know each other, started.
func pair(
    _ first: MeshIdentity = identity("a"),
    _ second: MeshIdentity = identity("b"),
    settings: MeshSettings = MeshSettings(),
    admit: @escaping @Sendable (String, NodeID) -> String? = { _, _ in nil }
) async throws -> (TestNode, TestNode, ports: [Int]) {
    let ports = freePorts(2)
    let a = TestNode(first, port: ports[0], peers: [peer(second.name, ports[1])], settings: settings)
    let b = TestNode(second, port: ports[1], peers: [peer(first.name, ports[0])], settings: settings, admit: admit)
    _ = try await a.mesh.start()
    _ = try await b.mesh.start()
    return (a, b, ports)
}

func bothUp(_ a: TestNode, _ b: TestNode) async throws -> Bool {
    try await eventually {
        let (x, y) = (a.identity.node, b.identity.node)
        let isUp = try await a.onLoop { $0.isUp(y) }
        return isUp ? try await b.onLoop { $0.isUp(x) } : false
    }
}

/// Waits until `condition` holds; false when it does not within `seconds`.
func eventually(within seconds: Int = 30, _ condition: () async throws -> Bool) async rethrows -> Bool {
    for _ in 0..<(seconds * 200) {
        if try await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return try await condition()
}

func number(_ value: UInt64) -> PeerMessage {
    .snapshotProgress(GroupID(rawValue: 1), index: value, received: value &* 3)
}

/// A blocking client socket straight from the kernel.
final class RawSocket: Sendable {
    struct Refused: Error {}
    let descriptor: Int32

    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let descriptor = descriptor
        let outcome = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard descriptor >= 0, outcome == 0 else { throw Refused() }
    }

    func send(_ bytes: [UInt8]) {
        _ = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) }
    }

    /// Reads until the end of the stream.
    func receiveAll() -> [UInt8] {
        var all: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress!, 4096, 0) }
            guard count > 0 else { return all }
            all += bytes.prefix(count)
        }
    }

    /// One handshake frame, prefix included.
    func receiveFrame() -> [UInt8] {
        var frame: [UInt8] = []
        while frame.count < 2 || frame.count < 2 + Int(frame[0]) + Int(frame[1]) << 8 {
            var byte: UInt8 = 0
            guard recv(descriptor, &byte, 1, 0) == 1 else { return frame }
            frame.append(byte)
        }
        return frame
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
}
