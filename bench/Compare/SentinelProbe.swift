import Foundation
import Glibc
import Synchronization

/// One publisher and one subscriber of a channel that find their Redis by asking Sentinels, as a client library does:
/// what a program without Vencejo sees of a failover.
///
/// Runs on a thread of its own, with blocking sockets, so that it goes on whatever the load does.
final class SentinelProbe: Sendable {
    struct Result {
        /// When a message was heard, ascending, in nanoseconds.
        var heard: [UInt64] = []
        var published: UInt64 = 0
        var delivery = DeliveryCounts()
    }

    private static let channel = "bench:probe"
    private let isStopping = Atomic<Bool>(false)
    private let isSubscribed = Atomic<Bool>(false)
    private let finished = DispatchSemaphore(value: 0)
    /// Written by the thread before it signals `finished`, read after.
    private let outcome = Outcome()
    private let sentinels: [UInt16]
    private let interval: UInt64

    // Safe: the semaphore orders the one write before the one read.
    private final class Outcome: @unchecked Sendable {
        var result = Result()
    }

    /// Publishes every `interval` nanoseconds.
    init(sentinels: [UInt16], interval: UInt64) {
        self.sentinels = sentinels
        self.interval = interval
        Thread.detachNewThread { [self] in
            outcome.result = run()
            finished.signal()
        }
    }

    /// It has heard something.
    var isRunning: Bool { isSubscribed.load(ordering: .acquiring) }

    func stop() -> Result {
        isStopping.store(true, ordering: .releasing)
        finished.wait()
        return outcome.result
    }

    private func run() -> Result {
        var result = Result()
        var counter = DeliveryCounter()
        while !isStopping.load(ordering: .acquiring) {
            guard let (publisher, subscriber) = try? connect() else {
                Clock.sleep(milliseconds: 50)
                continue
            }
            exchange(publisher, subscriber, &result, &counter)
        }
        result.delivery = counter.total(through: result.published)
        return result
    }

    /// Connections to a server that a Sentinel calls the master and that calls itself so.
    private func connect() throws -> (RedisLink, RedisLink) {
        for sentinel in sentinels {
            guard let port = RedisReplication.masterPort(sentinel: sentinel) else { continue }
            let publisher = try RedisLink(port: port, timeoutMilliseconds: 1000)
            guard try publisher.call(["ROLE"]).first == "master" else { continue }
            let subscriber = try RedisLink(port: port, timeoutMilliseconds: 1000)
            _ = try subscriber.call(["SUBSCRIBE", Self.channel])
            return (publisher, subscriber)
        }
        throw BenchError("no Sentinel names a master")
    }

    /// Publishes and hears until a connection breaks.
    private func exchange(
        _ publisher: RedisLink,
        _ subscriber: RedisLink,
        _ result: inout Result,
        _ counter: inout DeliveryCounter
    ) {
        while !isStopping.load(ordering: .acquiring) {
            let begin = Clock.now()
            do {
                // A number that the server has not taken is used again: it was published by nobody.
                let number = result.published + 1
                guard let heard = try? Int(publisher.call(["PUBLISH", Self.channel, "\(number)"]).first ?? "") else {
                    return
                }
                result.published = number
                guard heard > 0 else { continue }
                guard let message = try subscriber.receive(), let text = message.last, let value = UInt64(text) else {
                    return
                }
                counter.receive(value)
                result.heard.append(Clock.now())
                isSubscribed.store(true, ordering: .releasing)
            } catch {
                return
            }
            let spent = Clock.now() - begin
            if spent < interval { Clock.sleep(milliseconds: UInt32((interval - spent) / 1_000_000)) }
        }
    }
}
