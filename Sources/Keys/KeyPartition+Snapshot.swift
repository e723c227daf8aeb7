import Primitives

extension KeyPartition {
    private static let snapshotVersion: UInt8 = 2

    /// Everything that the log up to `applied` has made; equal states encode equally.
    package func encodeSnapshot() -> [UInt8] {
        var writer = ByteWriter(capacity: 1 << 16)
        writer.write(KeyPartition.snapshotVersion)
        writer.writeVarint(applied)
        writer.writeVarint(now)
        writer.write(seed)
        writer.write(UInt8(hasMoreDue ? 1 : 0))
        memoryLimit.encode(into: &writer)
        gateways.encode(into: &writer)
        writer.writeVarint(UInt64(homes.count))
        for home in homes {
            writer.write(home.gateway.rawValue)
            writer.write(home.node)
            writer.write(home.shard)
        }
        writer.writeVarint(UInt64(served.count))
        for (id, reply) in served.sorted(by: { $0.key < $1.key }) {
            writer.write(id.gateway)
            writer.writeVarint(id.session)
            writer.writeBytes(reply)
        }
        keyspace.encodeSnapshot(into: &writer)
        return writer.bytes
    }

    package init(partition: PartitionID, snapshot: [UInt8]) throws(DecodeError) {
        self.init(partition: partition)
        var decoded = self
        let outcome = snapshot.withUnsafeBytes { raw -> Result<Void, DecodeError> in
            var reader = ByteReader(raw)
            do throws(DecodeError) {
                try decoded.read(&reader)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
        self = decoded
    }

    private mutating func read(_ reader: inout ByteReader) throws(DecodeError) {
        let version = try reader.readByte()
        guard version == KeyPartition.snapshotVersion else {
            throw .unknown(field: "key snapshot version", value: UInt64(version))
        }
        applied = try reader.readVarint()
        now = try reader.readVarint()
        seed = try reader.read(UInt64.self)
        hasMoreDue = try reader.readByte() != 0
        memoryLimit = try MemoryLimit(from: &reader)
        gateways = try GatewayStreams(from: &reader)
        for _ in 0..<(try reader.readCount(limit: 1 << 20, "gateways")) {
            let gateway = GatewayID(rawValue: try reader.read(UInt64.self))
            let node = try reader.read(UInt64.self)
            homes.append(Home(gateway: gateway, node: node, shard: try reader.read(UInt32.self)))
        }
        for _ in 0..<(try reader.readCount(limit: 1 << 24, "served waits")) {
            let gateway = try reader.read(UInt64.self)
            let id = WaiterID(gateway: gateway, session: try reader.readVarint())
            served[id] = try reader.readBytes(limit: .max, "reply")
        }
        keyspace = try Keyspace(from: &reader)
        try reader.expectEnd()
    }
}
