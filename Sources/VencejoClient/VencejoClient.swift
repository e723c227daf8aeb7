import ClientProtocol
import NIOCore
import NIOPosix

/// A client of a Vencejo cluster: publishes, subscribes, reads history. It keeps one connection, moves to another node
/// when that one ends, and continues its subscriptions after their last positions.
///
/// Messages come at least once; repeats within a bounded window are dropped (DL-07).
package final class VencejoClient: Sendable {
    private let core: ClientCore

    private init(core: ClientCore) { self.core = core }

    /// Connects to the first node that answers. `urls` are tried in order: `ws://host:port[/path]`.
    package static func connect(
        _ urls: [String],
        settings: ClientSettings = ClientSettings(),
        group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
    ) async throws -> VencejoClient {
        guard !urls.isEmpty else { throw ClientFailure.invalidURL("") }
        let nodes = try urls.map(NodeURL.init)
        let core = ClientCore(urls: nodes, settings: settings, loop: group.next())
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            core.loop.execute {
                core.start { result in
                    continuation.resume(with: result.mapError { $0 as any Error })
                }
            }
        }
        return VencejoClient(core: core)
    }

    package static func connect(_ url: String, settings: ClientSettings = ClientSettings()) async throws
        -> VencejoClient
    {
        try await connect([url], settings: settings)
    }

    /// Joins a room. The stream ends with `.ended`, or without it when the reader fell behind by `options.buffer`
    /// events.
    package func subscribe(_ room: String, _ options: SubscriptionOptions = SubscriptionOptions()) -> AsyncStream<
        ClientEvent
    > {
        let (stream, events) = AsyncStream.makeStream(
            of: ClientEvent.self,
            bufferingPolicy: .bufferingOldest(options.buffer)
        )
        let core = core
        core.loop.execute { core.subscribe(room, options, events) }
        return stream
    }

    package func unsubscribe(_ room: String) {
        let core = core
        core.loop.execute { core.unsubscribe(room) }
    }

    /// Publishes a JSON value. With an idempotency key it is sent again when the connection is lost before the
    /// answer, and takes effect once.
    package func publish(
        _ room: String,
        _ data: [UInt8],
        idempotencyKey: String = "",
        timeToLiveMilliseconds: UInt64 = 0
    ) async throws -> PublishReceipt {
        var rest = Array("\"publish\":{\"channel\":".utf8)
        JSONWriter.append(text: room, to: &rest)
        rest.append(contentsOf: ",\"data\":".utf8)
        JSONWriter.append(value: data[...], to: &rest)
        if !idempotencyKey.isEmpty {
            rest.append(contentsOf: ",\"idempotency_key\":".utf8)
            JSONWriter.append(text: idempotencyKey, to: &rest)
        }
        if timeToLiveMilliseconds > 0 { rest.append(contentsOf: ",\"ttl_ms\":\(timeToLiveMilliseconds)".utf8) }
        rest.append(contentsOf: "}}".utf8)
        let reply = try await request(rest, isRepeatable: !idempotencyKey.isEmpty)
        return PublishReceipt(
            position: reply.epoch.map { RoomPosition(epoch: $0, offset: reply.offset) },
            isDuplicate: reply.isDuplicate
        )
    }

    /// A page of a room's history, oldest first unless `reverse`. `limit` nil = what the server allows.
    package func history(
        _ room: String,
        since: RoomPosition? = nil,
        limit: Int? = nil,
        reverse: Bool = false
    ) async throws -> HistoryPage {
        var rest = Array("\"history\":{\"channel\":".utf8)
        JSONWriter.append(text: room, to: &rest)
        rest.append(contentsOf: ",\"limit\":\(limit ?? -1)".utf8)
        if let since {
            rest.append(contentsOf: ",\"since\":{\"offset\":\(since.offset),\"epoch\":\"".utf8)
            EpochText.append(since.epoch, to: &rest)
            rest.append(contentsOf: "\"}".utf8)
        }
        if reverse { rest.append(contentsOf: ",\"reverse\":true".utf8) }
        rest.append(contentsOf: "}}".utf8)
        let reply = try await request(rest, isRepeatable: true)
        let epoch = reply.epoch ?? 0
        return HistoryPage(
            messages: reply.publications.map { core.message($0, room: room, epoch: epoch) },
            top: RoomPosition(epoch: epoch, offset: reply.offset)
        )
    }

    /// Everything up to `position` in the room has been processed.
    package func acknowledge(_ room: String, _ position: RoomPosition) async throws {
        var rest = Array("\"ack\":{\"channel\":".utf8)
        JSONWriter.append(text: room, to: &rest)
        rest.append(contentsOf: ",\"offset\":\(position.offset),\"epoch\":\"".utf8)
        EpochText.append(position.epoch, to: &rest)
        rest.append(contentsOf: "\"}}".utf8)
        _ = try await request(rest, isRepeatable: false)
    }

    /// Messages dropped as repeats so far.
    package func duplicates() async -> UInt64 {
        let core = core
        return (try? await core.loop.submit { core.duplicates }.get()) ?? 0
    }

    /// Ends the connection and all subscriptions.
    package func close() async {
        let core = core
        try? await core.loop.submit { core.close() }.get()
    }

    private func request(_ rest: [UInt8], isRepeatable: Bool) async throws -> ServerMessage.Reply {
        let core = core
        return try await withCheckedThrowingContinuation { continuation in
            core.loop.execute {
                core.request(rest, isRepeatable: isRepeatable) { result in
                    continuation.resume(with: result.mapError { $0 as any Error })
                }
            }
        }
    }
}
