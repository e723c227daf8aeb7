import NIOCore

/// Which frames go to which session this tick. A struct of flat tables, so that spreading one publication over a
/// thousand sessions touches two arrays and no objects.
struct Delivery {
    struct Lane {
        /// The session speaks WebSocket and takes messages.
        static let open: UInt8 = 1
        /// Its channel is writable and nothing waits: frames go by this tick's list.
        static let direct: UInt8 = 2
        /// It speaks the plain JSON protocol, else Centrifugo's.
        static let plain: UInt8 = 4
        /// It stands in `dirty`.
        static let dirty: UInt8 = 8

        var node = TickFrames.root
        var state: UInt8 = 0
    }

    /// By session slot.
    private(set) var lanes: ContiguousArray<Lane> = []
    private(set) var frames = TickFrames()
    /// Slots to be flushed at the end of the tick.
    private(set) var dirty: ContiguousArray<UInt32> = []
    /// Slots that the last `spread` could not serve directly.
    private(set) var congested: ContiguousArray<UInt32> = []
    private let maxBytes: Int
    private let maxMessages: Int

    /// Lists of one tick beyond these bounds are left to the sessions' own queues.
    init(maxBytes: Int, maxMessages: Int) {
        self.maxBytes = maxBytes
        self.maxMessages = maxMessages
    }

    mutating func open(_ slot: UInt32, isPlain: Bool) {
        while lanes.count <= Int(slot) { lanes.append(Lane()) }
        lanes[Int(slot)].node = TickFrames.root
        lanes[Int(slot)].state =
            lanes[Int(slot)].state & Lane.dirty | Lane.open | Lane.direct | (isPlain ? Lane.plain : 0)
    }

    /// What was listed for the session is forgotten.
    mutating func close(_ slot: UInt32) {
        guard Int(slot) < lanes.count else { return }
        lanes[Int(slot)].node = TickFrames.root
        lanes[Int(slot)].state &= Lane.dirty
    }

    mutating func setDirect(_ slot: UInt32, _ isDirect: Bool) {
        guard lanes[Int(slot)].state & Lane.open != 0 else { return }
        if isDirect { lanes[Int(slot)].state |= Lane.direct } else { lanes[Int(slot)].state &= ~Lane.direct }
    }

    /// Lists a publication for every open session among `subscribers`; returns how many took it. The others are in
    /// `congested`.
    mutating func spread(_ subscribers: [UInt32], _ publication: inout EncodedPublication) -> Int {
        congested.removeAll(keepingCapacity: true)
        var push: Int32 = -1
        var plain: Int32 = -1
        var served = 0
        for slot in subscribers {
            guard Int(slot) < lanes.count else { continue }
            let state = lanes[Int(slot)].state
            guard state & Lane.open != 0 else { continue }
            guard state & Lane.direct != 0 else {
                congested.append(slot)
                continue
            }
            let frame: Int32
            if state & Lane.plain == 0 {
                if push < 0 { push = frames.add(publication.push()) }
                frame = push
            } else {
                if plain < 0 { plain = frames.add(publication.plain()) }
                frame = plain
            }
            if list(frame, for: slot) { served += 1 } else { congested.append(slot) }
        }
        return served
    }

    /// Lists one frame for one session; false when it must go to the session's own queue.
    mutating func give(_ frame: OutboundFrame, to slot: UInt32) -> Bool {
        guard Int(slot) < lanes.count, lanes[Int(slot)].state & (Lane.open | Lane.direct) == Lane.open | Lane.direct
        else { return false }
        return list(frames.add(frame), for: slot)
    }

    @inline(__always)
    private mutating func list(_ frame: Int32, for slot: UInt32) -> Bool {
        let node = frames.extend(lanes[Int(slot)].node, by: frame)
        guard frames.count(of: node) == 1 || frames.bytes(of: node) <= maxBytes && frames.count(of: node) <= maxMessages
        else {
            _ = frames.retreat(from: node)
            return false
        }
        lanes[Int(slot)].node = node
        mark(slot)
        return true
    }

    /// The session is to be flushed at the end of the tick.
    @inline(__always)
    mutating func mark(_ slot: UInt32) {
        guard lanes[Int(slot)].state & Lane.dirty == 0 else { return }
        lanes[Int(slot)].state |= Lane.dirty
        dirty.append(slot)
    }

    /// The list of a session, which becomes empty.
    mutating func take(_ slot: UInt32) -> TickFrames.Node {
        defer { lanes[Int(slot)].node = TickFrames.root }
        return lanes[Int(slot)].node
    }

    mutating func clearDirty(_ slot: UInt32) { lanes[Int(slot)].state &= ~Lane.dirty }

    mutating func collect(_ node: TickFrames.Node, into out: inout ContiguousArray<OutboundFrame>) {
        frames.collect(node, into: &out)
    }

    mutating func shared(_ node: TickFrames.Node, allocator: ByteBufferAllocator) -> ByteBuffer {
        frames.shared(node, allocator: allocator)
    }

    mutating func append(_ node: TickFrames.Node, to buffer: inout ByteBuffer) { frames.append(node, to: &buffer) }

    mutating func endTick() {
        dirty.removeAll(keepingCapacity: true)
        frames.reset()
    }
}
