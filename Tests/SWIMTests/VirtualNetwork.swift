import Primitives
import SWIM

/// Nodes on a network of one thread and virtual time: datagrams that are lost, delayed, overtaken and repeated, streams
/// that are slow or fail, cuts in one direction, partitions, processes that freeze. The seed decides everything.
///
/// A node is known by its place, from 0; its `NodeID` is one more.
final class VirtualNetwork {
    struct Observation {
        let at: Instant
        let observer: Int
        let event: MemberEvent
    }

    private enum Payload {
        case tick
        case datagram([UInt8], from: GossipAddress)
        case request([UInt8], from: Int, token: UInt64)
        case answer([UInt8], from: GossipAddress)
        case streamFailed(GossipAddress)
        case resume
    }

    private struct Happening {
        let at: Instant
        let order: UInt64
        let place: Int
        /// What reaches a process after it was restarted was meant for the old one.
        let life: Int
        let payload: Payload

        static func < (a: Happening, b: Happening) -> Bool { (a.at, a.order) < (b.at, b.order) }
    }

    private struct Process {
        var node: SWIMNode?
        var life = 0
        var tickAt = Instant.distantFuture
        var isFrozen = false
        /// What waits in the sockets of a frozen process.
        var backlog: [Payload] = []
    }

    private struct Link: Hashable {
        let from: Int
        let to: Int
    }

    /// Datagrams lost, in percent. Streams get through later instead.
    var loss: UInt64 = 0
    /// Datagrams that arrive twice, in percent.
    var repeats: UInt64 = 0
    var delay: ClosedRange<UInt64> = 100...2_000  // microseconds
    /// Microseconds that a node needs before it looks at what has come; its timers are on time.
    var slowness: [Int: ClosedRange<UInt64>] = [:]
    let connectTimeout = Interval.seconds(1)
    private(set) var now = Instant.zero
    private(set) var observations: [Observation] = []

    private let settings: SWIMSettings
    private var random: Xoshiro256
    private var processes: [Process]
    private var addresses: [GossipAddress]
    private var places: [GossipAddress: Int] = [:]
    private var cuts: Set<Link> = []
    private var side: [Int]
    private var heap: [Happening] = []
    private var nextOrder: UInt64 = 0
    private var openStreams: [UInt64: (asker: Int, life: Int, answerer: GossipAddress)] = [:]
    private var nextToken: UInt64 = 1

    init(_ count: Int, seed: UInt64, settings: SWIMSettings = SWIMSettings()) {
        self.settings = settings
        random = Xoshiro256(seed: seed)
        processes = Array(repeating: Process(), count: count)
        addresses = (0..<count).map { VirtualNetwork.address($0) }
        side = Array(repeating: 0, count: count)
        for (place, address) in addresses.enumerated() { places[address] = place }
    }

    static func address(_ place: Int) -> GossipAddress {
        guard let address = GossipAddress(host: "10.0.\(place / 250).\(place % 250 + 1)", port: 7946) else {
            preconditionFailure("a literal address")
        }
        return address
    }

    var count: Int { processes.count }

    // MARK: - Processes

    func start(_ place: Int, seeds: [Int], incarnation: UInt64 = 1, settings own: SWIMSettings? = nil) {
        let metadata: MemberMetadata
        do {
            metadata = try MemberMetadata(
                node: NodeID(UInt64(place + 1)),
                name: "n\(place + 1)",
                host: "10.0.\(place / 250).\(place % 250 + 1)",
                meshPort: 7946,
                gatewayPort: 8000,
                respPort: 6379,
                adminPort: 9000,
                zone: "zone\(place % 3)",
                version: "0.4.0"
            )
        } catch { preconditionFailure("\(error)") }
        processes[place].life += 1
        processes[place].backlog = []
        processes[place].isFrozen = false
        processes[place].tickAt = .distantFuture
        processes[place].node = SWIMNode(
            metadata: metadata,
            address: addresses[place],
            incarnation: incarnation,
            settings: own ?? settings,
            seed: random.next(),
            now: now
        )
        enter(place) { [now] in $0.join(seeds.map { VirtualNetwork.address($0) }, now: now) }
    }

    func startAll(seed: Int = 0) {
        for place in 0..<count { start(place, seeds: [seed]) }
    }

    /// The process is gone, its machine is not: streams to it are refused.
    func kill(_ place: Int) {
        processes[place].life += 1
        processes[place].node = nil
    }

