import DequeModule
import Primitives

/// The mesh: one TCP connection per pair of nodes. It delivers in order, or it is reset and what was under way is lost.
/// A cut direction only holds frames back, as lost packets do, until it heals or somebody gives the connection up.
struct Network {
    struct Direction {
        var frames: Deque<(arrival: Instant, bytes: [UInt8])> = []
        var lastArrival = Instant.zero
        /// Faults that cut it now.
        var cuts = 0
        var slowness: UInt64 = 1
    }

    struct Pair {
        var epoch: UInt32 = 0
        var isConnected = false
    }

    let count: Int
    var directions: [Direction]
    var pairs: [Pair]
    /// `believesUp[a * count + b]`: a's process was told that its link to b is up, and not yet that it is down.
    var believesUp: [Bool]

    init(count: Int) {
        self.count = count
        directions = Array(repeating: Direction(), count: count * count)
        pairs = Array(repeating: Pair(), count: count * count)
        believesUp = Array(repeating: false, count: count * count)
    }

    func link(_ from: Int, _ to: Int) -> Int { from * count + to }
    func pair(_ a: Int, _ b: Int) -> Int { min(a, b) * count + max(a, b) }

    func isOpen(_ a: Int, _ b: Int) -> Bool {
        directions[link(a, b)].cuts == 0 && directions[link(b, a)].cuts == 0
    }
}
