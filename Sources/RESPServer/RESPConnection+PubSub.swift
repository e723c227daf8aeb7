import Broker
import ClientProtocol
import DequeModule
import Primitives
import RESP
import Rooms

/// The acknowledgements of one SUBSCRIBE, SSUBSCRIBE or PSUBSCRIBE, which go out in the order of its names.
struct Acknowledgements {
    enum Kind {
        case channel
        case shard
        case pattern
    }

    enum State {
        /// The broker has not answered.
        case asked
        case ready
        case failed(String)
    }

    var kind: Kind
    var names: [[UInt8]]
    var states: [State]
    /// The first that was not written yet.
    var next = 0
    /// The request of the first name; the others follow.
    var first: UInt64
}

/// Publishes whose counts have not all come, in their order.
struct Publishes {
    var first: UInt64 = 0
    var counts: Deque<Result<Int, RequestError>?> = []
    var started: Deque<CommandInHand> = []
    /// So many may be under way; then all of them are waited for.
    var limit = 1024
    var isFull = false

    var mayAdd: Bool { !isFull }
}

extension RESPConnection {
    // MARK: Subscribing

    /// Messages wait until every acknowledgement is out: none comes before its channel's.
    func subscribe(_ arguments: [[UInt8]], _ kind: RESPNode.ChannelKind) {
        let names = Array(arguments.dropFirst())
        if let error = subscribeError(names, kind) { return fail(error) }
        let known = kind == .channel ? channels : shardChannels
        begin(kind == .channel ? .channel : .shard, names) { name, asked in
            known[name] == nil && !asked.contains(name)
        }
    }

    func subscribePatterns(_ arguments: [[UInt8]]) {
        let names = Array(arguments.dropFirst())
        if let error = subscriptionsError(names.count) { return fail(error) }
        for name in names where name.count > settings.channelBytes {
            return fail("ERR pattern too long: at most \(settings.channelBytes) bytes")
        }
        begin(.pattern, names) { name, asked in subscribedPatterns[name] == nil && !asked.contains(name) }
    }

    private func subscribeError(_ names: [[UInt8]], _ kind: RESPNode.ChannelKind) -> String? {
        for name in names {
            if let error = channelError(name) { return error }
        }
        if kind == .shard, listener.face == .cluster, let first = names.first {
            let slot = HashSlot.slot(of: first)
            if names.contains(where: { HashSlot.slot(of: $0) != slot }) {
                return "CROSSSLOT Keys in request don't hash to the same slot"
            }
        }
        return subscriptionsError(names.count)
    }

    func channelError(_ name: [UInt8]) -> String? {
        if name.isEmpty || name.count > settings.channelBytes {
            return "ERR invalid channel: its name has 1 to \(settings.channelBytes) bytes"
        }
        return ChannelName.isReserved(name) ? "ERR invalid channel: the name is reserved" : nil
    }

    private func isChannel(_ name: UnsafeRawBufferPointer) -> Bool {
        !name.isEmpty && name.count <= settings.channelBytes && !ChannelName.isReserved(name)
    }

    private func subscriptionsError(_ count: Int) -> String? {
        let have = channels.count + shardChannels.count + subscribedPatterns.count
        guard have + count > settings.subscriptions else { return nil }
        return "ERR too many subscriptions: at most \(settings.subscriptions)"
    }

    private func begin(
        _ kind: Acknowledgements.Kind,
        _ names: [[UInt8]],
        _ isNew: ([UInt8], Set<[UInt8]>) -> Bool
    ) {
        var acknowledging = Acknowledgements(
            kind: kind,
            names: names,
            states: Array(repeating: .ready, count: names.count),
            first: sequence + 1
        )
        sequence += UInt64(names.count)
        var asked: Set<[UInt8]> = []
        for (index, name) in names.enumerated() where isNew(name, asked) && listener.face != .sentinel {
            asked.insert(name)
            acknowledging.states[index] = .asked
        }
        acknowledgements = acknowledging
        waiting = .acknowledgements
        setHolding(true)
        for (index, name) in names.enumerated() {
            guard case .asked = acknowledging.states[index] else { continue }
            let token = RequestToken(session: session, command: acknowledging.first + UInt64(index))
            switch kind {
            case .channel:
                shard.broker.subscribe(
                    token,
                    room: ChannelName.room(.channel, name),
                    options: SubscribeOptions(isCounted: true)
                )
            case .shard:
                shard.broker.subscribe(
                    token,
                    room: ChannelName.room(.shard, name),
                    options: SubscribeOptions(isCounted: true)
                )
            case .pattern:
                guard !shard.broker.subscribePattern(token, pattern: Glob(name)) else { break }
                acknowledgements?.states[index] = .failed("ERR too many different patterns on this node")
                shard.metrics.patternsRefused &+= 1
            }
        }
        shard.calledBroker()
        acknowledge()
    }

