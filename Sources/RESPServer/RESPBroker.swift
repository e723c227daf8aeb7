import Broker
import Keys
import Primitives
import Rooms

/// What the shim needs from a shard's broker. `Broker` conforms in Node; tests use one that runs `KeyPartition`s alone.
///
/// Every call may add edge directives to the broker's outbox; they come back through `RESPShard.handle`, at once or
/// later in the tick, never from inside one of these calls.
package protocol RESPBroker: AnyObject {
    /// Nil at the shard's bound.
    func openSession() -> SessionID?
    /// Ends its subscriptions. Requests under way are answered to nobody.
    func closeSession(_ session: SessionID)

    // MARK: Keys

    /// Raft groups that hold keys; slot `s` is in number `s * keyPartitions / 16384`.
    var keyPartitions: Int { get }
    /// Runs an encoded `KeyUnit`; answered by `.keys`. One that only reads (`commands` without writes, `versions`) does
    /// not go through the log. A session has at most one unit under way in a partition.
    func execute(_ token: RequestToken, keyPartition: Int, unit: [UInt8], isReadOnly: Bool)
    /// A number for a unit whose last command may wait. The reply to the wait comes by `.served(ticket:)`; after that,
    /// or after `cancel`, the ticket is done.
    func nextTicket() -> UInt64
    /// The connection that waits by the ticket is gone.
    func cancel(ticket: UInt64, keyPartition: Int)
    /// Ends the wait of any connection of this node (CLIENT UNBLOCK); answered by `.keys` with `:1` or `:0`.
    func unblock(_ token: RequestToken, ticket: UInt64, keyPartition: Int, error: [UInt8])

    // MARK: Channels

    /// Returns the number of subscribers in the cluster that the message was sent to; nil when it is not known yet and
    /// comes by `.received`. `body` is an encoded `MessageBody`.
    func publishCounted(_ token: RequestToken, room: RoomName, body: ArraySlice<UInt8>) -> Int?
    /// Answered by `.subscribed` once every later publish anywhere in the cluster counts and reaches this session.
    func subscribe(_ token: RequestToken, room: RoomName, options: SubscribeOptions)
    func unsubscribe(_ session: SessionID, room: RoomName) -> Bool
    /// Answered by `.patternSubscribed` once every later publish reaches this shard. Matching messages come by
    /// `.patternMessage` once, whatever the number of patterns and sessions: the shim matches and copies.
    /// False when the shard has as many different patterns as it may have.
    func subscribePattern(_ token: RequestToken, pattern: Glob) -> Bool
    /// One subscription to the pattern less on this shard.
    func unsubscribePattern(_ pattern: Glob)
    /// Answered by `.channels`.
    func channels(_ token: RequestToken, query: ChannelQuery)

    func liveSubscribers(of room: HubRoomID) -> [UInt32]
    func roomName(of room: HubRoomID) -> RoomName
}
