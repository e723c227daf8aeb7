import EventLoops
import Glibc
import Locks
import NIOCore
import Primitives
import Testing

/// Frames of a 4-byte little-endian length: echoes each whole frame.
private final class FrameEcho: ByteStreamHandler, @unchecked Sendable {
    let stream: ByteStream
    let log: Log

    /// What the connections of one listener did; loop-confined but for the lock.
    final class Log: Sendable {
        struct Content {
            var offers = 0
            var frames = 0
            var addresses: Set<UInt> = []
            var closed: [StreamCloseReason] = []
            var open = 0
        }
        let content = RankedLock(.registry, Content())
        var closed: [StreamCloseReason] { content.withLock { $0.closed } }
    }

    init(_ stream: ByteStream, _ log: Log) {
        self.stream = stream
        self.log = log
        log.content.withLock { $0.open += 1 }
    }

    func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        var place = 0
        var output = ByteBuffer()
        var frames = 0
        while bytes.count - place >= 4 {
            let length = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt32.self)))
            guard bytes.count - place >= 4 + length else {
                stream.bytesNeeded = 4 + length
                break
            }
            output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[place..<(place + 4 + length)]))
            place += 4 + length
            frames += 1
        }
        let address = UInt(bitPattern: bytes.baseAddress)
        let isWholeRead = bytes.count > 64
        let done = frames
        log.content.withLock {
            $0.offers += 1
            $0.frames += done
            if isWholeRead { $0.addresses.insert(address) }
        }
        if output.readableBytes > 0 {
            stream.write(output)
            stream.flushAtEndOfTick()
        }
        return place
    }

    func writabilityChanged(_ isWritable: Bool) {}

    func closed(_ reason: StreamCloseReason) {
        log.content.withLock {
            $0.closed.append(reason)
            $0.open -= 1
        }
    }
}

@Suite struct ByteStreamTests {
    private func frame(_ body: [UInt8]) -> [UInt8] {
        withUnsafeBytes(of: UInt32(body.count).littleEndian) { Array($0) } + body
    }

    @Test("frames cut anywhere come back whole and in order")
    func echo() async throws {
        let shards = Shards(count: 2)
        let log = FrameEcho.Log()
        let listener = try await Listener.open(ListenerSettings(host: "127.0.0.1", port: 0), on: shards.all) {
            FrameEcho($1, log)
        }
        var random = Xoshiro256(seed: 3)
        for _ in 0..<20 {
            let client = try RawSocket(port: listener.port)
            var sent: [UInt8] = []
            for _ in 0..<30 {
                sent += frame((0..<random.below(3000)).map { _ in UInt8(truncatingIfNeeded: random.next()) })
            }
            sent += frame([UInt8](repeating: 9, count: 300_000))
            var place = 0
            var received: [UInt8] = []
            while place < sent.count {
                let count = min(sent.count - place, 1 + Int(random.below(50_000)))
                #expect(client.send(Array(sent[place..<(place + count)])))
                place += count
            }
            received = client.receiveExactly(sent.count)
            #expect(received == sent)
        }
        #expect(eventually { log.closed.count == 20 })
        #expect(log.closed.allSatisfy { $0 == .peer })
        #expect(listener.accepted.value == 20)
        await listener.close()
        try await shards.shutDown()
    }

    @Test("a big unfinished frame is offered when it is whole, not once per read")
    func bytesNeeded() async throws {
        let shards = Shards(count: 1)
        let log = FrameEcho.Log()
        let listener = try await Listener.open(ListenerSettings(host: "127.0.0.1", port: 0), on: shards.all) {
            FrameEcho($1, log)
        }
        let client = try RawSocket(port: listener.port)
        let sent = frame([UInt8](repeating: 1, count: 900_000))
        #expect(client.send(sent))
        #expect(client.receiveExactly(sent.count) == sent)
        #expect(log.content.withLock { $0.offers } <= 4)
        await listener.close()
        try await shards.shutDown()
    }

