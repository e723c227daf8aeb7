import ClientProtocol
import Primitives
import Rooms
import WebSocket

/// What the namespaces of `cluster.toml` allow this client, and how often they want it asked (RM-16).
extension ClientConnection {
    /// Why the client may not subscribe to a room or read its history; nil when it may. Counted.
    func subscribeRefusal(of room: RoomName) -> ClientError? {
        guard let reason = shard.namespaces[shard.namespaces.row(of: room)].subscribeRefusal else { return nil }
        shard.metrics.refuse(reason)
        return .permissionDenied
    }

    /// Why a publication of `bytes` payload bytes is not taken, as the protocols say it; nil when it is, and then it
    /// has used a token. Counted. `isTrusted`: a backend that knows the API key may publish anywhere, within size and
    /// rate.
    func publishRefusal(
        of room: RoomName,
        bytes: Int,
        isTrusted: Bool = false
    ) -> (error: ClientError, status: HTTPStatus)? {
        let row = shard.namespaces.row(of: room)
        let rules = shard.namespaces[row]
        if let reason = rules.publishRefusal, !isTrusted {
            shard.metrics.refuse(reason)
            return (.permissionDenied, .forbidden)
        }
        if bytes > rules.maxMessageSize {
            shard.metrics.refuse(.messageSize)
            let error = ClientError(
                code: 107,
                message: "message too large: \(bytes) bytes, the limit of this room is \(rules.maxMessageSize)"
            )
            return (error, .contentTooLarge)
        }
        if let rate = rules.rate, !allowance.take(rate, namespace: row, now: shard.now) {
            shard.metrics.refuse(.publishRate)
            let error = ClientError(
                code: 111,
                message: "too many publications: the rate of this room's namespace is exceeded; nothing was done",
                isTemporary: true
            )
            return (error, .tooManyRequests)
        }
        return nil
    }

    // MARK: Heartbeat

    /// The client is in a room of this namespace now: its heartbeat becomes the namespace's, if that is tighter.
    func joinedNamespace(_ row: Int32) {
        guard let wanted = shard.namespaces[row].heartbeat, wanted.isTighter(than: heartbeat) else { return }
        heartbeat = wanted
        // The next ping was planned at leisure. A pong that is waited for keeps the time that it was given.
        guard nextPing < .distantFuture else { return }
        nextPing = min(nextPing, shard.now + wanted.pingInterval)
        shard.arm(self, at: nextPing)
    }

    /// The client is in one room less of this namespace: the tightest of what remains counts.
    func leftNamespace(_ row: Int32) {
        guard shard.namespaces[row].heartbeat == heartbeat else { return }
        heartbeat = shard.heartbeat
        for membership in memberships where membership.room >= 0 {
            if let wanted = shard.namespaces[membership.namespace].heartbeat, wanted.isTighter(than: heartbeat) {
                heartbeat = wanted
            }
        }
    }
}