    /// SIGSTOP: its sockets fill.
    func freeze(_ place: Int) { processes[place].isFrozen = true }

    func resume(_ place: Int) {
        processes[place].isFrozen = false
        schedule(now, place, .resume)
    }

    func pause(_ place: Int, for interval: Interval) {
        freeze(place)
        schedule(now + interval, place, .resume)
    }

    func node(_ place: Int) -> SWIMNode {
        guard let node = processes[place].node else { preconditionFailure("node \(place) does not run") }
        return node
    }

    func enter(_ place: Int, _ body: (inout SWIMNode) -> Void) {
        guard processes[place].node != nil else { return }
        body(&processes[place].node!)
        carryOut(place)
    }

    var running: [Int] { processes.indices.filter { processes[$0].node != nil } }

    // MARK: - Faults

    /// Nothing gets from one to the other; the way back stays open.
    func cut(from: Int, to: Int) { cuts.insert(Link(from: from, to: to)) }

    func partition(_ islands: [[Int]]) {
        for (number, island) in islands.enumerated() { for place in island { side[place] = number } }
    }

    func heal() {
        cuts = []
        side = Array(repeating: 0, count: count)
    }

    private func isOpen(_ from: Int, _ to: Int) -> Bool {
        side[from] == side[to] && !cuts.contains(Link(from: from, to: to))
    }

    private func someDelay() -> Interval {
        .microseconds(delay.lowerBound + random.below(delay.upperBound - delay.lowerBound + 1))
    }

    private func slowness(of place: Int) -> Interval {
        guard let slow = slowness[place] else { return .zero }
        return .microseconds(slow.lowerBound + random.below(slow.upperBound - slow.lowerBound + 1))
    }

    // MARK: - Time

    func run(for interval: Interval) {
        let end = now + interval
        while let next = heap.first, next.at <= end {
            pop()
            now = next.at
            happen(next)
        }
        now = end
    }

    /// How long it took until `condition` held, looked at every 10 ms; nil when it did not hold in time.
    func run(within limit: Interval, until condition: () -> Bool) -> Interval? {
        let begin = now
        while now - begin < limit {
            if condition() { return now - begin }
            run(for: .milliseconds(10))
        }
        return condition() ? now - begin : nil
    }

    private func happen(_ happening: Happening) {
        let place = happening.place
        guard processes[place].node != nil else {
            // The kernel of the machine refuses the connection.
            if case .request(_, let asker, let token) = happening.payload {
                fail(token, asker: asker, after: someDelay())
            }
            return
        }
        guard happening.life == processes[place].life else { return }
        if case .tick = happening.payload {
            guard happening.at == processes[place].tickAt else { return }
            processes[place].tickAt = .distantFuture
        }
        if case .resume = happening.payload {
            processes[place].isFrozen = false
            let backlog = processes[place].backlog
            processes[place].backlog = []
            // Sockets first, as an event loop may: the core must notice the pause by itself.
            for payload in backlog { handOver(payload, to: place) }
            return handOver(.tick, to: place)
        }
        guard !processes[place].isFrozen else {
            if processes[place].backlog.count < 1_000 { processes[place].backlog.append(happening.payload) }
            return
        }
        handOver(happening.payload, to: place)
    }

    private func handOver(_ payload: Payload, to place: Int) {
        let now = now
        func receive(_ bytes: [UInt8], _ from: GossipAddress, _ transport: GossipTransport, _ token: UInt64? = nil) {
            enter(place) { node in
                bytes.withUnsafeBytes { node.receive($0, from: from, over: transport, replyTo: token, now: now) }
            }
        }
        switch payload {
        case .tick: enter(place) { $0.tick(now: now) }
        case .datagram(let bytes, let from): receive(bytes, from, .datagram)
        case .request(let bytes, let asker, let token):
            receive(bytes, addresses[asker], .stream, token)
            // Whoever asks notices that the connection was closed without an answer.
            if openStreams[token] != nil { fail(token, asker: asker, after: someDelay()) }
        case .answer(let bytes, let from): receive(bytes, from, .stream)
        case .streamFailed(let address): enter(place) { $0.streamFailed(to: address, now: now) }
        case .resume: break
        }
    }

    // MARK: - Directives

