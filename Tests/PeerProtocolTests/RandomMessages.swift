import Keys
import PeerProtocol
import Primitives
import Raft
import Rooms

/// Random peer messages of every case, for round trips and as seeds of the fuzzers.
struct RandomMessages {
    static let cases = 39
    static let raftCases = 10
    var random: Xoshiro256

    init(seed: UInt64) { random = Xoshiro256(seed: seed) }

    mutating func message(_ index: Int) -> PeerMessage {
        switch index {
        case 0: return .raft(group(), raft(Int(random.below(UInt64(RandomMessages.raftCases)))))
        case 1:
            return .publish(
                PublishStream(
                    partition: partition(),
                    gateway: GatewayID(rawValue: random.next()),
                    attempt: UInt32(truncatingIfNeeded: random.next()),
                    first: number(),
                    acknowledgedBelow: number(),
                    commands: list(20) { $0.slice(100) }
                )
            )
        case 2:
            return .published(
                PublishedResults(
                    partition: partition(),
                    gateway: GatewayID(rawValue: random.next()),
                    results: list(20) {
                        .init(sequence: $0.number(), outcome: $0.outcome(), receivers: UInt32($0.random.below(9)))
                    }
                )
            )
        case 3:
            return .publishRefused(
                PublishRefusal(
                    partition: partition(),
                    gateway: GatewayID(rawValue: random.next()),
                    attempt: UInt32(truncatingIfNeeded: random.next()),
                    owner: node()
                )
            )
        case 4: return .announce(partition(), room(), body: slice(300))
        case 5:
            return .fetch(
                FetchRequest(
                    partition: partition(),
                    token: number(),
                    room: room(),
                    register: flip(),
                    linearizable: flip(),
                    epoch: random.next(),
                    from: number(),
                    limit: UInt32(truncatingIfNeeded: random.next()),
                    consumer: bytes(30),
                    subscribers: UInt32(truncatingIfNeeded: random.next())
                )
            )
        case 6:
            let status: FetchReply.Status = [.ok, .notOwner(node()), .busy][Int(random.below(3))]
            var reply = FetchReply(
                partition: partition(),
                token: number(),
                room: room(),
                status: status,
                head: RoomHead(epoch: random.next(), first: number(), next: number()),
                publications: publications(),
                cursor: flip() ? number() : nil
            )
            reply.isCursorOfFormerEpoch = reply.cursor != nil && flip()
            return .fetched(reply)
        case 7: return .uninterested(partition(), room())
        case 8: return .publications(partition(), room(), epoch: random.next(), publications())
        case 9:
            return .acknowledge(
                partition(),
                list(20) {
                    CursorUpdate(
                        room: $0.room(),
                        consumer: $0.bytes(30),
                        position: Position(epoch: $0.random.next(), offset: $0.number())
                    )
                }
            )
        case 10: return .owners(list(20) { .init(partition: $0.partition(), term: $0.number()) })
        case 11: return .keepalive
        case 12:
            return .snapshotChunk(
                SnapshotChunk(
                    group: group(),
                    term: number(),
                    descriptor: descriptor(),
                    stateBytes: number(),
                    firstEntry: number(),
                    offset: number(),
                    state: slice(500),
                    entries: entries()
                )
            )
        case 13: return .snapshotProgress(group(), index: number(), received: number())
        case 14: return .snapshotRequest(group())
        case 26...: return controlMessage(index)
        default: return shimMessage(index)
        }
    }

    private mutating func controlMessage(_ index: Int) -> PeerMessage {
        func id(_ random: inout Xoshiro256) -> NodeID { NodeID(random.next()) }
        switch index {
        case 26: return .retireRequest(group())
        case 27: return .retire(group(), epoch: number(), term: number())
        case 28: return .controlRequest(token: number(), .plan)
        case 29: return .controlRequest(token: number(), .rebalance)
        case 30: return .controlRequest(token: number(), .move(partition(), id(&random)))
        case 31: return .controlRequest(token: number(), .setLeaving(id(&random), flip()))
        case 32: return .controlRequest(token: number(), .setWeight(id(&random), UInt8(truncatingIfNeeded: number())))
        case 33: return .controlRequest(token: number(), .forget(id(&random)))
        case 34: return .controlReply(token: number(), .accepted)
        case 35: return .controlReply(token: number(), .refused("no: \(number())"))
        case 36: return .standing(mayLead: flip())
        case 37:
            return .loads(list(20) { .init(partition: $0.partition(), operations: $0.number(), bytes: $0.number()) })
        case 38: return .controlReply(token: number(), .notMember)
        default:
            let moves = list(20) { source in
                ControlReply.Move(
                    partition: source.partition(),
                    from: (0..<source.random.below(8)).map { _ in NodeID(source.random.next()) },
                    to: (0..<source.random.below(8)).map { _ in NodeID(source.random.next()) }
                )
            }
            return .controlReply(token: number(), .plan(moves))
        }
    }

