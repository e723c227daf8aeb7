import Broker
import EventLoops
import Gateway
import Logging
import NIOCore
import Primitives

/// One shard of a node in Redis mode: a broker of which only the hub is at work, because another shard owns every
/// partition, and that shard is Redis.
///
/// Confined to the shard's loop, apart from `inbox`, which takes messages from any thread.
final class RedisShard: @unchecked Sendable {
    enum Message: Sendable {
        case shard(ShardMessage)
        case call(@Sendable (RedisShard) -> Void)
    }

    /// Hub numbers count from 1: 0 is Redis.
    static let redis = 0

    let shard: Shard
    let broker: Broker
    var gateway: GatewayShard?
    private(set) var inbox: Inbox<Message>!
    private let descriptors: DescriptorWatch
    private let ask: ([ShardMessage]) -> Void

    /// `ask` takes what the hub asks of the owner of its rooms.
    init(shard: Shard, broker: Broker, descriptors: DescriptorWatch, ask: @escaping ([ShardMessage]) -> Void) {
        self.shard = shard
        self.broker = broker
        self.descriptors = descriptors
        self.ask = ask
        inbox = Inbox(shard: shard, capacity: 4 << 20) { [unowned self] messages in
            for message in messages {
                switch message {
                case .shard(let message): broker.onShardMessage(message)
                case .call(let body): body(self)
                }
            }
            shard.setNeeds(.step)
        }
    }

    /// On the loop, once.
    func start() {
        shard.atEndOfTick(.step) { [unowned self] in step() }
        shard.startTicking()
        shard.atEveryTick { [unowned self] now, wall in
            broker.advance(now: now, wall: wall)
            broker.tick()
            descriptors.check(gateway)
            shard.setNeeds(.step)
        }
        shard.setNeeds(.step)
    }

    /// What Redis tells the hub; from any thread.
    func deliver(_ message: ShardMessage) {
        guard shard.loop.inEventLoop else {
            // Millions of messages behind: the loop is dead, and its clients with it.
            if !inbox.post(.shard(message)) { preconditionFailure("shard \(shard.index): the inbox overflowed") }
            return
        }
        broker.onShardMessage(message)
        shard.setNeeds(.step)
    }

    private func step() {
        broker.advance(now: MonotonicClock.now(), wall: WallClock.now())
        for _ in 0..<16 {
            broker.settle()
            let box = broker.outbox
            guard !box.isEmpty else { return }
            broker.outbox = Outbox()
            if !box.shards.isEmpty { ask(box.shards.map(\.message)) }
            if !box.edge.isEmpty { gateway?.handle(box.edge) }
        }
        shard.setNeeds(.step)
    }
}
