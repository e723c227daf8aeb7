import Cluster
import EventLoops
import Glibc
import Locks
import Logging
import NIOCore
import Primitives
import SWIM

/// One gossip shell on a shard of its own, with everything that it told.
final class TestGossip: Sendable {
    struct Seen {
        /// `joined b`, `down c`, …
        var events: [String] = []
        /// What the keyring's file would hold.
        var kept: [[UInt8]] = []
        var mustFailToKeep = false
        /// Writes that wait for `release`.
        var mustHold = false
        var held: [@Sendable ((any Error)?) -> Void] = []
        var isStopped = false
    }

    struct FullDisk: Error {}

    private final class Box: Sendable {
        let seen = Lock(Seen())
    }

    let name: String
    let port: Int
    let shards: Shards
    let gossip: Gossip
    private let box: Box

    init(
        _ name: String,
        port: Int,
        host: String = "127.0.0.1",
        bind: String? = nil,
        incarnation: UInt64 = 1,
        label: String = "test",
        secret: String = "a secret of the cluster",
        keyring: GossipKeyring? = nil,
        swim: SWIMSettings = .calm,
        settings: GossipSettings = GossipSettings()
    ) throws {
        let shards = Shards(count: 1)
        let box = Box()
        let address = try required(GossipAddress(host: host, port: UInt16(port)))
        let node = SWIMNode(
            metadata: try metadata(name),
            address: address,
            incarnation: incarnation,
            settings: swim,
            seed: UInt64.random(in: 0 ... .max),
            now: MonotonicClock.now()
        )
        self.name = name
        self.port = port
        self.shards = shards
        self.box = box
        gossip = try Gossip(
            shard: shards[0],
            node: node,
            host: bind ?? host,
            port: port,
            label: label,
            keyring: try keyring ?? GossipKeyring(configured: "", secret: Array(secret.utf8), cluster: label),
            settings: settings,
            logger: Logger(label: "gossip", factory: { _ in SwiftLogNoOpLogHandler() })
        ) { bytes, done in
            let error = box.seen.withLock { seen -> (any Error)? in
                if seen.mustFailToKeep { return FullDisk() }
                seen.kept.append(bytes)
                return nil
            }
            let isHeld = box.seen.withLock { seen in
                if seen.mustHold { seen.held.append(done) }
                return seen.mustHold
            }
            if !isHeld { done(error) }
        } onEvent: { event in
            box.seen.withLock { $0.events.append(words(event)) }
        }
    }

    func seen<T: Sendable>(_ read: (inout Seen) -> T) -> T {
        box.seen.withLock { seen in
            read(&seen)
        }
    }

    var events: [String] { seen { $0.events } }

    func onLoop<T: Sendable>(_ work: @escaping @Sendable (Gossip) throws -> T) async throws -> T {
        let gossip = gossip
        return try await shards[0].loop.submit { try work(gossip) }.get()
    }

    /// Names of the live members, sorted.
    func live() async throws -> [String] {
        try await onLoop { $0.members.filter { $0.state.isLive }.map(\.metadata.name) }.sorted()
    }

    func statistics() async throws -> GossipStatistics { try await onLoop { $0.statistics } }
    func counters() async throws -> SWIMCounters { try await onLoop { $0.node.counters } }

    func start(seeds: [String] = []) async throws {
        // Processes that other tests started may have inherited the socket that showed that the port was free.
        for _ in 0..<500 {
            if (try? await gossip.start()) != nil { return try await join(seeds) }
            try await Task.sleep(for: .milliseconds(10))
        }
        try await gossip.start()
        try await join(seeds)
    }

    private func join(_ seeds: [String]) async throws { try await onLoop { try $0.join(seeds: seeds) } }

    /// As a crash: nobody is told.
    func stop() async throws {
        let isStopped = seen { seen in
            defer { seen.isStopped = true }
            return seen.isStopped
        }
        guard !isStopped else { return }
        await gossip.stop()
        try await shards.shutDown()
    }
}

struct Missing: Error {}

func required<T>(_ value: T?) throws -> T {
    guard let value else { throw Missing() }
    return value
}