    func subscribed(_ number: UInt64, _ room: RoomName, _ result: Result<BrokerSubscribeResult, RequestError>) {
        guard let acknowledging = acknowledgements, acknowledging.kind != .pattern, number >= acknowledging.first,
            number < acknowledging.first + UInt64(acknowledging.names.count)
        else { return }
        let index = Int(number - acknowledging.first)
        switch result {
        case .success, .failure(.alreadySubscribed): acknowledgements?.states[index] = .ready
        case .failure(let error):
            // Should it take effect after all, nobody would know of it.
            _ = shard.broker.unsubscribe(session, room: room)
            acknowledgements?.states[index] = .failed(RESPConnection.text(of: error))
        }
        acknowledge()
    }

    func patternSubscribed(_ number: UInt64, _ pattern: Glob) {
        guard let acknowledging = acknowledgements, acknowledging.kind == .pattern, number >= acknowledging.first,
            number < acknowledging.first + UInt64(acknowledging.names.count)
        else { return }
        acknowledgements?.states[Int(number - acknowledging.first)] = .ready
        // From here on messages come; they are held.
        shard.patterns.add(pattern, session.slot)
        remember(.pattern, pattern.pattern)
        acknowledge()
    }

    /// Writes the acknowledgements that are next and ready.
    private func acknowledge() {
        guard let acknowledging = acknowledgements else { return }
        var next = acknowledging.next
        writing: while next < acknowledging.names.count {
            let name = acknowledging.names[next]
            switch acknowledging.states[next] {
            case .asked: break writing
            case .failed(let text): reply.error(text)
            case .ready:
                remember(acknowledging.kind, name)
                switch acknowledging.kind {
                case .channel: writeAcknowledgement("subscribe", name, channels.count + subscribedPatterns.count)
                case .shard: writeAcknowledgement("ssubscribe", name, shardChannels.count)
                case .pattern: writeAcknowledgement("psubscribe", name, channels.count + subscribedPatterns.count)
                }
            }
            next += 1
        }
        guard next == acknowledging.names.count else {
            acknowledgements?.next = next
            return
        }
        acknowledgements = nil
        completePushes()
    }

    /// Acknowledgements are pushes: CLIENT REPLY does not keep them back.
    private func completePushes() {
        if script == nil {
            emit(reply.bytes)
            reply.bytes.removeAll(keepingCapacity: true)
        }
        completeCommand()
    }

    private func writeAcknowledgement(_ word: String, _ name: [UInt8]?, _ count: Int) {
        reply.push(3)
        reply.bulk(word)
        if let name { reply.bulk(name) } else { reply.null() }
        reply.integer(count)
    }

    private func remember(_ kind: Acknowledgements.Kind, _ name: [UInt8]) {
        let wasSubscriber = isSubscriber
        subscriptionCount += 1
        switch kind {
        case .channel:
            guard channels[name] == nil else { return }
            channels[name] = subscriptionCount
            if listener.face != .sentinel { shard.node.subscribed(.channel, name) }
        case .shard:
            guard shardChannels[name] == nil else { return }
            shardChannels[name] = subscriptionCount
            if listener.face != .sentinel { shard.node.subscribed(.shard, name) }
        case .pattern:
            guard subscribedPatterns[name] == nil else { return }
            subscribedPatterns[name] = subscriptionCount
            if listener.face != .sentinel { shard.node.subscribedPattern(name) }
        }
        if !wasSubscriber { shard.metrics.subscribers += 1 }
    }

    // MARK: Unsubscribing

