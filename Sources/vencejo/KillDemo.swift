import Admin
import ClusterConfiguration
import Glibc
import Locks
import NIOCore
import Primitives
import VencejoClient

/// A failover to look at: a publisher and a subscriber of a guaranteed room, the room's owner killed with SIGKILL, and
/// the proof that what was acknowledged is there, once and in order, on every node.
struct KillDemo {
    private static let room = "gov:alerts:critical:demo"

    private let configuration: ClusterConfiguration
    private let supervisor: ClusterSupervisor
    private let terminal: Terminal

    init(_ configuration: ClusterConfiguration, _ supervisor: ClusterSupervisor, _ terminal: Terminal) {
        self.configuration = configuration
        self.supervisor = supervisor
        self.terminal = terminal
    }

    /// What the publisher knows.
    private struct Published {
        /// Number of the message and offset of its acknowledgement, in the order of the acknowledgements.
        var acknowledged: [(number: Int, offset: UInt64, at: NIODeadline)] = []
        var retries = 0
    }

    /// True when everything held.
    func run() async -> Bool {
        do {
            return try await demonstrate()
        } catch is CancellationError {
            return true
        } catch {
            terminal.line("the demonstration failed: \(FailureText.describe(error))")
            return false
        }
    }

    private func demonstrate() async throws -> Bool {
        guard configuration.nodes.count >= 3 else {
            terminal.line("--kill-demo needs at least 3 nodes: 2 of 3 are a majority, 1 of 2 is not")
            return false
        }
        guard let owner = await owner(), let victim = configuration.nodes.firstIndex(where: { $0.id == owner }) else {
            terminal.line("nobody owns \(Self.room) yet")
            return false
        }
        say("\(Self.room) is owned by \(owner). Publishing to it, one message after the other.")
        // The subscriber begins at the victim and must move; the publisher is at a survivor.
        var order = configuration.gatewayURLs
        let first = order.remove(at: victim)
        let publisher = try await VencejoClient.connect(order)
        let subscriber = try await VencejoClient.connect([first] + order)
        let top = try await publisher.history(Self.room, limit: 0).top
        let received = Lock<[UInt64]>([])
        let reader = Task {
            let options = SubscriptionOptions(start: .after(top))
            for await event in subscriber.subscribe(Self.room, options) {
                if case .message(let message) = event { received.withLock { $0.append(message.offset) } }
            }
        }
        let published = Lock(Published())
        let stop = Lock(false)
        let run = String(UInt64.random(in: .min ... .max), radix: 36)
        let writer = Task {
            var number = 0
            while !stop.withLock({ $0 }) {
                number += 1
                try await publish(number, run: run, publisher, published)
                try await Task.sleep(for: .milliseconds(5))
            }
        }
        defer {
            reader.cancel()
            writer.cancel()
        }

        try await Task.sleep(for: .seconds(3))
        let before = published.withLock { $0.acknowledged.count }
        say("\(before) messages acknowledged. kill -9 \(owner).")
        let killed = NIODeadline.now()
        await supervisor.killHard(victim)
        let successor = try await awaitOwner(otherThan: owner)
        try await Task.sleep(for: .seconds(3))
        let silence = longestSilence(published.withLock { $0.acknowledged.map(\.at) }, around: killed)
        say("\(successor) has taken over. The longest time without an acknowledgement was \(silence) ms.")
        await supervisor.release(victim)
        say("\(owner) starts again.")
        try await awaitReady(victim)
        say("\(owner) is back.")
        try await Task.sleep(for: .seconds(1))
        stop.withLock { $0 = true }
        try await writer.value
        let result = published.withLock { $0 }
        let isGood = try await verify(result, from: top, received)
        await publisher.close()
        await subscriber.close()
        say(
            """
            \(isGood ? "Held" : "BROKEN"): \(result.acknowledged.count) acknowledged, \
            \(result.retries) tries repeated, silence \(silence) ms, new owner \(successor).
            """
        )
        return isGood
    }

