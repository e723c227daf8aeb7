import DequeModule
import PeerProtocol
import Primitives

/// The mesh: one TCP connection per pair of nodes. It delivers in order, or it is reset and what was under way is lost.
/// Of its two lanes each has its own order, and bulk is late.
/// A cut direction only holds frames back, as lost packets do, until it heals or somebody gives the connection up.
struct Network {
    struct Lane {
        var frames: Deque<(arrival: Instant, bytes: [UInt8], group: GroupID?)> = []
        var lastArrival = Instant.zero
    }

    struct Direction {
        var live = Lane()
        var bulk = Lane()
        /// Faults that cut it now.
        var cuts = 0
        var slowness: UInt64 = 1

        var isEmpty: Bool { live.frames.isEmpty && bulk.frames.isEmpty }

        subscript(lane: PeerLane) -> Lane {
            get { lane == .live ? live : bulk }
            set { if lane == .live { live = newValue } else { bulk = newValue } }
            _modify { if lane == .live { yield &live } else { yield &bulk } }
        }

        /// Nothing is under way from here on.
        mutating func begin(at now: Instant) {
            for lane in [PeerLane.live, .bulk] {
                self[lane].frames.removeAll()
                self[lane].lastArrival = now
            }
        }
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
