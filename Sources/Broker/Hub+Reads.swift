import PeerProtocol
import Primitives
import Rooms

/// The hub's conversation with rooms' owners: acknowledgements, history, and what its fetches bring back.
extension Broker {
    // MARK: Acknowledgements

    package func acknowledge(_ session: SessionID, room name: RoomName, position: Position) throws(RequestError) {
        guard hub.isOpen(session), let room = hub.roomIndex[name], let row = hub.row(session.slot, room) else {
            throw .notSubscribed
        }
        let subscription = hub.sessions[Int(session.slot)].subscriptions[row]
        guard subscription.ackWindow != nil else { throw .notSubscribed }
        guard position.epoch == hub.rooms[Int(room)].epoch, position.offset < subscription.next else {
            throw .badPosition
        }
        guard position.offset > subscription.acknowledged else { return }
        hub.sessions[Int(session.slot)].subscriptions[row].acknowledged = position.offset
        hub.sessions[Int(session.slot)].subscriptions[row].settled = max(subscription.settled, position.offset)
        remember(hub.sessions[Int(session.slot)].subscriptions[row])
        advance(session.slot, row)
    }

    /// Has the place of a named consumer stored.
    func remember(_ subscription: Hub.Subscription) {
        guard !subscription.consumer.isEmpty else { return }
        let state = hub.rooms[Int(subscription.room)]
        post(
            .acknowledge(
                state.partition,
                CursorUpdate(
                    room: state.name,
                    consumer: subscription.consumer,
                    position: Position(epoch: state.epoch, offset: subscription.acknowledged)
                )
            ),
            to: shard(of: state.partition)
        )
    }

    // MARK: History

    package func history(_ token: RequestToken, room: RoomName, since: Position?, limit: Int, reverse: Bool) {
        guard settings.namespaces.policy(for: room).deliveryClass.isLogged else {
            outbox.edge.append(.history(token, room, .failure(.notStored)))
            return
        }
        let limit = min(max(limit, 0), settings.historyLimit)
        var fetch = ShardMessage.HubFetch(
            token: 0,
            partition: partition(of: room),
            room: room.compacted(),
            linearizable: true,
            epoch: 0,
            from: 0,
            limit: 0,
            consumer: []
        )
        if limit > 0, !reverse {
            fetch.from = (since?.offset ?? 0) + 1
            fetch.epoch = since?.epoch ?? 0
            fetch.limit = UInt32(limit)
        }
        hubFetch(fetch, .history(token, reverse: reverse, limit: limit, since: since))
    }

    // MARK: Fetches

    func hubFetch(
        _ room: HubRoomID,
        from: UInt64,
        limit: UInt32,
        linearizable: Bool,
        consumer: [UInt8],
        _ purpose: Hub.HubFetchPurpose
    ) {
        let state = hub.rooms[Int(room)]
        hubFetch(
            ShardMessage.HubFetch(
                token: 0,
                partition: state.partition,
                room: state.name,
                linearizable: linearizable,
                epoch: state.epoch,
                from: from,
                limit: limit,
                consumer: consumer
            ),
            purpose
        )
    }

    func hubFetch(_ fetch: ShardMessage.HubFetch, _ purpose: Hub.HubFetchPurpose) {
        var fetch = fetch
        fetch.token = hub.nextToken
        hub.nextToken += 1
        hub.fetches[fetch.token] = purpose
        post(.fetch(hub: settings.shard, fetch), to: shard(of: fetch.partition))
    }