    func unsubscribe(_ arguments: [[UInt8]], _ kind: RESPNode.ChannelKind) {
        let word = kind == .channel ? "unsubscribe" : "sunsubscribe"
        let named = Array(arguments.dropFirst())
        let all = (kind == .channel ? channels : shardChannels).sorted { $0.value < $1.value }.map(\.key)
        for name in named.isEmpty ? all : named {
            forget(kind, name)
            writeAcknowledgement(
                word,
                name,
                kind == .channel ? channels.count + subscribedPatterns.count : shardChannels.count
            )
        }
        if named.isEmpty, all.isEmpty {
            writeAcknowledgement(
                word,
                nil,
                kind == .channel ? channels.count + subscribedPatterns.count : shardChannels.count
            )
        }
        completePushes()
    }

    func unsubscribePatterns(_ arguments: [[UInt8]]) {
        let named = Array(arguments.dropFirst())
        let all = subscribedPatterns.sorted { $0.value < $1.value }.map(\.key)
        for name in named.isEmpty ? all : named {
            forgetPattern(name)
            writeAcknowledgement("punsubscribe", name, channels.count + subscribedPatterns.count)
        }
        if named.isEmpty, all.isEmpty {
            writeAcknowledgement("punsubscribe", nil, channels.count + subscribedPatterns.count)
        }
        completePushes()
    }

    private func forget(_ kind: RESPNode.ChannelKind, _ name: [UInt8]) {
        let known = kind == .channel ? channels.removeValue(forKey: name) : shardChannels.removeValue(forKey: name)
        guard known != nil else { return }
        if !isSubscriber { shard.metrics.subscribers -= 1 }
        guard listener.face != .sentinel else { return }
        shard.node.unsubscribed(kind, name)
        _ = shard.broker.unsubscribe(session, room: ChannelName.room(kind, name))
        shard.calledBroker()
    }

    private func forgetPattern(_ name: [UInt8]) {
        guard subscribedPatterns.removeValue(forKey: name) != nil else { return }
        if !isSubscriber { shard.metrics.subscribers -= 1 }
        guard listener.face != .sentinel else { return }
        shard.node.unsubscribedPattern(name)
        shard.patterns.remove(Glob(name), session.slot)
        shard.broker.unsubscribePattern(Glob(name))
        shard.calledBroker()
    }

    /// At the connection's end, and at RESET.
    func forgetSubscriptions() {
        for name in Array(channels.keys) { forget(.channel, name) }
        for name in Array(shardChannels.keys) { forget(.shard, name) }
        for name in Array(subscribedPatterns.keys) { forgetPattern(name) }
        // A pattern that was asked for and is not known of yet counts at the broker.
        if let acknowledging = acknowledgements, acknowledging.kind == .pattern {
            for (index, name) in acknowledging.names.enumerated() {
                if case .asked = acknowledging.states[index] { shard.broker.unsubscribePattern(Glob(name)) }
            }
        }
    }

    /// The broker ended a subscription: it is asked for again. What was missed is gone, as with any reconnection of
    /// Redis's.
    func resubscribe(_ room: RoomName) {
        let isShard = ChannelName.isReserved(room.bytes)
        let name = isShard ? Array(room.bytes.dropFirst(ChannelName.shardPrefix.count)) : Array(room.bytes)
        guard isShard ? shardChannels[name] != nil : channels[name] != nil else { return }
        shard.broker.subscribe(
            RequestToken(session: session, command: 0),
            room: room,
            options: SubscribeOptions(isCounted: true)
        )
        shard.calledBroker()
    }

    // MARK: Publishing

    /// PUBLISH and SPUBLISH in a transaction, where they go one by one: the replies have their places.
    func publish(_ arguments: [[UInt8]]) { publishInTransaction(.channel, arguments) }
    func publishSharded(_ arguments: [[UInt8]]) { publishInTransaction(.shard, arguments) }

    private func publishInTransaction(_ kind: RESPNode.ChannelKind, _ arguments: [[UInt8]]) {
        let answer = arguments[1].withUnsafeBytes { name in
            arguments[2].withUnsafeBytes { payload in offer(kind, name, payload) }
        }
        guard let answer else { return expectAnswer(commandInHand) }
        write(answer)
    }

