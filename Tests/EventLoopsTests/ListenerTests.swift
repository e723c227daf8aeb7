import EventLoops
import Glibc
import Locks
import NIOCore
import Primitives
import Testing

@Suite struct ListenerTests {
    private final class Silent: ByteStreamHandler {
        let onClose: () -> Void
        init(_ onClose: @escaping () -> Void = {}) { self.onClose = onClose }
        func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int { bytes.count }
        func writabilityChanged(_ isWritable: Bool) {}
        func closed(_ reason: StreamCloseReason) { onClose() }
    }

    @Test("both modes spread connections over all shards", arguments: [true, false])
    func spreading(perShard: Bool) async throws {
        let shards = Shards(count: 3)
        let counts = Lock<[Int]>([0, 0, 0])
        var settings = ListenerSettings(host: "127.0.0.1", port: 0)
        settings.mode = perShard ? .perShard : .single
        let listener = try await Listener.open(settings, on: shards.all) { shard, _ in
            shard.loop.preconditionInEventLoop()
            counts.withLock { $0[shard.index] += 1 }
            return Silent()
        }
        for _ in 0..<150 { _ = try RawSocket(port: listener.port) }
        #expect(eventually { counts.withLock { $0.reduce(0, +) } == 150 })
        #expect(counts.withLock { $0 }.allSatisfy { $0 > 10 })
        if !perShard { #expect(counts.withLock { $0 } == [50, 50, 50]) }
        await listener.close()
        try await shards.shutDown()
    }

    @Test("a connection without a handler is closed at once")
    func refusing() async throws {
        let shards = Shards(count: 1)
        let listener = try await Listener.open(ListenerSettings(host: "127.0.0.1", port: 0), on: shards.all) { _, _ in
            nil
        }
        let client = try RawSocket(port: listener.port)
        #expect(client.receiveAll().isEmpty)
        await listener.close()
        try await shards.shutDown()
    }

    @Test("socket options of the settings reach the accepted socket")
    func options() async throws {
        let shards = Shards(count: 1)
        var settings = ListenerSettings(host: "127.0.0.1", port: 0)
        settings.stream.sendBuffer = 65536
        settings.stream.notSentLowWater = 16384
        let accepted = SharedCounter()
        let listener = try await Listener.open(settings, on: shards.all) { _, _ in
            accepted.increment()
            return Silent()
        }
        let client = try RawSocket(port: listener.port)
        _ = client.send([1])
        #expect(eventually { accepted.value == 1 })
        let server = try #require(descriptor(connectedTo: client.localPort))
        #expect(option(server, SOL_SOCKET, SO_SNDBUF) == 2 * 65536)
        #expect(option(server, Int32(IPPROTO_TCP), TCP_NODELAY) == 1)
        #expect(option(server, Int32(IPPROTO_TCP), 25) == 16384)
        await listener.close()
        try await shards.shutDown()
    }

    /// Writes more than any kernel takes when the first byte comes, and counts what was taken.
    private final class Flood: ByteStreamHandler {
        static let bytes = 16 << 20
        let stream: ByteStream
        let taken: SharedCounter

        init(_ stream: ByteStream, _ taken: SharedCounter) {
            self.stream = stream
            self.taken = taken
        }

        func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
            stream.write(ByteBuffer(repeating: 1, count: Flood.bytes))
            stream.flush()
            taken.increment(by: UInt64(Flood.bytes - stream.queuedBytes))
            return bytes.count
        }

        func writabilityChanged(_ isWritable: Bool) {}
        func closed(_ reason: StreamCloseReason) {}
    }

    @Test("CL-18 below TCP_NOTSENT_LOWAT the kernel takes for a peer that does not read little more than it can send")
    func notSent() async throws {
        let shards = Shards(count: 1)
        var taken: [Int] = []
        for lowWater in [nil, 32768] {
            var settings = ListenerSettings(host: "127.0.0.1", port: 0)
            settings.stream.notSentLowWater = lowWater
            let count = SharedCounter()
            let listener = try await Listener.open(settings, on: shards.all) { Flood($1, count) }
            let client = try RawSocket(port: listener.port)
            _ = client.send([1])
            #expect(eventually { count.value > 0 })
            taken.append(Int(count.value))
            await listener.close()
        }
        #expect(taken[1] < Flood.bytes && taken[1] * 3 < taken[0] * 2, "\(taken[0]) and \(taken[1]) bytes")
        try await shards.shutDown()
    }