    @Test("unfinished input above its bound closes the stream")
    func tailBound() async throws {
        let shards = Shards(count: 1)
        let log = FrameEcho.Log()
        var settings = ListenerSettings(host: "127.0.0.1", port: 0)
        settings.stream.maxTail = 10_000
        let listener = try await Listener.open(settings, on: shards.all) { FrameEcho($1, log) }
        let client = try RawSocket(port: listener.port)
        _ = client.send(frame([UInt8](repeating: 1, count: 200_000)))
        #expect(eventually { log.closed == [.tailOverflow] })
        await listener.close()
        try await shards.shutDown()
    }

    @Test("all connections of a shard read into one buffer that stays where it is")
    func oneReadBuffer() async throws {
        let shards = Shards(count: 1)
        let log = FrameEcho.Log()
        let listener = try await Listener.open(ListenerSettings(host: "127.0.0.1", port: 0), on: shards.all) {
            FrameEcho($1, log)
        }
        let burst = frame([UInt8](repeating: 5, count: 2000))
        do {
            let first = try RawSocket(port: listener.port)
            let second = try RawSocket(port: listener.port)
            let third = try RawSocket(port: listener.port)
            for _ in 0..<50 {
                #expect(first.send(burst) && second.send(burst) && third.send(burst))
                #expect(first.receiveExactly(burst.count).count == burst.count)
                #expect(second.receiveExactly(burst.count).count == burst.count)
                #expect(third.receiveExactly(burst.count).count == burst.count)
            }
            let allocations = try await shards[0].loop.submit { shards[0].readBuffer.allocations }.get()
            #expect(allocations == 1)
            // The shared buffer, and the tails of the three first reads, which NIO keeps to 64 bytes.
            #expect(log.content.withLock { $0.addresses.count } <= 4)
        }
        await listener.close()
        try await shards.shutDown()
    }

