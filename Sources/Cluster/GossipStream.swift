import EventLoops
import NIOCore
import Primitives
import SWIM

/// A connection of the gossip, for one exchange: the dialler sends one frame, the acceptor answers it or does not, and
/// closes.
///
/// A frame: length u32 little-endian, then a packet as `GossipSeal` makes it. Nothing is believed of a frame before it
/// is opened, and the first bytes of a stranger's end the connection.
///
/// Confined to the gossip's loop.
final class GossipStream: ByteStreamHandler {
    static let prefixBytes = 4

    let id: UInt64
    let stream: ByteStream
    /// Where it leads to, or where it came from.
    let address: GossipAddress
    let isDialled: Bool
    /// When the exchange must be done.
    let deadline: Instant
    private let gossip: Gossip
    /// Dialled: an answer came. Accepted: the one frame came.
    private var hasFrame = false
    private var hasEnded = false

    init(
        _ gossip: Gossip,
        id: UInt64,
        _ stream: ByteStream,
        address: GossipAddress,
        isDialled: Bool,
        deadline: Instant
    ) {
        self.gossip = gossip
        self.id = id
        self.stream = stream
        self.address = address
        self.isDialled = isDialled
        self.deadline = deadline
    }

    /// Sends a sealed frame now.
    func send(_ packet: [UInt8]) {
        var writer = ByteWriter(capacity: packet.count + GossipStream.prefixBytes)
        writer.write(UInt32(packet.count))
        writer.writeRaw(packet)
        gossip.countFrameOut(bytes: writer.count)
        stream.write(stream.allocator.buffer(bytes: writer.bytes))
        stream.flush()
    }

    /// Ends the connection at once.
    func drop() {
        guard !hasEnded else { return }
        end()
        stream.close()
    }

    private func end() {
        hasEnded = true
        gossip.ended(self, isAnswered: hasFrame)
    }

    // MARK: ByteStreamHandler

    func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        guard !hasEnded, !(hasFrame && !isDialled) else { return bytes.count }
        let frame = UnsafeRawBufferPointer(bytes)
        let headBytes = GossipStream.prefixBytes + GossipSeal.headBytes
        guard frame.count >= headBytes else {
            stream.bytesNeeded = headBytes
            return 0
        }
        let length = Int(UInt32(littleEndian: frame.loadUnaligned(as: UInt32.self)))
        do throws(GossipRefusal) {
            let isBounded = (GossipSeal.overhead...gossip.settings.maxFrame + GossipSeal.overhead).contains(length)
            guard isBounded else { throw .malformed }
            let size = length + GossipStream.prefixBytes
            // A stranger is not waited for.
            _ = try gossip.seal.key(of: UnsafeRawBufferPointer(rebasing: frame[GossipStream.prefixBytes...]))
            guard frame.count >= size else {
                stream.bytesNeeded = size
                return 0
            }
            gossip.countFrameIn(bytes: size)
            let packet = UnsafeRawBufferPointer(rebasing: frame[GossipStream.prefixBytes..<size])
            let message = try gossip.seal.open(packet, from: .stream)
            hasFrame = true
            gossip.deliver(message, from: self)
        } catch {
            gossip.refused(error, address: address, over: "stream")
            drop()
            return bytes.count
        }
        // One frame each way: the acceptor says that it is done by closing.
        if !isDialled, !hasEnded { stream.finish() }
        return bytes.count
    }

    func writabilityChanged(_ isWritable: Bool) {}

    func closed(_ why: StreamCloseReason) {
        guard !hasEnded else { return }
        // Without an answer, but in order: what was sent wanted none.
        if isDialled, why == .peer { hasFrame = true }
        end()
    }
}