    private mutating func shimMessage(_ index: Int) -> PeerMessage {
        switch index {
        case 15:
            return .keyResults(
                KeyResults(
                    partition: partition(),
                    gateway: GatewayID(rawValue: random.next()),
                    results: list(20) { .init(sequence: $0.number(), outcome: $0.keyOutcome()) }
                )
            )
        case 16:
            return .keyRead(
                KeyRead(
                    partition: partition(),
                    token: number(),
                    gateway: GatewayID(rawValue: random.next()),
                    unit: slice(200)
                )
            )
        case 17:
            let status: KeyReadReply.Status = [.ok(keyOutcome()), .notOwner(node()), .busy][Int(random.below(3))]
            return .keyReadReply(KeyReadReply(partition: partition(), token: number(), status: status))
        case 18:
            return .keyServed(
                KeyServed(
                    partition: partition(),
                    gateway: GatewayID(rawValue: random.next()),
                    replies: list(20) { .init(ticket: $0.number(), bytes: $0.bytes(50)) }
                )
            )
        case 19:
            return .subscribers(
                partition(),
                token: number(),
                list(20) { SubscriberCount(room: $0.room(), count: UInt32($0.random.below(1000))) }
            )
        case 20:
            return .patterns(
                partition(),
                token: number(),
                list(20) { PatternCount(pattern: Glob($0.bytes(20)), count: UInt32($0.random.below(1000))) }
            )
        case 21: return .noted(partition(), token: number())
        case 22: return .announceCounted(partition(), token: number(), room(), body: slice(300))
        case 23: return .received(partition(), token: number(), UInt32(random.below(1 << 20)))
        case 24:
            let query: ChannelQuery = [
                .names(nil), .names(Glob(bytes(20))), .counts(list(9) { $0.room() }), .patterns,
            ][Int(random.below(4))]
            return .channelQuery(partition(), token: number(), query)
        default:
            let reply: ChannelReply = [
                .names(list(9) { $0.room() }), .counts(list(9) { $0.number() }),
                .patterns(list(9) { Glob($0.bytes(20)) }),
            ][Int(random.below(3))]
            return .channelReply(partition(), token: number(), reply)
        }
    }

    private mutating func keyOutcome() -> KeyOutcome {
        [.replied(bytes(50)), .waits(bytes(50)), .unknown][Int(random.below(3))]
    }

    mutating func raft(_ index: Int) -> RaftMessage {
        let body: RaftMessage.Body
        switch index {
        case 0: body = .preVote(vote())
        case 1: body = .preVoteReply(granted: flip())
        case 2: body = .vote(vote())
        case 3: body = .voteReply(granted: flip())
        case 4:
            body = .append(
                AppendRequest(
                    previousIndex: number(),
                    previousTerm: number(),
                    commit: number(),
                    entries: entries()
                )
            )
        case 5:
            body = .appendReply(
                AppendReply(index: number(), rejected: flip(), hintIndex: number(), hintTerm: number())
            )
        case 6: body = .heartbeat(commit: number(), context: number())
        case 7: body = .heartbeatReply(context: number())
        case 8: body = .snapshot(descriptor())
        default: body = .timeoutNow
        }
        return RaftMessage(from: NodeID(random.next()), to: NodeID(random.next()), term: number(), body: body)
    }

    /// Small, middling and huge numbers alike, with the extremes.
    mutating func number() -> UInt64 {
        switch random.below(8) {
        case 0: 0
        case 1: .max
        case 2: random.next()
        default: random.below(1 << random.below(50))
        }
    }

    private mutating func flip() -> Bool { random.chance(1, in: 2) }
    private mutating func partition() -> PartitionID { PartitionID(UInt32(truncatingIfNeeded: number())) }
    private mutating func group() -> GroupID { GroupID(rawValue: UInt32(truncatingIfNeeded: number())) }
    private mutating func node() -> NodeID? { flip() ? NodeID(random.next()) : nil }

    mutating func bytes(_ limit: UInt64) -> [UInt8] {
        (0..<random.below(limit + 1)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private mutating func slice(_ limit: UInt64) -> ArraySlice<UInt8> { bytes(limit)[...] }
    private mutating func room() -> RoomName { RoomName(bytes(60)) }

    private mutating func list<T>(_ limit: UInt64, _ make: (inout RandomMessages) -> T) -> [T] {
        (0..<random.below(limit + 1)).map { _ in make(&self) }
    }

    private mutating func publications() -> [Publication] {
        list(20) { Publication(offset: $0.number(), timestamp: $0.number(), body: $0.slice(100)) }
    }

    private mutating func entries() -> [Entry] {
        list(20) {
            let kind = EntryKind(rawValue: UInt8($0.random.below(3)))!
            return Entry(term: $0.number(), index: $0.number(), kind: kind, data: $0.bytes(100))
        }
    }

    private mutating func descriptor() -> SnapshotDescriptor {
        SnapshotDescriptor(
            index: number(),
            term: number(),
            membership: Membership(
                voters: list(5) { NodeID($0.random.next()) },
                outgoing: list(5) { NodeID($0.random.next()) },
                learners: list(5) { NodeID($0.random.next()) }
            )
        )
    }

    private mutating func vote() -> VoteRequest {
        VoteRequest(lastIndex: number(), lastTerm: number(), isTransfer: flip())
    }

    private mutating func outcome() -> PublishOutcome {
        let at = Position(epoch: random.next(), offset: number())
        return [
            .appended(at), .duplicate(at), .duplicateUnknownOffset, .sequenceGap(expected: number()),
            .fenced(currentEpoch: number()), .unknownProducer, .limitReached,
        ][Int(random.below(7))]
    }
}