    /// The descriptor of this process whose peer is the given port of this machine.
    private func descriptor(connectedTo port: Int) -> Int32? {
        (0..<4096).first { candidate in
            var address = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let outcome = withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(candidate, $0, &length) }
            }
            return outcome == 0 && Int(UInt16(bigEndian: address.sin_port)) == port
        }
    }

    private func option(_ descriptor: Int32, _ level: Int32, _ name: Int32) -> Int32 {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(descriptor, level, name, &value, &length)
        return value
    }

    @Test("a port that another listener shares out is an error", arguments: [true, false])
    func portTaken(perShard: Bool) async throws {
        let shards = Shards(count: 2)
        var settings = ListenerSettings(host: "127.0.0.1", port: 0)
        let listener = try await Listener.open(settings, on: shards.all) { _, _ in nil }
        settings.port = listener.port
        settings.mode = perShard ? .perShard : .single
        await #expect(throws: IOError.self) { _ = try await Listener.open(settings, on: shards.all) { _, _ in nil } }
        await listener.close()
        try await shards.shutDown()
    }

    @Test("an address in use is an error, not a half-open listener")
    func addressInUse() async throws {
        let shards = Shards(count: 1)
        // A plain socket without SO_REUSEPORT owns the port.
        let owner = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        let settings = ListenerSettings(host: "127.0.0.1", port: boundPort(of: owner))
        listen(owner, 5)
        await #expect(throws: (any Error).self) {
            _ = try await Listener.open(settings, on: shards.all) { _, _ in nil }
        }
        close(owner)
        try await shards.shutDown()
    }

    @Test("GW-17 the descriptor limit is raised to its hard limit and use is counted")
    func descriptors() {
        let limit = DescriptorLimit.raise()
        #expect(limit.error == 0)
        #expect(limit.soft == limit.hard)
        #expect((DescriptorLimit.inUse() ?? 0) > 2)
    }

    @Test("GW-17 out of descriptors, accepting pauses and goes on later; open connections are unharmed")
    func outOfDescriptors() async {
        await #expect(processExitsWith: .success) {
            // Out of descriptors a failed precondition could not say what failed: the exit code does.
            func require(_ holds: Bool, orExit code: Int32) { if !holds { exit(code) } }
            closeInheritedSockets()
            let shards = Shards(count: 1)
            let log = SharedCounter()
            let listener = try await Listener.open(ListenerSettings(host: "127.0.0.1", port: 0), on: shards.all) {
                _,
                stream in
                log.increment()
                return Answering(stream)
            }
            let port = listener.port
            let first = try RawSocket(port: port)
            // Fill the table up to the limit, then leave room for eight clients and four of their server's sides.
            var limit = rlimit(rlim_cur: 512, rlim_max: 512)
            require(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, orExit: 10)
            var filler: [Int32] = []
            while case let copy = dup(first.descriptor), copy >= 0 { filler.append(copy) }
            require(filler.count > 20, orExit: 15)
            for descriptor in filler.suffix(12) { close(descriptor) }
            var clients: [RawSocket] = []
            for _ in 0..<8 { clients.append(try RawSocket(port: port)) }
            require(eventually { listener.acceptPauses.value >= 2 }, orExit: 11)
            let before = listener.acceptPauses.value
            usleep(500_000)
            let during = listener.acceptPauses.value - before
            require(during >= 1 && during <= 8, orExit: 100 + Int32(min(during, 50)))
            // The open connection still answers.
            require(first.send([42]), orExit: 12)
            require(first.receiveExactly(1) == [42], orExit: 13)
            let accepted = log.value
            clients.removeFirst(4)
            require(eventually { log.value > accepted }, orExit: 14)
            exit(0)
        }
    }
}

/// Echoes.
private final class Answering: ByteStreamHandler {
    let stream: ByteStream
    init(_ stream: ByteStream) { self.stream = stream }
    func received(_ bytes: UnsafeMutableRawBufferPointer) -> Int {
        stream.write(ByteBuffer(bytes: bytes))
        stream.flush()
        return bytes.count
    }
    func writabilityChanged(_ isWritable: Bool) {}
    func closed(_ reason: StreamCloseReason) {}
}