func metadata(_ name: String, connections: UInt32 = 0, isDraining: Bool = false) throws -> MemberMetadata {
    try MemberMetadata(
        node: NodeID(name.utf8.reduce(1) { $0 << 8 | UInt64($1) }),
        name: name,
        host: "127.0.0.1",
        meshPort: 1,
        connections: connections,
        isDraining: isDraining
    )
}

func words(_ event: MemberEvent) -> String {
    switch event {
    case .joined(let member): "joined \(member.metadata.name)"
    case .updated(let member): "updated \(member.metadata.name)"
    case .suspected(let member): "suspected \(member.metadata.name)"
    case .recovered(let member): "recovered \(member.metadata.name)"
    case .down(let member): "down \(member.metadata.name)"
    case .left(let member): "left \(member.metadata.name)"
    case .conflict(let name, _, _): "conflict \(name)"
    }
}

extension SWIMSettings {
    /// Nobody is suspected on a busy machine; news travel fast.
    static var calm: SWIMSettings {
        var settings = SWIMSettings()
        settings.probeInterval = .milliseconds(2000)
        settings.pingTimeout = .milliseconds(800)
        settings.gossipInterval = .milliseconds(50)
        settings.maxTickDelay = .milliseconds(500)
        return settings
    }

    /// Who is gone is down soon.
    static var quick: SWIMSettings {
        var settings = SWIMSettings()
        settings.probeInterval = .milliseconds(200)
        settings.pingTimeout = .milliseconds(80)
        settings.gossipInterval = .milliseconds(50)
        settings.downAfter = .milliseconds(1000)
        return settings
    }
}

/// Shells that know the first one's address, started and in agreement; stopped at the end.
func withGossip(
    _ names: [String],
    swim: SWIMSettings = .calm,
    settings: GossipSettings = GossipSettings(),
    _ body: ([TestGossip]) async throws -> Void
) async throws {
    let ports = freePorts(names.count)
    var nodes: [TestGossip] = []
    for (name, port) in zip(names, ports) {
        nodes.append(try TestGossip(name, port: port, swim: swim, settings: settings))
    }
    do {
        for node in nodes { try await node.start(seeds: ["127.0.0.1:\(ports[0])"]) }
        guard try await agree(nodes, on: names) else { throw Disagreement(names: names) }
        try await body(nodes)
    } catch {
        for node in nodes { try? await node.stop() }
        throw error
    }
    for node in nodes { try? await node.stop() }
}

struct Disagreement: Error {
    var names: [String]
}

/// Waits until every node lists exactly these live members.
func agree(_ nodes: [TestGossip], on names: [String]) async throws -> Bool {
    let wanted = names.sorted()
    return try await eventually {
        for node in nodes where try await node.live() != wanted { return false }
        return true
    }
}

/// Waits until `condition` holds; false when it does not within `seconds`.
func eventually(within seconds: Int = 60, _ condition: () async throws -> Bool) async rethrows -> Bool {
    for _ in 0..<(seconds * 100) {
        if try await condition() { return true }
        try? await Task.sleep(for: .milliseconds(10))
    }
    return try await condition()
}

/// Ports below the ephemeral range that nobody uses just now, for UDP and TCP.
func freePorts(_ count: Int) -> [Int] {
    var ports: [Int] = []
    while ports.count < count {
        let port = Int.random(in: 15_000..<30_000)
        let isFree = [SOCK_STREAM, SOCK_DGRAM].allSatisfy { kind in
            let probe = socket(AF_INET, Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            defer { close(probe) }
            return withLoopback(port) { bind(probe, $0, $1) } == 0
        }
        if isFree && !ports.contains(port) { ports.append(port) }
    }
    return ports
}

private func withLoopback(_ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
}

/// A blocking client socket straight from the kernel.
final class RawSocket: Sendable {
    struct Refused: Error {}
    private let descriptor: Int32

    init(port: Int, isDatagram: Bool) throws {
        let kind = isDatagram ? SOCK_DGRAM : SOCK_STREAM
        let descriptor = socket(AF_INET, Int32(kind.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        self.descriptor = descriptor
        guard descriptor >= 0, withLoopback(port, { connect(descriptor, $0, $1) }) == 0 else { throw Refused() }
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

    deinit { if descriptor >= 0 { close(descriptor) } }
}