    /// PUBLISH and SPUBLISH as they come: several may be under way. What they carry is taken from where it lies.
    func takePublish(_ row: Int, _ base: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) {
        lastCommand = row
        lastSubcommand = ""
        count(row)
        if shard.isMonitored { feedMonitors(row, arguments(base, ranges)) }
        let kind: RESPNode.ChannelKind = table.rows[row].traits.contains(.sharded) ? .shard : .channel
        let (name, payload) = (base[ranges[1]], base[ranges[2]])
        let answer = offer(kind, UnsafeRawBufferPointer(rebasing: name), UnsafeRawBufferPointer(rebasing: payload))
        guard let answer else {
            return expectAnswer(CommandInHand(row: row, started: shard.now, arguments: arguments(base, ranges)))
        }
        let command = CommandInHand(row: row, started: shard.now)
        if waiting == .publishes {
            publishes.counts.append(answer)
            publishes.started.append(command)
            sequence += 1
            if publishes.counts.count >= settings.publishesUnderWay { publishes.isFull = true }
        } else {
            write(answer)
            finishPublish(command)
        }
    }

    /// Hands a message to the broker. Nil: the answer comes by `published`.
    private func offer(
        _ kind: RESPNode.ChannelKind,
        _ name: UnsafeRawBufferPointer,
        _ payload: UnsafeRawBufferPointer
    ) -> Result<Int, RequestError>? {
        if listener.face == .sentinel { return .success(0) }
        guard isChannel(name) else { return .failure(.notStored) }
        let body = MessageBody.encoded(payload: payload, isJSON: PayloadForm.isJSON(payload))
        shard.metrics.publishes &+= 1
        shard.calledBroker()
        return shard.broker.publishCounted(
            RequestToken(session: session, command: sequence + 1),
            room: ChannelName.room(kind, [UInt8](name)),
            body: body[...]
        ).map { .success($0) }
    }

    /// The publish that was just offered has no answer yet.
    private func expectAnswer(_ command: CommandInHand) {
        sequence += 1
        if publishes.counts.isEmpty {
            publishes.first = sequence
            publishes.isFull = false
        }
        publishes.counts.append(nil)
        publishes.started.append(command)
        if publishes.counts.count >= settings.publishesUnderWay { publishes.isFull = true }
        waiting = .publishes
        // In RESP3 one's own message comes after the reply to its publish.
        if isSubscriber { setHolding(true) }
    }

    private func write(_ answer: Result<Int, RequestError>) {
        switch answer {
        case .success(let count): reply.integer(count)
        case .failure(.notStored):
            reply.error("ERR invalid channel: its name has 1 to \(settings.channelBytes) bytes and is not reserved")
        case .failure(let error): reply.error(RESPConnection.text(of: error))
        }
    }

    func published(_ number: UInt64, _ result: Result<Int, RequestError>) {
        guard waiting == .publishes, number >= publishes.first,
            number < publishes.first + UInt64(publishes.counts.count)
        else { return }
        publishes.counts[Int(number - publishes.first)] = .some(result)
        while let first = publishes.counts.first, let answer = first {
            publishes.counts.removeFirst()
            publishes.first += 1
            let command = publishes.started.removeFirst()
            // At most once: a publish that may have been made is not made again.
            if case .failure(let error) = answer, !error.isDefinite { return closeUnknown() }
            write(answer)
            if script != nil {
                commandInHand = command
                return completeCommand()
            }
            finishPublish(command)
        }
        guard publishes.counts.isEmpty else { return }
        waiting = .nothing
        setHolding(false)
        proceed()
    }

    private func finishPublish(_ command: CommandInHand) {
        let isFailed = reply.bytes.first == UInt8(ascii: "-")
        let microseconds = (shard.now - command.started).nanoseconds / 1000
        shard.metrics.commands[command.row].called(microseconds: microseconds, failed: isFailed)
        if isFailed { countError(reply.bytes) }
        noteSlow(microseconds, command.arguments)
        flushReply()
    }

    static func text(of error: RequestError) -> String {
        switch error {
        case .tooManySubscriptions: "ERR too many subscriptions"
        case .busy: "TRYAGAIN too much is in flight, nothing was done"
        case .noQuorum: "TRYAGAIN the channel has no owner that a quorum follows, nothing was done"
        default: "ERR the request failed"
        }
    }

    // MARK: PUBSUB

