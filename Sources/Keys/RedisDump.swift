import DequeModule
import Primitives

/// The payload of DUMP and RESTORE: a value as in Redis's RDB files, the file's version and a CRC-64.
/// Source: rdb.h and cluster.c (createDumpPayload) of Redis 7.0; https://rdb.fnordig.de/file_format.html
enum RedisDump {
    /// RDB's version in Redis 7.0; that of 7.2 is read too.
    private static let version: UInt16 = 10
    private static let newestVersion: UInt16 = 11

    private static let badData = CommandError.message("ERR Bad data format")

    /// Lists, sets, hashes and sorted sets are written in the plain forms, which every version of Redis reads.
    static func encode(_ value: Value) -> [UInt8] {
        var writer = RDBWriter()
        writer.value(value)
        var payload = ByteWriter(writer.bytes)
        payload.write(version)
        payload.write(CRC64.checksum(payload.bytes[...]))
        return payload.bytes
    }

    static func isIntact(_ payload: [UInt8]) -> Bool {
        guard payload.count >= 10 else { return false }
        let footer = payload.suffix(10)
        let version = UInt16(footer[footer.startIndex]) | UInt16(footer[footer.startIndex + 1]) << 8
        var checksum: UInt64 = 0
        for byte in footer.suffix(8).reversed() { checksum = checksum << 8 | UInt64(byte) }
        return version <= newestVersion && CRC64.checksum(payload.dropLast(8)) == checksum
    }

    static func decode(
        _ payload: [UInt8],
        _ configuration: KeyspaceConfiguration,
        seed: UInt64
    ) throws(CommandError) -> Value {
        var reader = RDBReader(payload.dropLast(10), limit: Int(clamping: configuration.protoMaxBulkLength))
        guard let tag = reader.byte(), let type = RDBType(rawValue: tag),
            let value = reader.value(type, configuration, seed: seed)
        else { throw badData }
        return value
    }
}

/// RDB's types of values that are read here. Not those with ziplists, which Redis wrote before version 7.
enum RDBType: UInt8 {
    case string = 0
    case list = 1
    case set = 2
    case hash = 4
    case sortedSet = 5
    case intset = 11
    case stream1 = 15
    case hashListpack = 16
    case sortedSetListpack = 17
    case quicklist = 18
    case stream2 = 19
    /// Since Redis 7.2.
    case setListpack = 20
    case stream3 = 21
}

/// Writes RDB's primitives.
struct RDBWriter {
    var bytes: [UInt8] = []

    mutating func length(_ count: Int) { length(UInt64(count)) }

    mutating func length(_ number: UInt64) {
        if number < 1 << 6 {
            bytes.append(UInt8(number))
        } else if number < 1 << 14 {
            bytes.append(0x40 | UInt8(number >> 8))
            bytes.append(UInt8(number & 0xff))
        } else {
            let isShort = number <= UInt64(UInt32.max)
            bytes.append(isShort ? 0x80 : 0x81)
            for shift in stride(from: UInt64(isShort ? 24 : 56), through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: number >> shift))
            }
        }
    }

    /// Small integers are kept as such.
    mutating func string(_ content: [UInt8]) {
        if content.count <= 11, let number = Decimal.integer(content), let small = Int32(exactly: number) {
            let size = Int8(exactly: small) != nil ? 1 : Int16(exactly: small) != nil ? 2 : 4
            bytes.append(size == 1 ? 0xc0 : size == 2 ? 0xc1 : 0xc2)
            littleEndian(UInt64(bitPattern: Int64(small)), size)
        } else {
            length(content.count)
            bytes += content
        }
    }

    mutating func value(_ value: Value) {
        switch value {
        case .string, .integer:
            type(.string)
            string(value.stringBytes ?? [])
        case .list(let list):
            type(.list)
            length(list.count)
            for element in list.elements { string(element) }
        case .hash(let hash):
            type(.hash)
            length(hash.count)
            hash.forEach { field, value in
                string(field)
                string(value)
            }
        case .set(let set):
            type(.set)
            let members = set.all
            length(members.count)
            for member in members { string(member) }
        case .sortedSet(let set):
            type(.sortedSet)
            length(set.count)
            for row in set.all {
                string(row.member)
                littleEndian(row.score.bitPattern, 8)
            }
        case .stream(let stream):
            type(.stream2)
            self.stream(stream)
        case .taken: preconditionFailure("a dump in the middle of a command")
        }
    }

    mutating func littleEndian(_ value: UInt64, _ size: Int) {
        for step in 0..<size { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * step))) }
    }

    private mutating func type(_ type: RDBType) { bytes.append(type.rawValue) }
}

