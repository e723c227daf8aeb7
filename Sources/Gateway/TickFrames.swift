import NIOCore

/// The frames of one tick, and for each connection the list of those that it gets, without a list per connection.
///
/// The lists form a tree: a node is a list of frames, its parent the list without the last one. A connection holds the
/// number of its node. Sending a frame to a thousand connections with the same list so far costs one new node and a
/// thousand integers, and the bytes that they are written are joined once.
struct TickFrames {
    typealias Node = Int32

    private struct Row {
        var parent: Node
        var frame: Int32
        var count: Int32
        var bytes: Int32
        /// Connections whose list this is.
        var users: Int32 = 0
        /// The child made last: all recipients of one frame come one after the other.
        var lastFrame: Int32 = -1
        var lastChild: Node = 0
        /// Index in `joined`, once several connections needed the bytes.
        var joined: Int32 = -1
    }

    static let root: Node = 0

    private var frames: ContiguousArray<OutboundFrame> = []
    private var rows: ContiguousArray<Row> = [Row(parent: 0, frame: -1, count: 0, bytes: 0)]
    private var joined: ContiguousArray<ByteBuffer> = []
    private var path: ContiguousArray<Int32> = []

    /// The frame's number in this tick.
    mutating func add(_ frame: OutboundFrame) -> Int32 {
        frames.append(frame)
        return Int32(frames.count - 1)
    }

    /// Moves one connection from list `node` to that list with `frame` at its end.
    @inline(__always)
    mutating func extend(_ node: Node, by frame: Int32) -> Node {
        let child: Node
        if rows[Int(node)].lastFrame == frame {
            child = rows[Int(node)].lastChild
        } else {
            child = makeChild(of: node, frame)
        }
        rows[Int(node)].users -= 1
        rows[Int(child)].users += 1
        return child
    }

    private mutating func makeChild(of node: Node, _ frame: Int32) -> Node {
        let child = Node(rows.count)
        let row = Row(
            parent: node,
            frame: frame,
            count: rows[Int(node)].count + 1,
            bytes: Int32(clamping: Int(rows[Int(node)].bytes) + frames[Int(frame)].count)
        )
        rows.append(row)
        rows[Int(node)].lastFrame = frame
        rows[Int(node)].lastChild = child
        return child
    }

    /// Takes back the last `extend` of a connection.
    mutating func retreat(from node: Node) -> Node {
        let parent = rows[Int(node)].parent
        rows[Int(node)].users -= 1
        rows[Int(parent)].users += 1
        return parent
    }

    @inline(__always) func bytes(of node: Node) -> Int { Int(rows[Int(node)].bytes) }
    @inline(__always) func count(of node: Node) -> Int { Int(rows[Int(node)].count) }
    func users(of node: Node) -> Int { Int(rows[Int(node)].users) }

    /// Appends the list's frames to `out` in order.
    mutating func collect(_ node: Node, into out: inout ContiguousArray<OutboundFrame>) {
        findPath(node)
        for index in path.reversed() { out.append(frames[Int(index)]) }
    }

    /// The list as one buffer, made once for all connections that share it.
    mutating func shared(_ node: Node, allocator: ByteBufferAllocator) -> ByteBuffer {
        let row = rows[Int(node)]
        if row.count == 1 { return frames[Int(row.frame)].bytes }
        if row.joined >= 0 { return joined[Int(row.joined)] }
        var buffer = allocator.buffer(capacity: Int(row.bytes))
        append(node, to: &buffer)
        rows[Int(node)].joined = Int32(joined.count)
        joined.append(buffer)
        return buffer
    }

    /// Appends the list's bytes to a buffer.
    mutating func append(_ node: Node, to buffer: inout ByteBuffer) {
        findPath(node)
        for index in path.reversed() { buffer.writeImmutableBuffer(frames[Int(index)].bytes) }
    }

    private mutating func findPath(_ node: Node) {
        path.removeAll(keepingCapacity: true)
        var current = node
        while current != TickFrames.root {
            path.append(rows[Int(current)].frame)
            current = rows[Int(current)].parent
        }
    }

    /// The tick is over: every connection's list is empty again.
    mutating func reset() {
        frames.removeAll(keepingCapacity: frames.count <= 4096)
        rows.removeAll(keepingCapacity: rows.count <= 4096)
        joined.removeAll(keepingCapacity: true)
        rows.append(Row(parent: 0, frame: -1, count: 0, bytes: 0))
    }

    var isEmpty: Bool { frames.isEmpty }
}