    func pubsub(_ arguments: [[UInt8]]) {
        let isPerNode = listener.face != .standalone
        switch String(decoding: arguments[1], as: UTF8.self).lowercased() {
        case "channels":
            let pattern = arguments.count > 2 ? Glob(arguments[2]) : nil
            if isPerNode { return write(names: shard.node.names(.channel, matching: pattern)) }
            ask(.names(pattern))
        case "shardchannels":
            let pattern = arguments.count > 2 ? arguments[2] : [UInt8(ascii: "*")]
            if isPerNode { return write(names: shard.node.names(.shard, matching: Glob(pattern))) }
            ask(.names(Glob(ChannelName.shardPrefix + pattern))) { answer in
                guard case .names(let rooms) = answer else { return }
                self.write(names: rooms.map { Array($0.bytes.dropFirst(ChannelName.shardPrefix.count)) })
            }
        case "numsub": counts(.channel, Array(arguments.dropFirst(2)), isPerNode)
        case "shardnumsub": counts(.shard, Array(arguments.dropFirst(2)), isPerNode)
        case "numpat":
            if isPerNode { return reply.integer(shard.node.subscriptionCounts.patterns) }
            ask(.patterns)
        default:
            help(
                "PUBSUB",
                [
                    "CHANNELS [<pattern>]",
                    "    Return the currently active channels matching a <pattern> (default: '*').",
                    "NUMPAT", "    Return number of subscriptions to patterns.", "NUMSUB [<channel> ...]",
                    "    Return the number of subscribers for the specified channels, excluding",
                    "    pattern subscriptions(default: no channels).", "SHARDCHANNELS [<pattern>]",
                    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
                    "SHARDNUMSUB [<shardchannel> ...]",
                    "    Return the number of subscribers for the specified shard level channel(s)",
                ]
            )
        }
    }

    private func write(names: [[UInt8]]) {
        reply.array(names.count)
        for name in names { reply.bulk(name) }
    }

    /// The cluster's subscribers on the standalone face, this node's on the others (Socket.IO's adapter sums over
    /// masters there).
    private func counts(_ kind: RESPNode.ChannelKind, _ names: [[UInt8]], _ isPerNode: Bool) {
        if isPerNode || names.isEmpty {
            reply.array(names.count * 2)
            for name in names {
                reply.bulk(name)
                reply.integer(shard.node.count(kind, name))
            }
            return
        }
        ask(.counts(names.map { ChannelName.room(kind, $0) })) { answer in
            guard case .counts(let counts) = answer, counts.count == names.count else { return }
            self.reply.array(names.count * 2)
            for (name, count) in zip(names, counts) {
                self.reply.bulk(name)
                self.reply.integer(count)
            }
        }
    }

    private func ask(_ query: ChannelQuery, _ done: ((ChannelReply) -> Void)? = nil) {
        waiting = .channels
        sequence += 1
        channelsDone = { result in
            switch result {
            case .success(let answer):
                if let done {
                    done(answer)
                } else {
                    self.write(answer)
                }
                if self.reply.bytes.isEmpty { self.fail("ERR no answer") }
            case .failure(let error): self.fail(RESPConnection.text(of: error))
            }
            self.completeCommand()
        }
        shard.broker.channels(RequestToken(session: session, command: sequence), query: query)
        shard.calledBroker()
    }

    private func write(_ answer: ChannelReply) {
        switch answer {
        case .names(let rooms):
            let names = rooms.filter { !ChannelName.isReserved($0.bytes) }
            reply.array(names.count)
            for name in names { reply.bulk(name.bytes) }
        case .patterns(let globs): reply.integer(globs.count)
        case .counts: break
        }
    }

    func channelsAnswered(_ number: UInt64, _ result: Result<ChannelReply, RequestError>) {
        guard waiting == .channels, number == sequence, let done = channelsDone else { return }
        channelsDone = nil
        done(result)
    }

    // MARK: The Sentinel face

    /// An event of the Sentinel face, which is nobody else's business.
    func deliverLocally(channel: [UInt8], payload: [UInt8]) {
        if channels[channel] != nil {
            let entry = RESPShard.Channel(room: RoomName(channel), name: channel, kind: .channel)
            emit(EncodedMessage(channel: entry, payload: payload[...]).bytes(isRESP3: version >= 3))
        }
        for (pattern, _) in subscribedPatterns.sorted(by: { $0.value < $1.value }) where Glob(pattern).matches(channel)
        {
            let message = EncodedMessage(pattern: pattern, name: channel[...], payload: payload[...])
            emit(message.bytes(isRESP3: version >= 3))
        }
    }
}
