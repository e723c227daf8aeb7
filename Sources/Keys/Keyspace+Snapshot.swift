import Primitives

extension Keyspace {
    /// Of the snapshot's form.
    private static let snapshotVersion: UInt8 = 2

    /// Writes the whole replicated state: a keyspace made from it replies to the same commands alike, byte for byte,
    /// for ever. Equal states with equal histories are equal bytes, so the bytes serve as a digest too.
    ///
    /// Not in it: `random`, which is set before each command; statistics and the uses that the log does not know of,
    /// which are each replica's own; `notifications` and `served`, which the caller has emptied; `keyBytes`, which
    /// follows from the keys.
    package func encodeSnapshot(into writer: inout ByteWriter) {
        writer.write(Keyspace.snapshotVersion)
        writer.write(seed)
        writer.write(now)
        writer.writeVarint(version)
        for removal in removals { writer.writeVarint(removal) }
        configuration.encode(into: &writer)
        for database in databases {
            database.objects.encode(into: &writer) { object, writer in
                object.value.encode(into: &writer)
                writer.writeVarint(UInt64(bitPattern: object.expiresAt))
                writer.writeVarint(object.version)
                writer.writeVarint(UInt64(object.loggedUse))
            }
            database.expires.encode(into: &writer, database.objects)
        }
        waiters.encode(into: &writer)
    }

    package init(snapshot bytes: [UInt8]) throws(DecodeError) {
        self = try bytes.withUnsafeBufferPointer { (buffer) throws(DecodeError) in
            var reader = ByteReader(UnsafeRawBufferPointer(buffer))
            let keys = try Keyspace(from: &reader)
            try reader.expectEnd()
            return keys
        }
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        let form = try reader.readByte()
        guard form == Keyspace.snapshotVersion else {
            throw .unknown(field: "snapshot version", value: UInt64(form))
        }
        self.init(seed: try reader.read(UInt64.self))
        now = Int64(bitPattern: try reader.read(UInt64.self))
        version = try reader.readVarint()
        for bucket in removals.indices { removals[bucket] = try reader.readVarint() }
        configuration = try KeyspaceConfiguration(from: &reader)
        for number in databases.indices {
            let objects = try KeyTable<Object>(from: &reader) { (reader) throws(DecodeError) in
                let value = try Value(from: &reader)
                let deadline = Int64(bitPattern: try reader.readVarint())
                let version = try reader.readVarint()
                let usedAt = UInt32(clamping: try reader.readVarint())
                return Object(value: value, expiresAt: deadline, version: version, usedAt: usedAt)
            }
            databases[number] = Database(
                objects: objects,
                expires: try ExpiryQueue(from: &reader, objects)
            )
            keyBytes += byteCount(of: number)
        }
        waiters = try Waiters(from: &reader)
    }
}