    /// Publishes until it is acknowledged; the key makes a repeat harmless.
    private func publish(
        _ number: Int,
        run: String,
        _ client: VencejoClient,
        _ published: borrowing Lock<Published>
    ) async throws {
        while true {
            do {
                let receipt = try await client.publish(
                    Self.room,
                    Array("{\"number\":\(number)}".utf8),
                    idempotencyKey: "demo-\(run)-\(number)"
                )
                let offset = receipt.position?.offset ?? 0
                published.withLock { $0.acknowledged.append((number, offset, .now())) }
                return
            } catch let failure as ClientFailure {
                if failure == .closed { throw failure }
                published.withLock { $0.retries += 1 }
                try await Task.sleep(for: .milliseconds(20))
            }
        }
    }

    /// Every acknowledged message is on every node at its offset, once, in the publisher's order; and the subscriber
    /// has seen every offset, one after the other.
    private func verify(
        _ published: Published,
        from start: RoomPosition,
        _ received: borrowing Lock<[UInt64]>
    ) async throws -> Bool {
        var isGood = true
        func fail(_ text: String) {
            isGood = false
            say("BROKEN: \(text)")
        }
        let offsets = published.acknowledged.map(\.offset)
        if zip(offsets, offsets.dropFirst()).contains(where: { $0 >= $1 }) { fail("the order of offsets") }
        for (index, node) in configuration.nodes.enumerated() {
            let client = try await VencejoClient.connect(configuration.gatewayURLs[index])
            var kept: [UInt64: String] = [:]
            var position = start
            while true {
                let page = try await client.history(Self.room, since: position)
                for message in page.messages {
                    if message.offset != position.offset + 1 { fail("\(node.id) has a hole before \(message.offset)") }
                    kept[message.offset] = String(decoding: message.data, as: UTF8.self)
                    position.offset = message.offset
                }
                if page.messages.isEmpty { break }
            }
            for message in published.acknowledged where kept[message.offset] != "{\"number\":\(message.number)}" {
                fail("\(node.id) does not have message \(message.number) at offset \(message.offset)")
            }
            if Set(kept.values).count != kept.count { fail("\(node.id) has a message twice") }
            say("\(node.id) keeps all \(published.acknowledged.count) acknowledged messages in order.")
            await client.close()
        }
        let last = offsets.last ?? start.offset
        for _ in 0..<100 where (received.withLock { $0.last ?? 0 }) < last {
            try await Task.sleep(for: .milliseconds(50))
        }
        let seen = received.withLock { $0 }
        if seen.first != start.offset + 1 || zip(seen, seen.dropFirst()).contains(where: { $0 + 1 != $1 }) {
            fail("the subscriber missed or repeated something")
        } else if (seen.last ?? 0) < last {
            fail("the subscriber did not get everything")
        } else {
            let range = "\(start.offset + 1)...\(seen.last ?? 0)"
            say("The subscriber, moved to another node, received offsets \(range), each once.")
        }
        return isGood
    }

    private func longestSilence(_ times: [NIODeadline], around moment: NIODeadline) -> Int64 {
        var longest: Int64 = 0
        for (a, b) in zip(times, times.dropFirst()) where b > moment {
            longest = max(longest, (b - a).nanoseconds / 1_000_000)
        }
        return longest
    }

    // MARK: Ownership

    /// The owner as a survivor sees it.
    private func owner() async -> String? {
        let slot = HashSlot.slot(of: Array(Self.room.utf8))
        let partition = Int(slot) * configuration.cluster.partitions / Int(HashSlot.count)
        let reports = await ClusterSurvey.ask(configuration, timeout: .seconds(1)).compactMap(\.report)
        return reports.compactMap { report in
            report.partitions.first { $0.id == partition }.flatMap { row in row.owner.map { (row.term, $0) } }
        }.max { $0.0 < $1.0 }?.1
    }

    private func awaitOwner(otherThan old: String) async throws -> String {
        for _ in 0..<600 {
            if let owner = await owner(), owner != old { return owner }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw ClientFailure.timeout
    }

    private func awaitReady(_ index: Int) async throws {
        guard let admin = AdminClient(configuration, configuration.nodes[index]) else { return }
        for _ in 0..<600 {
            if await admin.unreadiness() == nil { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw ClientFailure.timeout
    }

    private func say(_ text: String) { terminal.line(terminal.style.paint("demo | \(text)", .bold)) }
}
