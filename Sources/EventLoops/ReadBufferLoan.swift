import NIOCore

/// The one read buffer of a shard. NIO would keep a buffer per connection and never shrink it: after one 64 KiB burst
/// an idle connection would hold 67 KB for good. Here every read borrows the shard's buffer and the handler gives it
/// back before the next one, so that an idle connection holds none.
///
/// Confined to its event loop.
package final class ReadBufferLoan: @unchecked Sendable {
    /// Bytes that one read takes at most; also what one turn of the loop spends on one connection.
    package static let capacity = 65536

    private var buffer: ByteBuffer?
    /// Buffers made so far: about one for the shard's life, plus one for each connection that ended (its last read
    /// takes the buffer with it).
    package private(set) var allocations = 0

    package init() {}

    func take(_ allocator: ByteBufferAllocator) -> ByteBuffer {
        if var lent = buffer {
            buffer = nil
            lent.clear()
            return lent
        }
        allocations += 1
        return allocator.buffer(capacity: ReadBufferLoan.capacity)
    }

    func giveBack(_ lent: ByteBuffer) {
        if lent.storageCapacity == ReadBufferLoan.capacity { buffer = lent }
    }
}

/// Gives NIO the shard's buffer for each read. The first buffer of a channel stays in NIO's pool for the channel's
/// life, so it is tiny; `nextBufferSize` stays nil, which keeps every later one out of the pool. Needs
/// `maxMessagesPerRead` 1.
struct LoaningRecvAllocator: RecvByteBufferAllocator {
    let loan: ReadBufferLoan
    private var isFirst = true

    init(loan: ReadBufferLoan) { self.loan = loan }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        // Never 0: a read of no bytes would look like the end of the stream.
        isFirst ? allocator.buffer(capacity: 64) : loan.take(allocator)
    }

    mutating func record(actualReadBytes: Int) -> Bool {
        isFirst = false
        return true
    }
}
