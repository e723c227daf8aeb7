import Broker
import Rooms

/// What the client edge needs from a shard's broker. `Broker` conforms in Node; tests use a fake.
///
/// Every call may add edge directives to the broker's outbox; they come back through `GatewayShard.handle`, at once or
/// later in the tick, never from inside one of these calls.
package protocol EdgeBroker: AnyObject {
    /// Nil at the shard's bound.
    func openSession() -> SessionID?
    func closeSession(_ session: SessionID)

    /// Answered by `.published`. `body` is an encoded `MessageBody`.
    func publish(
        _ token: RequestToken,
        room: RoomName,
        body: ArraySlice<UInt8>,
        producer: ProducerStamp?,
        idempotencyKey: ArraySlice<UInt8>
    )
    /// Answered by `.subscribed`.
    func subscribe(_ token: RequestToken, room: RoomName, options: SubscribeOptions)
    /// At once; false when the session was not subscribed.
    func unsubscribe(_ session: SessionID, room: RoomName) -> Bool
    /// Answered by `.history`.
    func history(_ token: RequestToken, room: RoomName, since: Position?, limit: Int, reverse: Bool)
    func acknowledge(_ session: SessionID, room: RoomName, position: Position) throws(RequestError)

    /// The connection's queue is empty: paused stored subscriptions catch up from the log.
    func sessionWritable(_ session: SessionID)
    /// The connection's queue is full: of this stored room the session got everything below `nextOffset` and gets
    /// nothing more until `sessionWritable`. The offset matters: several broadcasts may stand in one outbox, and the
    /// broker's own idea of what was delivered is then ahead of the connection's.
    func pause(_ session: SessionID, _ room: HubRoomID, nextOffset: UInt64)

    /// Slots of the sessions that get `.broadcast`.
    func liveSubscribers(of room: HubRoomID) -> [UInt32]
    func roomName(of room: HubRoomID) -> RoomName
    func policy(of room: HubRoomID) -> NamespacePolicy
    func policy(for room: RoomName) -> NamespacePolicy
    var isDegraded: Bool { get }
}
