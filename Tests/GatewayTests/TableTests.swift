import NIOCore
import Primitives
import Rooms
import Testing

@testable import Gateway

struct TableTests {
    private func frame(
        _ text: String,
        room: Int32 = 1,
        offset: UInt64 = 0,
        _ priority: RoomPriority = .normal,
        isStored: Bool = false
    )
        -> OutboundFrame
    {
        OutboundFrame(
            bytes: ByteBuffer(string: text),
            room: room,
            offset: offset,
            priority: priority,
            isStored: isStored
        )
    }

    @Test("recipients of the same frames share one list and one joined buffer")
    func sharedLists() {
        var frames = TickFrames()
        let first = frames.add(frame("ab"))
        let second = frames.add(frame("cd"))
        let a = frames.extend(frames.extend(TickFrames.root, by: first), by: second)
        var b = frames.extend(TickFrames.root, by: first)
        #expect(frames.users(of: b) == 1)
        b = frames.extend(b, by: second)
        // The memo of the first list was used again only while the frame was the last one.
        #expect(frames.bytes(of: a) == 4 && frames.count(of: a) == 2)
        #expect(frames.shared(a, allocator: ByteBufferAllocator()) == ByteBuffer(string: "abcd"))
        var cork = ByteBuffer()
        frames.append(b, to: &cork)
        #expect(cork == ByteBuffer(string: "abcd"))
        frames.reset()
        #expect(frames.isEmpty)
    }

    @Test("a broadcast to many lists costs one node")
    func oneNode() {
        var frames = TickFrames()
        let frame = frames.add(frame("x"))
        var nodes: Set<TickFrames.Node> = []
        for _ in 0..<1000 { nodes.insert(frames.extend(TickFrames.root, by: frame)) }
        #expect(nodes.count == 1)
        #expect(frames.users(of: nodes.first!) == 1000)
    }

    @Test("the queue serves by rank, drops the oldest of the lowest rank, and evicts whole stored rooms")
    func queue() {
        let queue = OutboundQueue()
        queue.append(frame("low1", room: 1, .low))
        queue.append(frame("low2", room: 1, .low))
        queue.append(frame("normal", room: 2))
        queue.append(frame("stored5", room: 3, offset: 5, .low, isStored: true))
        queue.append(frame("stored6", room: 3, offset: 6, .low, isStored: true))
        queue.append(frame("critical", room: 4, .critical))
        #expect(queue.count == 6 && queue.bytes == 4 + 4 + 6 + 7 + 7 + 8)
        #expect(queue.dropBestEffort(notBetterThan: 3)?.bytes == ByteBuffer(string: "low1"))
        #expect(queue.dropBestEffort(notBetterThan: 3)?.bytes == ByteBuffer(string: "low2"))
        #expect(queue.dropBestEffort(notBetterThan: 4) == nil)
        let evicted = queue.evictRoom(worseThan: 1)
        #expect(evicted?.room == 3 && evicted?.from == 5)
        #expect(queue.evictRoom(worseThan: 1) == nil)
        queue.append(OutboundFrame(reply: ByteBuffer(string: "reply")))
        #expect(queue.popFirst()?.isReply == true)
        #expect(queue.popFirst()?.bytes == ByteBuffer(string: "critical"))
        #expect(queue.popFirst()?.bytes == ByteBuffer(string: "normal"))
        #expect(queue.popFirst() == nil && queue.isEmpty && queue.bytes == 0)
    }

    @Test("frames of one rank leave in the order in which they came, stored or not")
    func queueOrder() {
        let queue = OutboundQueue()
        for n in 0..<6 { queue.append(frame("\(n)", room: Int32(n % 2), offset: UInt64(n), isStored: n % 2 == 0)) }
        for n in 0..<6 { #expect(queue.popFirst()?.bytes == ByteBuffer(string: "\(n)")) }
    }

    @Test("the wheel is never early and at most a granule late, also after a pause of many turns")
    func wheel() {
        var wheel = TimerWheel(granularity: .milliseconds(10), slots: 8, now: .zero)
        var due: [TimerWheel.Entry] = []
        func at(_ milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }
        wheel.arm(.init(index: 1, generation: 0), at: at(25))
        wheel.advance(to: at(25), due: &due)
        #expect(due.isEmpty)
        wheel.advance(to: at(30), due: &due)
        #expect(due == [.init(index: 1, generation: 0)])
        due = []
        wheel.arm(.init(index: 2, generation: 0), at: at(5000))
        wheel.advance(to: at(90), due: &due)
        #expect(due.isEmpty)
        wheel.advance(to: at(110), due: &due)
        #expect(due.map(\.index) == [2], "beyond the wheel: looked at early, armed again by its owner")
        due = []
        wheel.arm(.init(index: 3, generation: 0), at: at(115))
        wheel.advance(to: at(900_000), due: &due)
        #expect(due.map(\.index) == [3] && wheel.count == 0)
        // An instant in the past is due with the next slot.
        due = []
        wheel.arm(.init(index: 4, generation: 0), at: .zero)
        wheel.advance(to: at(900_010), due: &due)
        #expect(due.map(\.index) == [4])
    }

    @Test("request tokens come back as what they were")
    func tokens() {
        let requests: [Request] = [.command(7), .connectRoom(3), .plain(.max), .plainRoom, .http(9)]
        for request in requests { #expect(Request(token: request.token) == request) }
        #expect(Request(token: 9 << 32) == nil)
    }
}