    func hubFetched(_ token: UInt64, _ name: RoomName, _ result: Result<FetchReply, RequestError>) {
        guard let purpose = hub.fetches.removeValue(forKey: token) else { return }
        switch purpose {
        case .history(let token, let reverse, let limit, let since):
            finishHistory(token, name, result, reverse: reverse, limit: limit, since: since)
        case .historyTail(let token, let limit, let reverse):
            finishHistory(token, name, result, reverse: false, limit: limit, since: nil, turn: reverse)
        case .cursor(let request, let room, let serial, let options):
            guard let row = subscriptionRow(request.session, room, serial) else { return }
            switch result {
            case .success(let reply):
                start(request, room, options, cursor: reply.cursor, ofFormerEpoch: reply.isCursorOfFormerEpoch)
            case .failure(let error): failSubscribe(request, room, row, error)
            }
        case .subscribe(let request, let room, let serial, let options, let start):
            guard let row = subscriptionRow(request.session, room, serial) else { return }
            switch result {
            case .success(let reply):
                var start = start
                if start.offset >= reply.head.next, !start.isConfirmed {
                    // The answer may be that of an owner who has not heard of the next one: it stood still.
                    start.isConfirmed = true
                    hubFetch(
                        room,
                        from: start.offset + 1,
                        limit: UInt32(settings.historyLimit),
                        linearizable: true,
                        consumer: [],
                        .subscribe(request, room, serial: serial, options, start: start)
                    )
                    return
                }
                if start.offset >= reply.head.next {
                    // A position from the future of this history: it cannot be continued.
                    start.gap = Gap(from: reply.head.next, to: start.offset, reason: .epoch)
                    start.offset = reply.head.next - 1
                } else if reply.head.first > start.offset + 1 {
                    if start.wasRecovering || !options.fromBeginning {
                        start.gap = Gap(from: start.offset + 1, to: reply.head.first - 1, reason: .trimmed)
                    }
                    start.offset = reply.head.first - 1
                }
                finishStart(request, room, row, start, publications: reply.publications, head: reply.head.next)
            case .failure(let error): failSubscribe(request, room, row, error)
            }
        case .catchUp(let session, let room, let serial):
            guard let row = subscriptionRow(session, room, serial) else { return }
            hub.sessions[Int(session.slot)].subscriptions[row].isFetching = false
            guard case .success(let reply) = result else {
                // Tried again on the next tick.
                return
            }
            // A pause moves a subscription back, and then this is not what comes next: it is read again when it may be.
            guard !hub.sessions[Int(session.slot)].subscriptions[row].isPaused else { return }
            let next = hub.sessions[Int(session.slot)].subscriptions[row].next
            if let first = reply.publications.first?.offset, first > max(next, reply.head.first) {
                advance(session.slot, row)
                return
            }
            if reply.head.first > next {
                counters.gapsAnnounced += 1
                outbox.edge.append(
                    .gap(session, room, Gap(from: next, to: reply.head.first - 1, reason: .trimmed))
                )
                hub.sessions[Int(session.slot)].subscriptions[row].next = reply.head.first
                hub.sessions[Int(session.slot)].subscriptions[row].settled = reply.head.first - 1
            }
            let from = hub.sessions[Int(session.slot)].subscriptions[row].next
            var fresh = reply.publications.filter { $0.offset >= from }
            let open = windowLeft(hub.sessions[Int(session.slot)].subscriptions[row])
            if fresh.count > open { fresh.removeLast(fresh.count - open) }
            give(session.slot, row, fresh)
            advance(session.slot, row)
        }
    }

    private func subscriptionRow(_ session: SessionID, _ room: HubRoomID, _ serial: UInt32) -> Int? {
        guard hub.isOpen(session), let row = hub.row(session.slot, room),
            hub.sessions[Int(session.slot)].subscriptions[row].serial == serial
        else { return nil }
        return row
    }

    private func failSubscribe(_ token: RequestToken, _ room: HubRoomID, _ row: Int, _ error: RequestError) {
        let name = hub.rooms[Int(room)].name
        remove(token.session.slot, room)
        outbox.edge.append(.subscribed(token, name, .failure(error)))
    }

    private func finishHistory(
        _ token: RequestToken,
        _ name: RoomName,
        _ result: Result<FetchReply, RequestError>,
        reverse: Bool,
        limit: Int,
        since: Position?,
        turn: Bool = false
    ) {
        switch result {
        case .failure(let error): outbox.edge.append(.history(token, name, .failure(error)))
        case .success(let reply):
            if reverse, limit > 0, reply.head.next > 1 {
                // Backwards: the head is known now; read the run that ends before `since`, or at the head.
                let end = min(since?.offset ?? reply.head.next, reply.head.next)
                let from = max(reply.head.first, end > UInt64(limit) ? end - UInt64(limit) : 1)
                if from < end {
                    hubFetch(
                        ShardMessage.HubFetch(
                            token: 0,
                            partition: reply.partition,
                            room: name,
                            linearizable: false,
                            epoch: reply.head.epoch,
                            from: from,
                            limit: UInt32(end - from),
                            consumer: []
                        ),
                        .historyTail(token, limit: Int(end - from), reverse: true)
                    )
                    return
                }
            }
            outbox.edge.append(
                .history(
                    token,
                    name,
                    .success(
                        HistoryResult(
                            epoch: reply.head.epoch,
                            offset: reply.head.next - 1,
                            publications: turn ? reply.publications.reversed() : reply.publications
                        )
                    )
                )
            )
        }
    }

    // MARK: Time

    /// Subscribes that waited too long for an owner fail; catch-ups whose read failed are tried again.
    func tickHub() {
        tellCounts()
        tickPatterns()
        for room in hub.rooms.indices {
            if let first = hub.rooms[room].waiting.first, first.deadline <= now {
                hub.rooms[room].waiting.removeFirst()
                if hub.isOpen(first.token.session), let row = hub.row(first.token.session.slot, HubRoomID(room)) {
                    failSubscribe(first.token, HubRoomID(room), row, .timeout)
                }
            }
            for slot in hub.rooms[room].behind {
                if let row = hub.row(slot, HubRoomID(room)) { advance(slot, row) }
            }
        }
    }
}
