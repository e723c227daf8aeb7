import Broker
import ClientProtocol
import Primitives
import Rooms

/// The plain JSON protocol of `/ws` (GW-13).
extension ClientConnection {
    /// The session joins the rooms that it is in from the start.
    func beginPlain(room: [UInt8]) {
        isConnected = true
        for name in shard.serverRooms(user: user) { joinPlain(name, .plainRoom, isServerSide: true) }
        guard !room.isEmpty else { return }
        if let refusal = subscribeRefusal(of: RoomName(room)) { return refusePlain(refusal, []) }
        joinPlain(RoomName(room), .plain(0), isServerSide: false)
    }

    func handlePlain(_ payload: [UInt8]) {
        let message: PlainMessage
        let id: ArraySlice<UInt8>
        do throws(JSONError) {
            (message, id) = try PlainMessage.decode(payload[...], limits: shard.protocolLimits)
        } catch {
            return send { PlainEncoder.appendError(.badRequest, to: &$0) }
        }
        switch message {
        case .message(let content, let user, let room): publishPlain(content, user, room, id)
        case .join(let room):
            if room.first == UInt8(ascii: "#"), !room.dropFirst().elementsEqual(user) {
                return refusePlain(.permissionDenied, id)
            }
            if let refusal = subscribeRefusal(of: RoomName(room)) { return refusePlain(refusal, id) }
            joinPlain(RoomName(room), request(for: id), isServerSide: false)
        case .leave(let room):
            leave(RoomName(room))
            send { PlainEncoder.appendLeft(room: room, to: &$0) }
            if !id.isEmpty { send { PlainEncoder.appendAcknowledge(id: id, to: &$0) } }
        case .ping: send { PlainEncoder.appendPong(to: &$0) }
        case .pong: pongDeadline = .distantFuture
        case .invalid(let error): refusePlain(error, id)
        }
    }

    private func refusePlain(_ error: ClientError, _ id: ArraySlice<UInt8>) {
        send { PlainEncoder.appendError(error, id: id, to: &$0) }
    }

    private func request(for id: ArraySlice<UInt8>) -> Request {
        nextRequest = nextRequest &+ 1 == 0 ? 1 : nextRequest &+ 1
        if !id.isEmpty { plainIDs[nextRequest] = Array(id) }
        return .plain(nextRequest)
    }

    private func takeID(_ number: UInt32) -> ArraySlice<UInt8> {
        (plainIDs.removeValue(forKey: number) ?? [])[...]
    }

    private func publishPlain(
        _ content: ArraySlice<UInt8>,
        _ user: ArraySlice<UInt8>,
        _ room: ArraySlice<UInt8>?,
        _ id: ArraySlice<UInt8>
    ) {
        guard let session else { return }
        let target = room.map(RoomName.init) ?? RoomName(shard.configuration.broadcastRoom)
        guard target.count > 0 else { return refusePlain(.notAvailable, id) }
        var payload: [UInt8] = []
        PlainEncoder.appendMessage(content: content, user: user, room: room, to: &payload)
        if let refusal = publishRefusal(of: target, bytes: payload.count) { return refusePlain(refusal.error, id) }
        outstanding += 1
        shard.metrics.publishes += 1
        shard.broker.publish(
            RequestToken(session: session, command: request(for: id).token),
            room: target,
            body: MessageBody(payload: payload[...]).encoded()[...],
            producer: nil,
            idempotencyKey: []
        )
        shard.calledBroker()
    }

    func plainPublished(_ number: UInt32, _ result: Result<PublishOutcome, RequestError>) {
        let id = takeID(number)
        switch result {
        case .success(let outcome):
            guard let accepted = outcome.accepted else { return refusePlain(outcome.clientError, id) }
            guard !id.isEmpty else { return }
            send {
                PlainEncoder.appendAcknowledge(
                    id: id,
                    epoch: accepted.position?.epoch,
                    offset: accepted.position?.offset ?? 0,
                    to: &$0
                )
            }
        case .failure(let error): refusePlain(error.clientError, id)
        }
    }

    // MARK: Rooms

    func joinPlain(_ name: RoomName, _ request: Request, isServerSide: Bool) {
        guard let session else { return }
        let failure: RequestError?
        if memberships.contains(where: { $0.name == name }) {
            failure = .alreadySubscribed
        } else if memberships.count >= shard.configuration.roomsPerConnection {
            failure = .tooManySubscriptions
        } else {
            failure = nil
        }
        if let failure {
            // The rooms from the start may coincide.
            if case .plain(let number) = request { refusePlain(failure.clientError, takeID(number)) }
            return
        }
        let namespace = shard.namespaces.row(of: name)
        memberships.append(Membership(name: name.compacted(), namespace: namespace, isServerSide: isServerSide))
        outstanding += 1
        shard.broker.subscribe(
            RequestToken(session: session, command: request.token),
            room: name.compacted(),
            options: SubscribeOptions()
        )
        shard.calledBroker()
    }

    /// `number` nil: a room from the start, whose joining is not announced.
    func plainJoined(_ number: UInt32?, _ name: RoomName, _ result: Result<BrokerSubscribeResult, RequestError>) {
        let id = number.map(takeID) ?? []
        switch result {
        case .success(let success):
            guard let row = memberships.firstIndex(where: { $0.name == name }) else {
                if let session { _ = shard.broker.unsubscribe(session, room: name) }
                return
            }
            memberships[row].room = success.room
            joinedNamespace(memberships[row].namespace)
            shard.note(success.room, name, epoch: success.epoch, isStored: success.isStored)
            if number != nil { send { PlainEncoder.appendJoined(room: name.bytes, to: &$0) } }
            if !id.isEmpty { send { PlainEncoder.appendAcknowledge(id: id, to: &$0) } }
            for publication in success.publications { shard.deliver(publication, room: success.room, to: self) }
        case .failure(let error):
            memberships.removeAll { $0.name == name }
            // Without its rooms the session would be deaf: let it come again, here or elsewhere.
            guard number != nil else { return close(Disconnect(code: 1013, reason: "try again later")) }
            refusePlain(error.clientError, id)
        }
    }

    /// The room's history began anew: `/ws` has no positions, so the server joins again by itself.
    func rejoinPlain(_ name: RoomName, isServerSide: Bool) {
        joinPlain(name, .plainRoom, isServerSide: isServerSide)
    }
}
