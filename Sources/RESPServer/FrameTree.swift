import NIOCore

/// The messages of one tick, and for each subscriber the list of those that it gets, without a list per subscriber.
///
/// Lists form a tree: a node is a list, its parent the list without the last message; a subscriber holds a node's
/// number. A message to a thousand subscribers with the same list so far costs one new node and a thousand integers,
/// and all of them write the same bytes, joined once.
struct FrameTree {
    typealias Node = Int32
    static let root: Node = 0

    private struct Row {
        var parent: Node
        var frame: Int32
        var bytes: Int
        /// The child made last: all subscribers of one message come one after the other.
        var lastFrame: Int32 = -1
        var lastChild: Node = 0
        var joined: Int32 = -1
    }

    private var frames: ContiguousArray<ByteBuffer> = []
    private var rows: ContiguousArray<Row> = [Row(parent: 0, frame: -1, bytes: 0)]
    private var joined: ContiguousArray<ByteBuffer> = []
    private var path: ContiguousArray<Int32> = []

    /// The message's number in this tick.
    mutating func add(_ frame: ByteBuffer) -> Int32 {
        frames.append(frame)
        return Int32(frames.count - 1)
    }

    /// The list `node` with `frame` at its end.
    @inline(__always)
    mutating func extend(_ node: Node, by frame: Int32) -> Node {
        if rows[Int(node)].lastFrame == frame { return rows[Int(node)].lastChild }
        let child = Node(rows.count)
        rows.append(Row(parent: node, frame: frame, bytes: rows[Int(node)].bytes + frames[Int(frame)].readableBytes))
        rows[Int(node)].lastFrame = frame
        rows[Int(node)].lastChild = child
        return child
    }

    func bytes(of node: Node) -> Int { rows[Int(node)].bytes }
    func frame(_ index: Int32) -> ByteBuffer { frames[Int(index)] }

    /// The list as one buffer, made once for all that share it.
    mutating func shared(_ node: Node, _ allocator: ByteBufferAllocator) -> ByteBuffer {
        let row = rows[Int(node)]
        if row.parent == FrameTree.root { return frames[Int(row.frame)] }
        if row.joined >= 0 { return joined[Int(row.joined)] }
        var buffer = allocator.buffer(capacity: row.bytes)
        findPath(node)
        for index in path.reversed() { buffer.writeImmutableBuffer(frames[Int(index)]) }
        rows[Int(node)].joined = Int32(joined.count)
        joined.append(buffer)
        return buffer
    }

    /// Appends the list's bytes.
    mutating func append(_ node: Node, to out: inout [UInt8]) {
        findPath(node)
        for index in path.reversed() { out.append(contentsOf: frames[Int(index)].readableBytesView) }
    }

    private mutating func findPath(_ node: Node) {
        path.removeAll(keepingCapacity: true)
        var current = node
        while current != FrameTree.root {
            path.append(rows[Int(current)].frame)
            current = rows[Int(current)].parent
        }
    }

    /// The tick is over: every list is empty again.
    mutating func reset() {
        guard rows.count > 1 else { return }
        frames.removeAll(keepingCapacity: frames.count <= 4096)
        rows.removeAll(keepingCapacity: rows.count <= 4096)
        joined.removeAll(keepingCapacity: true)
        rows.append(Row(parent: 0, frame: -1, bytes: 0))
    }
}
