import Broker
import ClientProtocol
import Primitives
import Rooms

/// A connect command whose rooms are being joined.
struct ConnectState {
    var id: UInt32
    /// By the number in the requests' tokens; nil until answered.
    var rooms: [(name: RoomName, result: ClientProtocol.SubscribeResult?)] = []
    var missing = 0
    /// What the positions in the command missed: told after the reply, which must be the first message.
    var gaps: [(gap: Gap, room: RoomName, epoch: UInt64)] = []
}

extension ClientConnection {
    // MARK: Frames

    func handleFrame(_ payload: [UInt8]) {
        handleCommands(ClientFrameDecoder(payload, limits: shard.protocolLimits))
    }

    /// Handles the commands of a frame until too many wait for their replies; the rest is kept.
    func handleCommands(_ frame: ClientFrameDecoder) {
        var decoder = frame
        while case .webSocket = phase {
            guard outstanding < shard.configuration.maxQueue else {
                pausedFrame = decoder
                return
            }
            do throws(ClientFrameError) {
                guard let command = try decoder.next() else { return }
                handle(command)
            } catch {
                return close(.badRequest)
            }
        }
    }

    private func handle(_ command: ClientCommand) {
        if case .pong = command.method {
            pongDeadline = .distantFuture
            return
        }
        let id = command.id
        if case .connect(let request) = command.method { return connect(id, request) }
        // The first command must be connect; others may follow before its reply.
        guard isConnected || connecting != nil else { return close(.badRequest) }
        switch command.method {
        case .subscribe(let request): subscribe(id, request)
        case .unsubscribe(let channel):
            leave(RoomName(channel))
            send { ReplyEncoder.appendUnsubscribe(id: id, to: &$0) }
        case .publish(let request): publish(id, request)
        case .history(let request): history(id, request)
        case .acknowledge(let channel, let position): acknowledge(id, RoomName(channel), position)
        case .presence, .presenceStats, .rpc: reply(id, .notAvailable)
        case .refresh, .subRefresh:
            reply(id, ClientError(code: 108, message: "tokens are not supported by this build"))
        // As the reference server does when nothing takes messages.
        case .send: close(.notAvailable)
        case .ping: send { ReplyEncoder.appendPing(id: id, to: &$0) }
        case .invalid(let error): if id == 0 { close(.badRequest) } else { reply(id, error) }
        case .pong, .connect: break
        }
    }

    func reply(_ id: UInt32, _ error: ClientError) {
        send { ReplyEncoder.appendError(id: id, error, to: &$0) }
    }

    // MARK: Connect

    private func connect(_ id: UInt32, _ request: ConnectRequest) {
        guard !isConnected, connecting == nil, let session else { return close(.badRequest) }
        guard request.token.isEmpty else {
            reply(id, ClientError(code: 101, message: "unauthorized: tokens are not supported by this build"))
            return close(Disconnect(code: 3500, reason: "invalid token: tokens are not supported by this build"))
        }
        var state = ConnectState(id: id)
        // The server's own rooms, then those that the client names; both may carry positions to continue from.
        var wanted: [(name: RoomName, request: SubscribeRequest?)] = []
        for name in shard.serverRooms(user: user) {
            wanted.append((name, request.subscriptions.first { RoomName($0.channel) == name }))
        }
        for subscription in request.subscriptions {
            let name = RoomName(subscription.channel)
            if let refusal = refusal(of: subscription) { return reply(id, refusal) }
            if !wanted.contains(where: { $0.name == name }) { wanted.append((name.compacted(), subscription)) }
        }
        guard wanted.count <= shard.configuration.roomsPerConnection else { return reply(id, .limitExceeded) }
        state.missing = wanted.count
        for room in wanted { state.rooms.append((room.name, nil)) }
        connecting = state
        guard !wanted.isEmpty else { return finishConnect() }
        isHeld = true
        openBacklog()
        for (row, room) in wanted.enumerated() {
            join(
                room.name,
                room.request,
                RequestToken(session: session, command: Request.connectRoom(UInt32(row)).token),
                isServerSide: true
            )
        }
    }

