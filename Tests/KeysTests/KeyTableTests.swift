import Primitives
import Testing

@testable import Keys

@Suite struct KeyTableTests {
    private func key(_ number: UInt64) -> [UInt8] { Array("key:\(number)".utf8) }

    private func encoded(_ table: KeyTable<UInt64>) -> [UInt8] {
        var writer = ByteWriter()
        table.encode(into: &writer) { value, writer in writer.writeVarint(value) }
        return writer.bytes
    }

    private func decoded(_ bytes: [UInt8]) throws -> KeyTable<UInt64> {
        try bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            let table = try KeyTable<UInt64>(from: &reader) { (reader) throws(DecodeError) in
                try reader.readVarint()
            }
            try reader.expectEnd()
            return table
        }
    }

    /// Everything that a table shows of its order.
    private func walk(_ table: KeyTable<UInt64>) -> [[UInt8]] {
        var keys = table.keys
        var cursor: UInt64 = 0
        repeat { cursor = table.scan(cursor, 3) { keys.append(table.key(at: $0)) } } while cursor != 0
        return keys
    }

    @Test("RS-11 a table holds what a dictionary holds, whatever is done to it", arguments: [1, 2, 3] as [UInt64])
    func model(seed: UInt64) {
        var random = Xoshiro256(seed: seed)
        var table = KeyTable<UInt64>(seed: seed)
        var model: [[UInt8]: UInt64] = [:]
        for step in 0..<40_000 {
            // Waves: the table grows to about 3000 keys and shrinks to a few.
            let isGrowing = (step / 5000) % 2 == 0
            let name = key(random.below(4000))
            let value = random.next()
            if random.chance(isGrowing ? 3 : 1, in: 4) {
                #expect(table.set(name, value) == (model.updateValue(value, forKey: name) == nil))
            } else {
                #expect(table.remove(name) == model.removeValue(forKey: name))
            }
            if step % 997 == 0 {
                #expect(table.count == model.count)
                #expect(Set(table.keys) == Set(model.keys))
                for (name, value) in model where table[name] != value { Issue.record("\(name)") }
                if !table.isEmpty {
                    let slot = table.randomSlot(&random)
                    #expect(model[table.key(at: slot)] == table[slot])
                }
            }
        }
    }

    @Test(
        "RS-11 SCAN returns everything that stays, while the table grows and shrinks",
        arguments: 1...20 as ClosedRange<UInt64>
    )
    func scanGuarantee(seed: UInt64) {
        var random = Xoshiro256(seed: seed)
        var table = KeyTable<UInt64>(seed: seed)
        let staying = (0..<UInt64(1 + random.below(300))).map { key($0) }
        for name in staying { table.insert(name, 0) }
        let others = (0..<3000).map { key(10_000 + $0) }
        if random.chance(1, in: 2) { for name in others { table.set(name, 1) } }
        var seen: Set<[UInt8]> = []
        var cursor: UInt64 = 0
        var calls = 0
        repeat {
            cursor = table.scan(cursor, Int(1 + random.below(20))) { seen.insert(table.key(at: $0)) }
            let isGrowing = random.chance(1, in: 2)
            for _ in 0..<random.below(400) {
                let name = others[Int(random.below(3000))]
                if isGrowing { table.set(name, 1) } else { table.remove(name) }
            }
            calls += 1
        } while cursor != 0 && calls < 100_000
        #expect(cursor == 0)
        #expect(staying.allSatisfy { seen.contains($0) })
    }

    @Test("RS-11 any cursor is valid, and a scan without changes returns each key once")
    func cursors() {
        var random = Xoshiro256(seed: 5)
        for count in [0, 1, 2, 3, 7, 100, 1000] {
            var table = KeyTable<UInt64>(seed: 9)
            for number in 0..<UInt64(count) { table.insert(key(number), number) }
            var seen: [[UInt8]] = []
            var cursor: UInt64 = 0
            repeat { cursor = table.scan(cursor, 10) { seen.append(table.key(at: $0)) } } while cursor != 0
            #expect(seen.count == count && Set(seen).count == count)
            for _ in 0..<200 {
                var again = random.next()
                var calls = 0
                repeat {
                    again = table.scan(again, 100) { _ in }
                    calls += 1
                } while again != 0 && calls <= count + 2
                #expect(again == 0)
            }
        }
    }

    @Test("RS-11 buckets follow the number of keys down")
    func shrinks() {
        var table = KeyTable<UInt64>(seed: 1)
        for number in 0..<UInt64(10_000) { table.insert(key(number), number) }
        for number in 10..<UInt64(10_000) { table.remove(key(number)) }
        var calls = 0
        var cursor: UInt64 = 0
        repeat {
            cursor = table.scan(cursor, 10) { _ in }
            calls += 1
        } while cursor != 0
        #expect(calls <= 2)
    }

    @Test("RS-11 a copy is not changed by its original, nor the other way")
    func copies() {
        var random = Xoshiro256(seed: 3)
        var table = KeyTable<UInt64>(seed: 3)
        for number in 0..<UInt64(500) { table.insert(key(number), number) }
        let before = encoded(table)
        var copy = table
        for _ in 0..<2000 {
            let name = key(random.below(1000))
            if random.chance(1, in: 2) { copy.set(name, 7) } else { copy.remove(name) }
        }
        #expect(encoded(table) == before)
        let changed = encoded(copy)
        for number in 0..<UInt64(500) { table.remove(key(number)) }
        #expect(encoded(copy) == changed)
        #expect(table.isEmpty && !copy.isEmpty)
    }

    @Test(
        "RS-11 a table read back from bytes goes on exactly as the one that was written",
        arguments: 1...10 as ClosedRange<UInt64>
    )
    func coding(seed: UInt64) throws {
        var random = Xoshiro256(seed: seed)
        var table = KeyTable<UInt64>(seed: seed)
        for _ in 0..<random.below(3000) {
            let name = key(random.below(600))
            if random.chance(3, in: 5) { table.set(name, random.next()) } else { table.remove(name) }
        }
        let bytes = encoded(table)
        var copy = try decoded(bytes)
        #expect(encoded(copy) == bytes)
        #expect(walk(copy) == walk(table))
        for step in 0..<2000 {
            let name = key(random.below(600))
            if random.chance(1, in: 2) {
                #expect(table.set(name, 1) == copy.set(name, 1))
            } else {
                #expect(table.remove(name) == copy.remove(name))
            }
            if step % 100 == 0 {
                #expect(walk(copy) == walk(table))
                if !table.isEmpty {
                    var twin = random
                    #expect(table.randomSlot(&random) == copy.randomSlot(&twin))
                }
            }
        }
        #expect(encoded(copy) == encoded(table))
    }

    @Test("RS-11 damaged bytes of a table are refused or make a table that works")
    func damage() throws {
        var random = Xoshiro256(seed: 4)
        var table = KeyTable<UInt64>(seed: 4)
        for number in 0..<UInt64(60) { table.insert(key(number), number) }
        for number in 0..<UInt64(20) { table.remove(key(number * 2)) }
        let bytes = encoded(table)
        for length in bytes.indices { #expect(throws: DecodeError.self) { try decoded(Array(bytes[..<length])) } }
        var refused = 0
        for _ in 0..<5000 {
            var damaged = bytes
            for _ in 0...random.below(3) {
                damaged[Int(random.below(UInt64(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
            }
            guard var made = try? decoded(damaged) else {
                refused += 1
                continue
            }
            _ = walk(made)
            for number in 0..<UInt64(100) { made.set(key(number), 0) }
            for number in 0..<UInt64(100) { made.remove(key(number)) }
        }
        #expect(refused > 1000)
    }
}
