import Broker
import EventLoops
import Foundation
import Glibc
import Locks
import NIOCore
import PeerProtocol
import Primitives
import RESP
import RedisAdapter
import RedisBackplane
import Rooms
import Testing

/// An adapter on a loop of its own, and all that it told its one hub.
final class AdapterScene: Sendable {
    let shards: Shards
    let adapter: RedisAdapter
    private let record: Record

    private final class Record: Sendable {
        let told = Lock<[ShardMessage]>([])
        let events = Lock<[BackplaneEvent]>([])
    }

    var told: [ShardMessage] { record.told.withLock { $0 } }
    var events: [BackplaneEvent] { record.events.withLock { $0 } }

    init(port: Int, _ change: (inout RedisAdapterSettings) -> Void = { _ in }) async throws {
        var settings = RedisAdapterSettings()
        settings.server = RedisAdapterSettings.Address(host: "127.0.0.1", port: port)
        settings.backplane.namespaces = NamespaceTable([
            NamespacePolicy(prefix: Array("best:".utf8), deliveryClass: .bestEffort),
            NamespacePolicy(deliveryClass: .guaranteed, retentionCount: 100),
        ])
        settings.backplane.retryBase = .milliseconds(20)
        settings.backplane.retryCeiling = .milliseconds(200)
        settings.backplane.readBlock = .milliseconds(500)
        settings.backplane.seed = .random(in: 1 ... .max)
        change(&settings)
        settings.backplane.socketTimeout = settings.socketTimeout
        settings.backplane.retryAttempts = settings.retryAttempts
        settings.backplane.retryOnTimeout = settings.retryOnTimeout
        let shards = Shards(count: 1)
        let record = Record()
        let adapter = RedisAdapter(
            shard: shards[0],
            settings: settings,
            hub: { _, message in record.told.withLock { $0.append(message) } },
            note: { event in record.events.withLock { $0.append(event) } }
        )
        self.shards = shards
        self.record = record
        self.adapter = adapter
        try await shards[0].loop.submit {
            shards[0].startTicking()
            adapter.start()
        }.get()
    }

    func stop() async {
        _ = try? await shards[0].loop.submit {
            self.adapter.stop()
            self.shards[0].stopTicking()
        }.get()
        try? await shards.shutDown()
    }

    /// Runs a test's body and stops, whatever happens.
    static func run(
        port: Int,
        _ change: (inout RedisAdapterSettings) -> Void = { _ in },
        _ body: (AdapterScene) async throws -> Void
    ) async throws {
        let scene = try await AdapterScene(port: port, change)
        do {
            try await body(scene)
        } catch {
            await scene.stop()
            throw error
        }
        await scene.stop()
    }

    var status: RedisAdapterStatus {
        get async throws { try await shards[0].loop.submit { self.adapter.status }.get() }
    }

    func awaitUp() async throws {
        #expect(try await eventually { try await self.status.isUp }, "\(events)")
    }

    func tell(_ messages: ShardMessage...) async throws {
        try await shards[0].loop.submit { self.adapter.receive(messages) }.get()
    }

    func request(_ commands: [RESPCommand]) async -> Result<[RESPValue], RedisError> {
        await withCheckedContinuation { continuation in
            shards[0].loop.execute { self.adapter.request(commands) { continuation.resume(returning: $0) } }
        }
    }

    /// The answer to a fetch, once it is there.
    func fetched(_ token: UInt64) async throws -> FetchReply? {
        var reply: FetchReply?
        _ = try await eventually {
            for case .fetched(token, _, let result) in told {
                reply = try? result.get()
                return true
            }
            return false
        }
        return reply
    }

    var payloads: [String] {
        told.flatMap { message -> [String] in
            guard case .publications(_, _, let publications) = message else { return [] }
            return publications.map {
                String(decoding: (try? MessageBody(decoding: $0.body))?.payload ?? [], as: UTF8.self)
            }
        }
    }

    /// A room's members were told that its positions are no longer what they were.
    var isReset: Bool { told.contains { if case .roomReset = $0 { true } else { false } } }

    var outcomes: [String] {
        told.compactMap { message in
            guard case .published(let token, let result) = message else { return nil }
            switch result {
            case .success(.appended(let at)): return "\(token.command) at \(at.offset)"
            case .success(let outcome): return "\(token.command) \(outcome)"
            case .failure(let error): return "\(token.command) \(error)"
            }
        }
    }
}

let partition = PartitionID(0)

func announce(_ room: String, _ payload: String) -> ShardMessage {
    .announce(partition, RoomName(room), body: MessageBody(payload: Array(payload.utf8)[...]).encoded()[...])
}

func register(_ room: String) -> ShardMessage { .register(hub: 1, partition, RoomName(room), count: 1) }

func publish(_ room: String, _ number: UInt64, key: String = "") -> ShardMessage {
    let body = MessageBody(payload: Array("\(number)".utf8)[...]).encoded()[...]
    return .publish(
        hub: 1,
        RequestToken(session: SessionID(slot: 0, generation: 1), command: number),
        partition,
        command: PublishCommand(room: RoomName(room), idempotencyKey: Array(key.utf8)[...], body: body).encoded()[...],
        deadline: .distantFuture,
        isCounted: false
    )
}

/// Asks every 10 ms until `condition` holds; false after `seconds`.
func eventually(within seconds: Double = 30, _ condition: () async throws -> Bool) async throws -> Bool {
    let clock = ContinuousClock()
    let end = clock.now + .seconds(seconds)
    while clock.now < end {
        if try await condition() { return true }
        try await Task.sleep(for: .milliseconds(10))
    }
    return false
}

/// Ports that nobody listens on, from `VENCEJO_TEST_PORT` on where a machine is shared.
enum FreePort {
    private static let next = Lock(
        ProcessInfo.processInfo.environment["VENCEJO_TEST_PORT"].flatMap { Int($0) } ?? Int.random(in: 12_000..<16_000)
    )

    static func take() -> Int {
        next.withLock { next in
            while true {
                next += 1
                let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
                defer { close(descriptor) }
                var address = sockaddr_in()
                address.sin_family = sa_family_t(AF_INET)
                address.sin_port = in_port_t(UInt16(next)).bigEndian
                address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
                let isFree = withUnsafePointer(to: &address) {
                    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
                    }
                }
                if isFree { return next }
            }
        }
    }
}