    private func finishConnect() {
        guard let state = connecting else { return }
        connecting = nil
        isConnected = true
        let configuration = shard.configuration
        var result = ConnectResult()
        result.client = shard.makeClientID()[...]
        result.session = shard.makeClientID()[...]
        result.version = Array(configuration.version.utf8)[...]
        result.node = Array(configuration.nodeName.utf8)[...]
        // Whole seconds on the wire; the client's own deadline is this plus ten. Pings may come earlier, for the sake
        // of a room's namespace, never later.
        result.pingInterval = UInt32(clamping: max(1, (configuration.pingInterval.milliseconds + 999) / 1000))
        for (name, subscription) in state.rooms {
            if let subscription { result.subscriptions.append(.init(channel: name.bytes, result: subscription)) }
        }
        send { ReplyEncoder.appendConnect(id: state.id, result, to: &$0) }
        for missed in state.gaps { send(missed.gap, missed.room.bytes, epoch: missed.epoch) }
        if isHeld {
            isHeld = false
            if let session { shard.delivery.mark(session.slot) }
            shard.finishInput()
        }
        nextPing = shard.firstPing(heartbeat)
        shard.arm(self, at: min(nextPing, idleDeadline))
    }

    /// A room of the connect command is answered.
    func connectRoomAnswered(_ row: Int, _ result: Result<BrokerSubscribeResult, RequestError>) {
        guard var state = connecting, row < state.rooms.count else { return }
        switch result {
        case .success(let success):
            state.rooms[row].result = joined(state.rooms[row].name, success)
            state.missing -= 1
            if let gap = success.gap { state.gaps.append((gap, state.rooms[row].name, success.epoch)) }
            connecting = state
            if state.missing == 0 { finishConnect() }
        case .failure(let error):
            // Half a connection would miss messages in silence: none at all, and the client comes again.
            connecting = nil
            isHeld = false
            reply(state.id, error.clientError)
            close(.serverError)
        }
    }

    // MARK: Subscribe

    private func refusal(of request: SubscribeRequest) -> ClientError? {
        if !request.unsupported.isEmpty || request.joinLeave {
            let names = request.unsupported.map(\.description) + (request.joinLeave ? ["join_leave"] : [])
            return PublishRequest.refusal(of: names)
        }
        if !request.token.isEmpty {
            return ClientError(code: 101, message: "unauthorized: tokens are not supported by this build")
        }
        // Personal rooms are the server's to give.
        if request.channel.first == UInt8(ascii: "#"), !request.channel.dropFirst().elementsEqual(user) {
            return .permissionDenied
        }
        return subscribeRefusal(of: RoomName(request.channel))
    }

    private func subscribe(_ id: UInt32, _ request: SubscribeRequest) {
        guard let session else { return }
        let name = RoomName(request.channel)
        if let refusal = refusal(of: request) { return reply(id, refusal) }
        if memberships.contains(where: { $0.name == name }) { return reply(id, .alreadySubscribed) }
        guard memberships.count < shard.configuration.roomsPerConnection else {
            return reply(id, RequestError.tooManySubscriptions.clientError)
        }
        join(
            name,
            request,
            RequestToken(session: session, command: Request.command(id).token),
            isServerSide: false
        )
    }

    /// Asks the broker for a room.
    private func join(_ name: RoomName, _ request: SubscribeRequest?, _ token: RequestToken, isServerSide: Bool) {
        var options = SubscribeOptions()
        if let request, request.recover {
            switch request.position.epoch {
            case .epoch(let epoch): options.recover = Position(epoch: epoch, offset: request.position.offset)
            case .foreign: options.recover = Position(epoch: .max, offset: request.position.offset)
            case .none:
                if request.position.offset == 0 {
                    options.fromBeginning = true
                } else {
                    options.recover = Position(epoch: 0, offset: request.position.offset)
                }
            }
        }
        let namespace = shard.namespaces.row(of: name)
        var membership = Membership(name: name.compacted(), namespace: namespace, isServerSide: isServerSide)
        if let wanted = request?.acknowledgement {
            let most = shard.configuration.ackWindow
            let window = wanted.window == 0 ? most : min(wanted.window, most)
            options.ackWindow = window
            options.consumer = Array(wanted.cursor)
            membership.ackWindow = window
            membership.cursor = options.consumer[...]
        }
        memberships.append(membership)
        outstanding += 1
        shard.broker.subscribe(token, room: membership.name, options: options)
        shard.calledBroker()
    }

