import Primitives

/// Writes the data of a key partition's log entries. One entry carries everything that the owner gathered in a tick,
/// with the time and the chance that it drew for it: so replicas that apply it do and answer alike.
///
/// Bytes: version u8 = 1, time varint (ms since 1970), chance u64, then commands: tag u8 and their bodies.
package struct KeyBatchWriter {
    package static let version: UInt8 = 1
    package private(set) var writer: ByteWriter
    package private(set) var count = 0

    enum Tag: UInt8 {
        /// A gateway's unit.
        case unit = 1
        /// The partition's first command: what its hash tables are seeded with.
        case begin = 2
        /// Keys past their deadlines go, and waits whose time is up end.
        case expire = 3
        /// Gateways whose node is gone: their waits end unanswered.
        case forget = 4
        /// Keys that clients have read at the owner.
        case uses = 5
        /// Streams of gateways that were idle for long are forgotten.
        case housekeeping = 6
        /// `maxmemory` and its policy, as cluster.toml has them.
        case memoryLimit = 7
        /// An owner begins whose predecessor may have answered what is lost.
        case takeOver = 8
    }

    package init(timestamp: Timestamp, chance: UInt64) {
        writer = ByteWriter(capacity: 512)
        writer.write(KeyBatchWriter.version)
        writer.writeVarint(timestamp)
        writer.write(chance)
    }

    package var isEmpty: Bool { count == 0 }
    package var bytes: [UInt8] { writer.bytes }
    package var byteCount: Int { writer.count }

    /// Number `sequence` of the gateway's stream; the gateway has seen the results of all below `acknowledgedBelow`.
    package mutating func unit(
        gateway: GatewayID,
        sequence: UInt64,
        acknowledgedBelow: UInt64,
        _ unit: ArraySlice<UInt8>
    ) {
        begin(.unit)
        writer.write(gateway.rawValue)
        writer.writeVarint(sequence)
        writer.writeVarint(acknowledgedBelow)
        writer.writeBytes(unit)
    }

    package mutating func begin(seed: UInt64) {
        begin(.begin)
        writer.write(seed)
    }

    package mutating func expire() { begin(.expire) }
    package mutating func housekeeping() { begin(.housekeeping) }
    package mutating func takeOver() { begin(.takeOver) }

    package mutating func forget(_ gateways: [GatewayID]) {
        begin(.forget)
        writer.writeVarint(UInt64(gateways.count))
        for gateway in gateways { writer.write(gateway.rawValue) }
    }

    package mutating func uses(_ keys: [(database: Int, key: [UInt8])]) {
        begin(.uses)
        writer.writeVarint(UInt64(keys.count))
        for (database, key) in keys {
            writer.writeVarint(UInt64(database))
            writer.writeBytes(key)
        }
    }

    package mutating func memoryLimit(_ limit: MemoryLimit) {
        begin(.memoryLimit)
        limit.encode(into: &writer)
    }

    private mutating func begin(_ tag: Tag) {
        count += 1
        writer.write(tag.rawValue)
    }
}