    private func carryOut(_ place: Int) {
        guard let directives = processes[place].node?.directives else { return }
        processes[place].node?.directives = []
        for directive in directives {
            switch directive {
            case .send(let bytes, let address, .datagram): sendDatagram(bytes, from: place, to: address)
            case .send(let bytes, let address, .stream): openStream(bytes, from: place, to: address)
            case .reply(let bytes, let token): answer(bytes, token, from: place)
            case .event(let event): observations.append(Observation(at: now, observer: place, event: event))
            }
        }
        guard let deadline = processes[place].node?.nextDeadline, deadline < processes[place].tickAt else { return }
        let at = max(deadline, now + .microseconds(1))
        guard at < processes[place].tickAt else { return }
        processes[place].tickAt = at
        schedule(at, place, .tick)
    }

    private func sendDatagram(_ bytes: [UInt8], from place: Int, to address: GossipAddress) {
        guard let target = places[address], isOpen(place, target) else { return }
        let copies = random.chance(repeats, in: 100) ? 2 : 1
        for _ in 0..<copies where !random.chance(loss, in: 100) {
            schedule(now + someDelay() + slowness(of: target), target, .datagram(bytes, from: addresses[place]))
        }
    }

    private func openStream(_ bytes: [UInt8], from place: Int, to address: GossipAddress) {
        let token = nextToken
        nextToken += 1
        openStreams[token] = (place, processes[place].life, address)
        // A connection needs both ways.
        guard let target = places[address], isOpen(place, target), isOpen(target, place) else {
            return fail(token, asker: place, after: connectTimeout)
        }
        schedule(now + streamDelay() + slowness(of: target), target, .request(bytes, from: place, token: token))
    }

    /// A handshake and the bytes; each loss costs a retransmission.
    private func streamDelay() -> Interval {
        var sum = someDelay() + someDelay() + someDelay()
        for _ in 0..<3 where random.chance(loss, in: 100) { sum = sum + .milliseconds(200) }
        return sum
    }

    private func answer(_ bytes: [UInt8], _ token: UInt64, from place: Int) {
        guard let stream = openStreams.removeValue(forKey: token), stream.life == processes[stream.asker].life else {
            return
        }
        guard isOpen(place, stream.asker) else { return }
        let delay = streamDelay() + slowness(of: stream.asker)
        schedule(now + delay, stream.asker, .answer(bytes, from: stream.answerer))
    }

    private func fail(_ token: UInt64, asker: Int, after interval: Interval) {
        guard let stream = openStreams.removeValue(forKey: token), stream.life == processes[asker].life else { return }
        schedule(now + interval, asker, .streamFailed(stream.answerer))
    }

    // MARK: - The order of things

    private func schedule(_ at: Instant, _ place: Int, _ payload: Payload) {
        let life = processes[place].life
        heap.append(Happening(at: at, order: nextOrder, place: place, life: life, payload: payload))
        nextOrder += 1
        var child = heap.count - 1
        while child > 0, heap[child] < heap[(child - 1) / 2] {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private func pop() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child] < heap[least] {
                least = child
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}

// MARK: - Questions

extension Interval {
    static func + (a: Interval, b: Interval) -> Interval { Interval(nanoseconds: a.nanoseconds &+ b.nanoseconds) }
}

extension VirtualNetwork {
    /// What `observer` believes of `place`, nil when it has never heard of it.
    func state(of place: Int, at observer: Int) -> MemberState? {
        node(observer).member(NodeID(UInt64(place + 1)))?.state
    }

    /// Every running node believes that exactly these are alive.
    func allAgree(on places: [Int]? = nil) -> Bool {
        let alive = places ?? running
        let expected = alive.map { NodeID(UInt64($0 + 1)) }
        return alive.allSatisfy { observer in
            node(observer).members.filter { $0.state == .alive }.map(\.node) == expected
        }
    }

    /// Who was believed to be down, by whom, since `instant`.
    func downs(since instant: Instant = .zero) -> [(place: Int, observer: Int, at: Instant)] {
        observations.compactMap { observation in
            guard case .down(let member) = observation.event, observation.at >= instant else { return nil }
            return (Int(member.node.rawValue) - 1, observation.observer, observation.at)
        }
    }

    func suspicions(since instant: Instant = .zero) -> Int {
        observations.count {
            guard case .suspected = $0.event else { return false }
            return $0.at >= instant
        }
    }
}
