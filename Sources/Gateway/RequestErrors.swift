import Broker
import ClientProtocol
import Rooms

/// What a client is told when the broker could not do what it asked.
extension RequestError {
    var clientError: ClientError {
        switch self {
        case .noQuorum:
            ClientError(
                code: 100,
                message: "no quorum: the room's partition has no owner; nothing was done",
                isTemporary: true
            )
        case .busy: ClientError(code: 111, message: "too many requests in flight; nothing was done", isTemporary: true)
        case .timeout:
            ClientError(
                code: 100,
                message: "timeout: the outcome is unknown; retry with the same idempotency key",
                isTemporary: true
            )
        case .alreadySubscribed: .alreadySubscribed
        case .notSubscribed: ClientError(code: 103, message: "not subscribed with acknowledgements")
        case .badPosition: ClientError(code: 112, message: "the position does not belong to the subscription")
        case .tooManySubscriptions: ClientError(code: 106, message: "too many subscriptions of this connection")
        case .refused(let outcome): outcome.clientError
        case .notStored: ClientError(code: 108, message: "the room keeps no history")
        case .tooLong: .badRequest
        }
    }
}

extension PublishOutcome {
    /// Why a publish was decided against; a plain bad request for outcomes that are no refusals.
    var clientError: ClientError {
        switch self {
        case .sequenceGap(let expected):
            ClientError(code: 107, message: "producer sequence gap: expected \(expected)")
        case .fenced(let current): ClientError(code: 107, message: "producer fenced: its epoch is now \(current)")
        case .unknownProducer:
            ClientError(code: 107, message: "unknown producer: begin at sequence 0 with a higher epoch")
        case .limitReached: ClientError(code: 107, message: "limit reached: rooms per partition or producers per room")
        case .appended, .duplicate, .duplicateUnknownOffset: .badRequest
        }
    }

    /// What an accepted publish is answered with; nil when it was refused.
    var accepted: (position: Position?, isDuplicate: Bool)? {
        switch self {
        case .appended(let position): (position.epoch == 0 ? nil : position, false)
        case .duplicate(let position): (position, true)
        case .duplicateUnknownOffset: (nil, true)
        default: nil
        }
    }
}

/// A publish request as the broker takes it.
extension PublishRequest {
    /// The refusal of members that would change the meaning.
    static func refusal(of unsupported: [String]) -> ClientError {
        ClientError(code: 108, message: "not supported: " + unsupported.joined(separator: ", "))
    }

    var encodedBody: ArraySlice<UInt8> {
        MessageBody(payload: data, isJSON: !isBinary, timeToLive: timeToLive, tags: tags).encoded()[...]
    }

    var producerStamp: ProducerStamp? {
        producer.map { ProducerStamp(id: $0.id, epoch: $0.epoch, sequence: $0.sequence) }
    }
}

/// The shell's part of a `RequestToken`: what kind of request it is, and a number that tells it from others.
enum Request: Equatable {
    /// A command with a protocol id.
    case command(UInt32)
    /// A room that the server or the connect command asks for; its row in the connect reply.
    case connectRoom(UInt32)
    /// A plain message or join; the number finds its JSON id, 0 = none.
    case plain(UInt32)
    /// A room that `/ws` is in from the start.
    case plainRoom
    case http(UInt32)

    init?(token: UInt64) {
        let number = UInt32(truncatingIfNeeded: token)
        switch token >> 32 {
        case 0: self = .command(number)
        case 1: self = .connectRoom(number)
        case 2: self = .plain(number)
        case 3: self = .plainRoom
        case 4: self = .http(number)
        default: return nil
        }
    }

    var token: UInt64 {
        switch self {
        case .command(let number): UInt64(number)
        case .connectRoom(let number): 1 << 32 | UInt64(number)
        case .plain(let number): 2 << 32 | UInt64(number)
        case .plainRoom: 3 << 32
        case .http(let number): 4 << 32 | UInt64(number)
        }
    }
}