    /// A subscribe command is answered.
    func subscribeAnswered(_ id: UInt32, _ name: RoomName, _ result: Result<BrokerSubscribeResult, RequestError>) {
        switch result {
        case .success(let success):
            guard let session, memberships.contains(where: { $0.name == name }) else {
                // Left before it began.
                if let session { _ = shard.broker.unsubscribe(session, room: name) }
                return reply(id, ClientError(code: 107, message: "unsubscribed meanwhile"))
            }
            if let gap = success.gap { send(gap, name.bytes, epoch: success.epoch) }
            var rest: ArraySlice<Publication> = []
            let answer = joined(name, success, rest: &rest)
            send { ReplyEncoder.appendSubscribe(id: id, answer, to: &$0) }
            deliver(rest, room: success.room, to: session)
        case .failure(let error):
            memberships.removeAll { $0.name == name }
            reply(id, error.clientError)
        }
    }

    private func joined(_ name: RoomName, _ success: BrokerSubscribeResult) -> ClientProtocol.SubscribeResult {
        var rest: ArraySlice<Publication> = []
        let result = joined(name, success, rest: &rest)
        if let session { deliver(rest, room: success.room, to: session) }
        return result
    }

    /// Notes the room and makes the protocol's result. Publications beyond a part of the write limit do not go into the
    /// reply, which is never dropped, but after it, like any others.
    private func joined(
        _ name: RoomName,
        _ success: BrokerSubscribeResult,
        rest: inout ArraySlice<Publication>
    ) -> ClientProtocol.SubscribeResult {
        shard.note(success.room, name, epoch: success.epoch, isStored: success.isStored)
        var result = ClientProtocol.SubscribeResult()
        result.wasRecovering = success.wasRecovering
        result.recovered = success.recovered
        result.recoverable = success.isStored
        result.positioned = success.isStored
        if success.isStored {
            result.epoch = success.epoch
            result.offset = success.offset
        }
        var bytes = 0
        rest = success.publications[...]
        while let next = rest.first, bytes == 0 || bytes + next.body.count <= shard.configuration.queueBytes / 4 {
            rest.removeFirst()
            bytes += next.body.count + 128
            result.offset = next.offset
            if let outgoing = shard.outgoing(next, room: success.room) { result.publications.append(outgoing) }
        }
        if let row = memberships.firstIndex(where: { $0.name == name }) {
            memberships[row].room = success.room
            joinedNamespace(memberships[row].namespace)
            if let window = memberships[row].ackWindow {
                result.acknowledgement = AcknowledgementGrant(
                    cursor: memberships[row].cursor,
                    window: window,
                    offset: (success.publications.first?.offset ?? success.offset + 1) - 1
                )
            }
        }
        return result
    }

    private func deliver(_ publications: ArraySlice<Publication>, room: HubRoomID, to session: SessionID) {
        for publication in publications { shard.deliver(publication, room: room, to: self) }
    }

    /// Ends the membership; messages that still wait are taken back, so that none can overtake a new subscription.
    func leave(_ name: RoomName) {
        guard let session else { return }
        if let row = memberships.firstIndex(where: { $0.name == name }) {
            let left = memberships.remove(at: row)
            if left.room >= 0 { forget(left.room) }
            leftNamespace(left.namespace)
        }
        _ = shard.broker.unsubscribe(session, room: name)
        shard.calledBroker()
    }

    func forget(_ room: HubRoomID) {
        pausedRooms.removeAll { $0 == room }
        guard let backlog else { return }
        let before = backlog.bytes
        backlog.remove(room)
        shard.metrics.queuedBytes -= before - backlog.bytes
    }

