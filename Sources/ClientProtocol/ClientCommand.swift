import Primitives

/// One command of the Centrifugo client protocol v2. Byte slices share the frame's storage: copy what must outlive it.
package struct ClientCommand: Equatable, Sendable {
    package enum Method: Equatable, Sendable {
        /// The empty command `{}`: the client's answer to our ping.
        case pong
        case connect(ConnectRequest)
        case subscribe(SubscribeRequest)
        case unsubscribe(channel: ArraySlice<UInt8>)
        case publish(PublishRequest)
        case history(HistoryRequest)
        case presence(channel: ArraySlice<UInt8>)
        case presenceStats(channel: ArraySlice<UInt8>)
        case rpc(method: ArraySlice<UInt8>, data: ArraySlice<UInt8>)
        /// A message without reply; `id` is 0.
        case send(data: ArraySlice<UInt8>)
        case refresh(token: ArraySlice<UInt8>)
        case subRefresh(channel: ArraySlice<UInt8>, token: ArraySlice<UInt8>)
        /// A ping from the client, which v2 SDKs no longer send; answer with an empty result.
        case ping
        /// Our extension: everything up to `since` in the channel has been processed.
        case acknowledge(channel: ArraySlice<UInt8>, position: StreamPosition)
        /// Well-formed JSON that is not a command we can carry out; reply with the error. When `id` is 0 nobody can be
        /// told: disconnect with 3501.
        case invalid(ClientError)
    }

    /// The number that the reply repeats; 0 for `pong` and `send`.
    package let id: UInt32
    package let method: Method
}

/// The epoch that a client names.
package enum EpochField: Equatable, Sendable {
    /// None, or the empty string.
    case none
    case epoch(UInt64)
    /// A string that this server never issued: it equals no room's epoch.
    case foreign
}

/// A position that a client names: everything up to `offset` is known to it.
package struct StreamPosition: Equatable, Sendable {
    package var offset: UInt64
    package var epoch: EpochField

    package init(offset: UInt64 = 0, epoch: EpochField = .none) {
        self.offset = offset
        self.epoch = epoch
    }
}

/// The first command of a connection. Absent members are empty.
package struct ConnectRequest: Equatable, Sendable {
    package var token: ArraySlice<UInt8> = []
    /// The application's own JSON.
    package var data: ArraySlice<UInt8> = []
    /// Server-side subscriptions to recover, in the order of the frame.
    package var subscriptions: [SubscribeRequest] = []
    package var name: ArraySlice<UInt8> = []
    package var version: ArraySlice<UInt8> = []
    /// Headers that a browser could not set itself; names as sent.
    package var headers: [HeaderField] = []

    package struct HeaderField: Equatable, Sendable {
        package var name: ArraySlice<UInt8>
        package var value: ArraySlice<UInt8>
    }
}

/// A subscription. Absent members are empty, false or 0.
package struct SubscribeRequest: Equatable, Sendable {
    package var channel: ArraySlice<UInt8> = []
    package var token: ArraySlice<UInt8> = []
    /// Send what came after `position`.
    package var recover = false
    package var position = StreamPosition()
    package var positioned = false
    package var recoverable = false
    package var joinLeave = false
    /// The application's own JSON.
    package var data: ArraySlice<UInt8> = []
    /// Our extension: at-least-once with acknowledgements.
    package var acknowledgement: AcknowledgementRequest?
    /// Members that would change the meaning and that we do not support (`delta`, `tf`, `type`, `flag`): refuse with
    /// 108 when not empty.
    package var unsupported: [StaticStringName] = []
}

/// `"ack": {"cursor": "name", "window": n}` of a subscribe command.
package struct AcknowledgementRequest: Equatable, Sendable {
    /// The durable cursor's name; empty for acknowledgements that live as long as the session.
    package var cursor: ArraySlice<UInt8> = []
    /// How many publications may be unacknowledged; 0 = the server's default.
    package var window: UInt32 = 0
}

/// A publish, over the client protocol or the server API. Absent members are empty or 0.
package struct PublishRequest: Equatable, Sendable {
    package var channel: ArraySlice<UInt8> = []
    /// The payload: JSON, or decoded bytes when `isBinary`.
    package var data: ArraySlice<UInt8> = []
    /// The payload came as `b64data`.
    package var isBinary = false
    package var idempotencyKey: ArraySlice<UInt8> = []
    package var producer: ProducerField?
    /// Milliseconds after which the message is stale; 0 = never.
    package var timeToLive: UInt64 = 0
    /// A JSON object of strings.
    package var tags: ArraySlice<UInt8> = []
    /// As in `SubscribeRequest`: `delta`, `version`, `version_epoch`, and a true `skip_history`.
    package var unsupported: [StaticStringName] = []
}

/// `"producer": {"id": "…", "epoch": n, "seq": n}`: who vouches for the order of publishes and against repeats.
package struct ProducerField: Equatable, Sendable {
    package var id: ArraySlice<UInt8>
    package var epoch: UInt64
    package var sequence: UInt64
}

/// A page of a channel's history.
package struct HistoryRequest: Equatable, Sendable {
    package var channel: ArraySlice<UInt8> = []
    /// Publications at most; 0 asks only for the top position, nil (-1 on the wire) for all that the server allows.
    package var limit: Int? = 0
    package var since: StreamPosition?
    package var reverse = false
}
