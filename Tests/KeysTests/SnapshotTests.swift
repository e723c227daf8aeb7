import Primitives
import RESP
import Testing

@testable import Keys

@Suite struct SnapshotTests {
    private func digest(_ keys: Keyspace) -> [UInt8] {
        var writer = ByteWriter()
        keys.encodeSnapshot(into: &writer)
        return writer.bytes
    }

    /// What a replica does with one entry of its log, and everything that can be seen of it.
    private func apply(_ keys: inout Keyspace, _ call: Call, now: Int64, seed: UInt64, version: UInt8) -> [[UInt8]] {
        keys.now = now
        keys.random = Xoshiro256(seed: seed)
        var seen: [[UInt8]] = []
        if seed % 16 == 0 {
            keys.timeOutWaiters()
            while seed % 32 == 0, keys.expireDue(limit: 3) {}
            _ = keys.expireDue(limit: 2)
        }
        var writer = RESPWriter(version: version)
        keys.execute(call, &writer)
        keys.serveWaiters()
        seen.append(writer.bytes)
        for served in keys.served { seen.append(Array("\(served.waiter)".utf8) + served.reply) }
        for event in keys.notifications { seen.append(Array("\(event)".utf8)) }
        keys.served = []
        keys.notifications = []
        return seen
    }

    @Test(
        "RS-11 a replica that starts from a snapshot replies as the others do, for ever",
        arguments: 1...12 as ClosedRange<UInt64>
    )
    func replicas(seed: UInt64) throws {
        var commands = RandomCommands(seed: seed)
        var random = Xoshiro256(seed: seed &* 31)
        var old = Keyspace(seed: seed)
        old.configuration.hashMaxListpackEntries = 4
        old.configuration.setMaxIntsetEntries = 4
        try old.configurationSet("notify-keyspace-events", "KEAmn")
        var fresh: Keyspace?
        // A snapshot that is being written while the keyspace goes on.
        var frozen: (keys: Keyspace, digest: [UInt8])?
        var now: Int64 = 1_700_000_000_000
        var steps = 0
        for step in 0..<6000 {
            now += Int64(random.below(40))
            let words = random.chance(1, in: 10) ? commands.nonsense() : commands.next()
            guard KeyspaceSession.table.find(words)?.accepts(argumentCount: words.count) == true else { continue }
            let client = WaiterID(gateway: 1 + random.below(2), session: random.below(6))
            if random.chance(1, in: 500) {
                old.forget(client)
                fresh?.forget(client)
            }
            // A client that waits sends nothing.
            let isWaiting = old.waiters.waiters[client] != nil
            let call = Call(words, database: Int(random.below(2)), waiter: isWaiting ? nil : client)
            let version: UInt8 = random.chance(1, in: 2) ? 2 : 3
            let chance = random.next()
            let seen = apply(&old, call, now: now, seed: chance, version: version)
            if var replica = fresh {
                fresh = nil
                let line = words.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
                let other = apply(&replica, call, now: now, seed: chance, version: version)
                // The time of the last use is each replica's own.
                if !line.lowercased().hasPrefix("object idletime") {
                    #expect(seen == other, "step \(step): \(line)")
                    if seen != other { return }
                }
                fresh = replica
            }
            if step % 700 == 350 {
                let bytes = digest(old)
                if let fresh { #expect(digest(fresh) == bytes) }
                fresh = try Keyspace(snapshot: bytes)
                if let frozen { #expect(digest(frozen.keys) == frozen.digest) }
                frozen = (old, bytes)
            }
            steps += 1
        }
        #expect(steps > 5000)
        #expect(digest(try #require(fresh)) == digest(old))
    }

    @Test("RS-11 what is not a snapshot is refused, not trapped on")
    func damage() throws {
        var commands = RandomCommands(seed: 77)
        var session = KeyspaceSession()
        session.client = 3
        for _ in 0..<800 {
            _ = session(words: commands.next())
            session.keys.forget(WaiterID(gateway: 1, session: 3))
        }
        _ = session("DEL waited")
        _ = session("BLPOP waited 0")
        let bytes = digest(session.keys)
        #expect(digest(try Keyspace(snapshot: bytes)) == bytes)
        var random = Xoshiro256(seed: 5)
        for _ in 0..<300 {
            let length = Int(random.below(UInt64(bytes.count)))
            #expect(throws: DecodeError.self) { try Keyspace(snapshot: Array(bytes[..<length])) }
        }
        #expect(throws: DecodeError.trailingBytes(1)) { try Keyspace(snapshot: bytes + [0]) }
        for _ in 0..<300 {
            var damaged = bytes
            // Behind the version, the seed, the time and the removals.
            let place = 4100 + Int(random.below(UInt64(bytes.count - 4100)))
            damaged[place] = UInt8(truncatingIfNeeded: random.next())
            guard var keys = try? Keyspace(snapshot: damaged) else { continue }
            for _ in 0..<20 {
                var writer = RESPWriter()
                let words = commands.next()
                keys.execute(Call(words), &writer)
            }
            keys.serveWaiters()
            _ = keys.expireDue(limit: 100)
        }
    }

    @Test("RS-11 random arguments to any command never trap", arguments: 1...6 as ClosedRange<UInt64>)
    func nonsense(seed: UInt64) {
        var commands = RandomCommands(seed: seed)
        var session = KeyspaceSession(version: seed % 2 == 0 ? 2 : 3)
        try? session.keys.configurationSet("proto-max-bulk-len", "1mb")
        for step in 0..<20_000 {
            session.keys.now += Int64(step % 7)
            session.keys.random = Xoshiro256(seed: UInt64(step))
            let words = step % 3 == 0 ? commands.next() : commands.nonsense()
            let reply = session.raw(words)
            #expect(!reply.isEmpty)
            session.keys.notifications = []
        }
    }
}