/// Reads RDB's primitives from bytes that anybody may have made: nil instead of a trap, and nothing larger than the
/// limit.
struct RDBReader {
    private var rest: ArraySlice<UInt8>
    private let limit: Int

    init(_ bytes: ArraySlice<UInt8>, limit: Int) {
        rest = bytes
        self.limit = limit
    }

    mutating func byte() -> UInt8? { rest.popFirst() }

    mutating func raw(_ count: Int) -> ArraySlice<UInt8>? {
        guard count >= 0, count <= rest.count else { return nil }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    mutating func littleEndian(_ count: Int) -> UInt64? {
        raw(count)?.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    private mutating func bigEndian(_ count: Int) -> UInt64? { raw(count)?.reduce(0) { $0 << 8 | UInt64($1) } }

    private enum Length {
        case plain(UInt64)
        case encoded(UInt8)
    }

    private mutating func prefix() -> Length? {
        guard let first = byte() else { return nil }
        switch first >> 6 {
        case 0: return .plain(UInt64(first))
        case 1: return byte().map { .plain(UInt64(first & 0x3f) << 8 | UInt64($0)) }
        case 3: return .encoded(first & 0x3f)
        default:
            guard first == 0x80 || first == 0x81 else { return nil }
            return bigEndian(first == 0x80 ? 4 : 8).map { .plain($0) }
        }
    }

    /// A number in the form of a length.
    mutating func number() -> UInt64? { if case .plain(let number)? = prefix() { number } else { nil } }

    /// How many elements follow.
    mutating func length() -> Int? { number().flatMap { Int(exactly: $0) } }

    mutating func string() -> [UInt8]? {
        switch prefix() {
        case .plain(let count)?: return count <= UInt64(limit) ? raw(Int(count)).map(Array.init) : nil
        case .encoded(0)?: return littleEndian(1).map { Decimal.bytes(of: Int64(Int8(truncatingIfNeeded: $0))) }
        case .encoded(1)?: return littleEndian(2).map { Decimal.bytes(of: Int64(Int16(truncatingIfNeeded: $0))) }
        case .encoded(2)?: return littleEndian(4).map { Decimal.bytes(of: Int64(Int32(truncatingIfNeeded: $0))) }
        case .encoded(3)?:
            guard let packed = length(), let count = length(), count <= limit, let content = raw(packed) else {
                return nil
            }
            return RDBReader.unpacked(content, count)
        default: return nil
        }
    }

    /// LZF: a control byte below 32 is followed by that many bytes and one more; others repeat what came before.
    /// Source: http://oldhome.schmorp.de/marc/liblzf.html
    private static func unpacked(_ packed: ArraySlice<UInt8>, _ count: Int) -> [UInt8]? {
        var output: [UInt8] = []
        var input = packed
        while let control = input.popFirst() {
            if control < 32 {
                let run = Int(control) + 1
                guard run <= input.count, output.count + run <= count else { return nil }
                output += input.prefix(run)
                input = input.dropFirst(run)
            } else {
                var run = Int(control >> 5) + 2
                if control >> 5 == 7 {
                    guard let more = input.popFirst() else { return nil }
                    run += Int(more)
                }
                guard let low = input.popFirst() else { return nil }
                let distance = (Int(control & 31) << 8 | Int(low)) + 1
                guard distance <= output.count, output.count + run <= count else { return nil }
                for _ in 0..<run { output.append(output[output.count - distance]) }
            }
        }
        return output.count == count ? output : nil
    }

    // MARK: Values

    mutating func value(_ type: RDBType, _ configuration: KeyspaceConfiguration, seed: UInt64) -> Value? {
        switch type {
        case .string: string().map { Value(string: $0) }
        case .list: strings(perRow: 1).flatMap { RDBReader.list($0, seed) }
        case .quicklist: quicklist().flatMap { RDBReader.list($0, seed) }
        case .set: strings(perRow: 1).flatMap { RDBReader.set($0, configuration, seed) }
        case .intset: intset().flatMap { RDBReader.set($0, configuration, seed) }
        case .setListpack: listpack().flatMap { RDBReader.set($0, configuration, seed) }
        case .sortedSet: sortedSet(seed)
        case .sortedSetListpack: listpack().flatMap { RDBReader.sortedSet($0, seed) }
        case .stream1: stream(version: 1, configuration, seed: seed)
        case .stream2: stream(version: 2, configuration, seed: seed)
        case .stream3: stream(version: 3, configuration, seed: seed)
        case .hash: strings(perRow: 2).flatMap { RDBReader.hash($0, configuration, seed) }
        case .hashListpack: listpack().flatMap { RDBReader.hash($0, configuration, seed) }
        }
    }

    /// As many strings as the count in front says.
    private mutating func strings(perRow width: Int) -> [[UInt8]]? {
        guard let rows = length(), case let (count, overflow) = rows.multipliedReportingOverflow(by: width), !overflow
        else { return nil }
        var strings: [[UInt8]] = []
        for _ in 0..<count {
            guard let next = string() else { return nil }
            strings.append(next)
        }
        return strings
    }

    private static func list(_ elements: [[UInt8]], _ seed: UInt64) -> Value? {
        var list = ListValue(seed: seed)
        for element in elements { list.push(element, .tail) }
        return list.isEmpty ? nil : list.wrapped
    }

    private static func hash(_ pairs: [[UInt8]], _ configuration: KeyspaceConfiguration, _ seed: UInt64) -> Value? {
        guard pairs.count % 2 == 0 else { return nil }
        var hash = HashValue(seed: seed)
        for place in stride(from: 0, to: pairs.count, by: 2) {
            guard hash.set(pairs[place], pairs[place + 1], configuration) else { return nil }
        }
        return hash.isEmpty ? nil : hash.wrapped
    }

    private static func set(_ members: [[UInt8]], _ configuration: KeyspaceConfiguration, _ seed: UInt64) -> Value? {
        var set = SetValue(seed: seed)
        for member in members {
            guard set.insert(member, integersMax: configuration.setMaxIntsetEntries) else { return nil }
        }
        return set.isEmpty ? nil : set.wrapped
    }

    /// Sorted integers: the width of each, their number, and the integers, all little-endian.
    private mutating func intset() -> [[UInt8]]? {
        guard let packed = string() else { return nil }
        var reader = RDBReader(packed[...], limit: limit)
        guard let width = reader.littleEndian(4), [2, 4, 8].contains(width), let count = reader.littleEndian(4),
            reader.rest.count == Int(count) * Int(width)
        else { return nil }
        var members: [[UInt8]] = []
        while let bits = reader.littleEndian(Int(width)) {
            let shift = 64 - Int64(width) * 8
            members.append(Decimal.bytes(of: (Int64(bitPattern: bits) << shift) >> shift))
        }
        return members
    }

    private mutating func sortedSet(_ seed: UInt64) -> Value? {
        guard let count = length() else { return nil }
        var set = SortedSetValue(seed: seed)
        for _ in 0..<count {
            guard let member = string(), let bits = littleEndian(8), case let score = Double(bitPattern: bits),
                !score.isNaN, set.set(member, score) == .added
            else { return nil }
        }
        return set.isEmpty ? nil : set.wrapped
    }

    private static func sortedSet(_ pairs: [[UInt8]], _ seed: UInt64) -> Value? {
        guard pairs.count % 2 == 0 else { return nil }
        var set = SortedSetValue(seed: seed)
        for place in stride(from: 0, to: pairs.count, by: 2) {
            guard let score = Decimal.double(pairs[place + 1]), set.set(pairs[place], score) == .added else {
                return nil
            }
        }
        return set.isEmpty ? nil : set.wrapped
    }

    /// Nodes of one large element, or of a listpack.
    private mutating func quicklist() -> [[UInt8]]? {
        guard let nodes = length() else { return nil }
        var elements: [[UInt8]] = []
        for _ in 0..<nodes {
            switch length() {
            case 1?:
                guard let element = string() else { return nil }
                elements.append(element)
            case 2?:
                guard let more = listpack() else { return nil }
                elements += more
            default: return nil
            }
        }
        return elements
    }

    /// A string that is a listpack: its elements, as texts.
    /// Source: https://github.com/antirez/listpack/blob/master/listpack.md
    mutating func listpack() -> [[UInt8]]? {
        guard let packed = string(), packed.count >= 7 else { return nil }
        var reader = RDBReader(packed[...], limit: limit)
        guard reader.littleEndian(4) == UInt64(packed.count), reader.raw(2) != nil else { return nil }
        var elements: [[UInt8]] = []
        while let first = reader.byte(), first != 0xff {
            let before = reader.rest.count
            guard let element = reader.listpackElement(first) else { return nil }
            elements.append(element)
            // Behind each element stands its length, for walks from the end.
            guard reader.raw(RDBReader.listpackLengthWidth(before - reader.rest.count + 1)) != nil else { return nil }
        }
        return reader.rest.isEmpty ? elements : nil
    }

    /// Bytes of the length behind an element of `size` bytes.
    static func listpackLengthWidth(_ size: Int) -> Int {
        size <= 127 ? 1 : size < 16383 ? 2 : size < 2_097_151 ? 3 : size < 268_435_455 ? 4 : 5
    }

    private mutating func listpackElement(_ first: UInt8) -> [UInt8]? {
        func number(_ bits: Int64, width: Int64) -> [UInt8] {
            Decimal.bytes(of: (bits << (64 - width)) >> (64 - width))
        }
        func wide(_ bytes: Int) -> [UInt8]? {
            littleEndian(bytes).map { number(Int64(bitPattern: $0), width: Int64(bytes) * 8) }
        }
        switch first {
        case 0..<0x80: return Decimal.bytes(of: Int64(first))
        case 0x80..<0xc0: return raw(Int(first & 0x3f)).map(Array.init)
        case 0xc0..<0xe0: return byte().map { number(Int64(first & 0x1f) << 8 | Int64($0), width: 13) }
        case 0xe0..<0xf0:
            guard let low = byte() else { return nil }
            return raw(Int(first & 0x0f) << 8 | Int(low)).map(Array.init)
        case 0xf0: return littleEndian(4).flatMap { raw(Int($0)) }.map(Array.init)
        case 0xf1: return wide(2)
        case 0xf2: return wide(3)
        case 0xf3: return wide(4)
        case 0xf4: return wide(8)
        default: return nil
        }
    }
}

/// CRC-64 of Jones, reflected, as Redis uses it. Source: crc64.c of Redis.
enum CRC64 {
    private static let table: [UInt64] = (0..<256).map { byte in
        var value = UInt64(byte)
        for _ in 0..<8 { value = value >> 1 ^ (value & 1 == 1 ? 0x95ac_9329_ac4b_c9b5 : 0) }
        return value
    }

    static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        var value: UInt64 = 0
        table.withUnsafeBufferPointer { table in
            for byte in bytes { value = table[Int(UInt8(truncatingIfNeeded: value) ^ byte)] ^ value >> 8 }
        }
        return value
    }
}