    @Test("R2 a connection that is idle after a burst of 64 KiB holds about what an idle NIO channel holds")
    func idleMemory() async throws {
        _ = DescriptorLimit.raise()
        await #expect(processExitsWith: .success) {
            // A process of its own: the heap is not shared with other tests.
            closeInheritedSockets()
            let connections = 400
            let shards = Shards(count: 1)
            let log = FrameEcho.Log()
            let listener = try await Listener.open(ListenerSettings(host: "127.0.0.1", port: 0), on: shards.all) {
                FrameEcho($1, log)
            }
            var clients: [RawSocket] = []
            let burst =
                withUnsafeBytes(of: UInt32(65536).littleEndian) { Array($0) } + [UInt8](repeating: 7, count: 65536)
            var reply = [UInt8](repeating: 0, count: burst.count)
            func exchange(_ client: RawSocket) {
                precondition(client.send(burst))
                var received = 0
                while received < burst.count {
                    let count = reply.withUnsafeMutableBytes { recv(client.descriptor, $0.baseAddress!, $0.count, 0) }
                    precondition(count > 0)
                    received += count
                }
            }
            // Warm: code paths, pools and the shared buffer exist before the measurement.
            for _ in 0..<20 {
                clients.append(try RawSocket(port: listener.port))
                exchange(clients.last!)
            }
            let before = heapInUse()
            for _ in 0..<connections { clients.append(try RawSocket(port: listener.port)) }
            for client in clients { exchange(client) }
            _ = try await shards[0].loop.submit {}.get()
            let each = (heapInUse() - before) / connections
            precondition(each < 4096, "\(each) bytes a connection")
            clients = []
            await listener.close()
            try await shards.shutDown()
        }
    }

    /// Reads nothing after its first byte until it is told to.
    private final class Pausing: ByteStreamHandler, @unchecked Sendable {
        let stream: ByteStream
        let taken: SharedCounter
        init(_ stream: ByteStream, _ taken: SharedCounter) {
            self.stream = stream
            self.taken = taken
        }
        var isPaused = true
        func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
            if isPaused {
                stream.pauseReading()
                return 0
            }
            taken.increment(by: UInt64(bytes.count))
            return bytes.count
        }
        func writabilityChanged(_ isWritable: Bool) {}
        func closed(_ reason: StreamCloseReason) {}
        func resume() {
            isPaused = false
            stream.resumeReading()
        }
    }

    @Test("a paused stream leaves its input in the kernel and gets all of it after it resumes")
    func pausing() async throws {
        let shards = Shards(count: 1)
        let taken = SharedCounter()
        let handlers = RankedLock<[Pausing]>(.registry, [])
        let box = Box(handlers)
        let listener = try await Listener.open(ListenerSettings(host: "127.0.0.1", port: 0), on: shards.all) {
            let handler = Pausing($1, taken)
            box.value.withLock { $0.append(handler) }
            return handler
        }
        let client = try RawSocket(port: listener.port)
        // More than the socket's buffers hold.
        let total = 16 << 20
        let descriptor = client.descriptor
        async let upload: Void = Task.detached {
            onThreads(1) { _ in
                let bytes = [UInt8](repeating: 3, count: total)
                var sent = 0
                while sent < total {
                    let count = bytes.withUnsafeBytes {
                        Glibc.send(descriptor, $0.baseAddress! + sent, total - sent, 0)
                    }
                    if count <= 0 { return }
                    sent += count
                }
            }
        }.value
        #expect(eventually { box.value.withLock { !$0.isEmpty } })
        usleep(100_000)
        #expect(taken.value == 0)
        let handler = try #require(box.value.withLock { $0.first })
        shards[0].loop.execute { handler.resume() }
        await upload
        #expect(eventually { taken.value == UInt64(total) })
        await listener.close()
        try await shards.shutDown()
    }

    private final class Box: Sendable {
        let value: RankedLock<[Pausing]>
        init(_ value: consuming RankedLock<[Pausing]>) { self.value = value }
    }

    /// Says something and ends the connection while the peer is still sending.
    private final class Refusing: ByteStreamHandler {
        let stream: ByteStream
        init(_ stream: ByteStream) { self.stream = stream }
        func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
            stream.write(ByteBuffer(string: "no, because"))
            stream.finish()
            return bytes.count
        }
        func writabilityChanged(_ isWritable: Bool) {}
        func closed(_ reason: StreamCloseReason) {}
    }

    @Test("a finished stream's last words reach a peer that is still sending")
    func lastWords() async throws {
        let shards = Shards(count: 1)
        let listener = try await Listener.open(ListenerSettings(host: "127.0.0.1", port: 0), on: shards.all) {
            Refusing($1)
        }
        for _ in 0..<20 {
            let client = try RawSocket(port: listener.port)
            #expect(client.send([UInt8](repeating: 1, count: 40_000)))
            #expect(client.receiveAll() == Array("no, because".utf8))
        }
        await listener.close()
        try await shards.shutDown()
    }

    @Test("a dialled stream talks to a listener, and a refused port is reported once")
    func dialling() async throws {
        // `@unchecked`: confined to the stream's loop.
        final class Caller: ByteStreamHandler, @unchecked Sendable {
            let stream: ByteStream
            let received = SharedCounter()
            init(_ stream: ByteStream) {
                self.stream = stream
                stream.write(ByteBuffer(bytes: [3, 0, 0, 0, 1, 2, 3]))
                stream.flush()
            }
            func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
                received.increment(by: UInt64(bytes.count))
                return bytes.count
            }
            func writabilityChanged(_ isWritable: Bool) {}
            func closed(_ reason: StreamCloseReason) {}
        }
        let shards = Shards(count: 1)
        let shard = shards[0]
        let log = FrameEcho.Log()
        let listener = try await Listener.open(ListenerSettings(host: "127.0.0.1", port: 0), on: shards.all) {
            FrameEcho($1, log)
        }
        let callers = Lock<[Caller]>([])
        let failures = SharedCounter()
        try await shard.loop.submit {
            Dialer.connect(from: shard, host: "127.0.0.1", port: listener.port) { stream in
                let caller = Caller(stream)
                callers.withLock { $0.append(caller) }
                return caller
            } failed: { _ in
                failures.increment()
            }
        }.get()
        #expect(eventually { callers.withLock { $0.first?.received.value } == 7 })
        #expect(failures.value == 0)
        await listener.close()
        // Bound but not listening: a connection is refused, and nobody else can take the port.
        let silent = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        let port = boundPort(of: silent)
        try await shard.loop.submit {
            Dialer.connect(from: shard, host: "127.0.0.1", port: port) { stream in
                Caller(stream)
            } failed: { _ in
                failures.increment()
            }
        }.get()
        #expect(eventually { failures.value == 1 })
        close(silent)
        try await shards.shutDown()
    }
}
