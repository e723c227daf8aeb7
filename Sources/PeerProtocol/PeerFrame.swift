import Primitives

/// The frame around a peer message: length u32 little-endian, then so many bytes: a tag and the message's fields.
///
/// Integers are varints where small values are common and fixed little-endian where they are not (identifiers, epochs).
package enum PeerFrame {
    /// Raised whenever a byte changes its meaning; links of different versions refuse each other.
    package static let version: UInt16 = 2
    /// Bytes of the length in front.
    package static let prefixBytes = 4
    /// The default bound of a frame, prefix included.
    package static let defaultLimit = 32 << 20
    /// Bytes of replies to one unit of commands on keys that a frame has room for.
    package static let repliesLimit = defaultLimit - (1 << 20)

    /// The size of the frame that begins here, prefix included; nil while fewer than `prefixBytes` are there. Throws
    /// when it is empty or above `limit`, so that nothing is gathered for a frame that will not be read.
    package static func size(at start: UnsafeRawBufferPointer, limit: Int) throws(DecodeError) -> Int? {
        guard start.count >= prefixBytes else { return nil }
        let length = Int(UInt32(littleEndian: start.loadUnaligned(as: UInt32.self)))
        guard length > 0 else { throw .malformed("frame length") }
        guard length + prefixBytes <= limit else {
            throw .tooLong(field: "frame", length: length + prefixBytes, limit: limit)
        }
        return length + prefixBytes
    }
}

/// Bounds of what one message may hold, beside the frame's own size. Senders split what is bigger.
package enum PeerLimits {
    /// Elements of any list: publications, entries, commands, results, cursors, ownerships.
    package static let elements = 1 << 18
    /// Bytes of a room's name.
    package static let roomName = 65_535
    /// Bytes of a consumer's name.
    package static let consumer = 65_535
}

/// The first byte of a frame's content. Numbers are never used twice.
enum PeerTag: UInt8 {
    case raft = 1
    case publish = 2
    case published = 3
    case publishRefused = 4
    case announce = 5
    case fetch = 6
    case fetched = 7
    case uninterested = 8
    case publications = 9
    case acknowledge = 10
    case owners = 11
    case keepalive = 12
    case snapshotChunk = 13
    case snapshotProgress = 14
    case snapshotRequest = 15
    case keyResults = 16
    case keyRead = 17
    case keyReadReply = 18
    case keyServed = 19
    case subscribers = 20
    case patterns = 21
    case noted = 22
    case announceCounted = 23
    case received = 24
    case channelQuery = 25
    case channelReply = 26
    case retireRequest = 27
    case retire = 28
    case controlRequest = 29
    case controlReply = 30
    case standing = 31
    case loads = 32

    /// The message keeps slices of the array that it was decoded from.
    var keepsSlices: Bool {
        switch self {
        case .publish, .announce, .fetch, .fetched, .uninterested, .publications, .acknowledge, .snapshotChunk,
            .keyRead,
            .subscribers, .announceCounted, .channelQuery, .channelReply:
            true
        case .raft, .published, .publishRefused, .owners, .keepalive, .snapshotProgress, .snapshotRequest,
            .keyResults, .keyReadReply, .keyServed, .patterns, .noted, .received, .retireRequest, .retire,
            .controlRequest, .controlReply, .standing, .loads:
            false
        }
    }
}
