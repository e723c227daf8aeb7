import Primitives
import Raft

extension RaftMessage {
    enum Tag: UInt8 {
        case preVote = 1
        case preVoteReply = 2
        case vote = 3
        case voteReply = 4
        case append = 5
        case appendReply = 6
        case heartbeat = 7
        case heartbeatReply = 8
        case snapshot = 9
        case timeoutNow = 10
    }

    /// From u64, to u64, term varint, tag u8, the body's fields.
    func encode(into writer: inout ByteWriter) {
        func header(_ tag: Tag) {
            writer.write(from.rawValue)
            writer.write(to.rawValue)
            writer.writeVarint(term)
            writer.write(tag.rawValue)
        }
        switch body {
        case .preVote(let request):
            header(.preVote)
            request.encode(into: &writer)
        case .preVoteReply(let granted):
            header(.preVoteReply)
            writer.write(UInt8(granted ? 1 : 0))
        case .vote(let request):
            header(.vote)
            request.encode(into: &writer)
        case .voteReply(let granted):
            header(.voteReply)
            writer.write(UInt8(granted ? 1 : 0))
        case .append(let request):
            header(.append)
            writer.writeVarint(request.previousIndex)
            writer.writeVarint(request.previousTerm)
            writer.writeVarint(request.commit)
            writer.write(request.entries)
        case .appendReply(let reply):
            header(.appendReply)
            writer.writeVarint(reply.index)
            writer.write(UInt8(reply.rejected ? 1 : 0))
            writer.writeVarint(reply.hintIndex)
            writer.writeVarint(reply.hintTerm)
        case .heartbeat(let commit, let context):
            header(.heartbeat)
            writer.writeVarint(commit)
            writer.writeVarint(context)
        case .heartbeatReply(let context):
            header(.heartbeatReply)
            writer.writeVarint(context)
        case .snapshot(let descriptor):
            header(.snapshot)
            writer.write(descriptor)
        case .timeoutNow: header(.timeoutNow)
        }
    }
}

extension VoteRequest {
    func encode(into writer: inout ByteWriter) {
        writer.writeVarint(lastIndex)
        writer.writeVarint(lastTerm)
        writer.write(UInt8(isTransfer ? 1 : 0))
    }
}

extension PeerDecoder {
    mutating func raftMessage() throws(DecodeError) -> RaftMessage {
        let from = NodeID(try reader.read(UInt64.self))
        let to = NodeID(try reader.read(UInt64.self))
        let term = try reader.readVarint()
        let byte = try reader.readByte()
        guard let tag = RaftMessage.Tag(rawValue: byte) else {
            throw .unknown(field: "raft message", value: UInt64(byte))
        }
        return RaftMessage(from: from, to: to, term: term, body: try raftBody(tag))
    }

    private mutating func raftBody(_ tag: RaftMessage.Tag) throws(DecodeError) -> RaftMessage.Body {
        switch tag {
        case .preVote: return .preVote(try voteRequest())
        case .preVoteReply: return .preVoteReply(granted: try flag("granted"))
        case .vote: return .vote(try voteRequest())
        case .voteReply: return .voteReply(granted: try flag("granted"))
        case .append:
            let previousIndex = try reader.readVarint()
            let previousTerm = try reader.readVarint()
            let commit = try reader.readVarint()
            return .append(
                AppendRequest(
                    previousIndex: previousIndex,
                    previousTerm: previousTerm,
                    commit: commit,
                    entries: try entries()
                )
            )
        case .appendReply:
            let index = try reader.readVarint()
            let rejected = try flag("rejected")
            let hintIndex = try reader.readVarint()
            let hintTerm = try reader.readVarint()
            return .appendReply(
                AppendReply(index: index, rejected: rejected, hintIndex: hintIndex, hintTerm: hintTerm)
            )
        case .heartbeat:
            let commit = try reader.readVarint()
            return .heartbeat(commit: commit, context: try reader.readVarint())
        case .heartbeatReply: return .heartbeatReply(context: try reader.readVarint())
        case .snapshot: return .snapshot(try reader.readSnapshotDescriptor())
        case .timeoutNow: return .timeoutNow
        }
    }

    private mutating func voteRequest() throws(DecodeError) -> VoteRequest {
        let lastIndex = try reader.readVarint()
        let lastTerm = try reader.readVarint()
        return VoteRequest(lastIndex: lastIndex, lastTerm: lastTerm, isTransfer: try flag("transfer"))
    }
}