    func send(_ gap: Gap, _ channel: ArraySlice<UInt8>, epoch: UInt64) {
        let reason = gap.reason == .trimmed ? "trimmed" : "epoch"
        send {
            PushEncoder.appendGap(
                channel: channel,
                epoch: epoch,
                first: gap.from,
                last: gap.to,
                reason: reason,
                to: &$0
            )
        }
    }

    // MARK: Publish, history, acknowledgements

    private func publish(_ id: UInt32, _ request: PublishRequest) {
        guard let session else { return }
        guard request.unsupported.isEmpty else {
            return reply(id, PublishRequest.refusal(of: request.unsupported.map(\.description)))
        }
        let room = RoomName(request.channel)
        if let refusal = publishRefusal(of: room, bytes: request.data.count) { return reply(id, refusal.error) }
        outstanding += 1
        shard.metrics.publishes += 1
        shard.broker.publish(
            RequestToken(session: session, command: Request.command(id).token),
            room: room,
            body: request.encodedBody,
            producer: request.producerStamp,
            idempotencyKey: request.idempotencyKey
        )
        shard.calledBroker()
    }

    func publishAnswered(_ id: UInt32, _ result: Result<PublishOutcome, RequestError>) {
        switch result {
        case .success(let outcome):
            guard let accepted = outcome.accepted else { return reply(id, outcome.clientError) }
            send {
                ReplyEncoder.appendPublish(
                    id: id,
                    epoch: accepted.position?.epoch,
                    offset: accepted.position?.offset ?? 0,
                    isDuplicate: accepted.isDuplicate,
                    to: &$0
                )
            }
        case .failure(let error): reply(id, error.clientError)
        }
    }

    private func history(_ id: UInt32, _ request: HistoryRequest) {
        guard let session else { return }
        if let refusal = subscribeRefusal(of: RoomName(request.channel)) { return reply(id, refusal) }
        var since: Position?
        if let wanted = request.since {
            switch wanted.epoch {
            case .none: since = Position(epoch: 0, offset: wanted.offset)
            case .epoch(let epoch): since = Position(epoch: epoch, offset: wanted.offset)
            case .foreign: return reply(id, .unrecoverablePosition)
            }
        }
        let page = shard.configuration.historyPage
        outstanding += 1
        shard.broker.history(
            RequestToken(session: session, command: Request.command(id).token),
            room: RoomName(request.channel),
            since: since,
            limit: min(request.limit ?? page, page),
            reverse: request.reverse
        )
        shard.calledBroker()
    }

    func historyAnswered(_ id: UInt32, _ result: Result<BrokerHistoryResult, RequestError>) {
        switch result {
        case .success(let page):
            var bytes = 0
            var publications: [OutgoingPublication] = []
            for publication in page.publications {
                // A reply is never dropped, so it must fit; the client goes on after the last one that it got.
                guard bytes == 0 || bytes + publication.body.count <= shard.configuration.queueBytes / 2 else { break }
                bytes += publication.body.count + 128
                publications.append(shard.outgoing(publication, epoch: page.epoch))
            }
            send {
                ReplyEncoder.appendHistory(
                    id: id,
                    publications,
                    epoch: page.epoch,
                    offset: page.offset,
                    to: &$0
                )
            }
        case .failure(let error): reply(id, error.clientError)
        }
    }

    private func acknowledge(_ id: UInt32, _ room: RoomName, _ position: StreamPosition) {
        guard let session else { return }
        guard case .epoch(let epoch) = position.epoch else { return reply(id, RequestError.badPosition.clientError) }
        do throws(RequestError) {
            try shard.broker.acknowledge(
                session,
                room: room,
                position: Position(epoch: epoch, offset: position.offset)
            )
            shard.calledBroker()
            send { ReplyEncoder.appendAcknowledge(id: id, offset: position.offset, to: &$0) }
        } catch {
            reply(id, error.clientError)
        }
    }
}
