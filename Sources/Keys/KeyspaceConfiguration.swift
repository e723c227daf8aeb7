import Primitives

/// Settings of `CONFIG SET` that commands look at. They are set through the log, so that all replicas agree.
package struct KeyspaceConfiguration: Equatable, Sendable {
    /// `notify-keyspace-events`.
    package var notifications: KeyNotification.Kind = []
    /// Bounds up to which `OBJECT ENCODING` names the compact encoding. Vencejo has one representation; programs and
    /// test suites set and read these.
    package var listMaxListpackSize: Int64 = -2
    package var setMaxIntsetEntries: Int64 = 512
    package var hashMaxListpackEntries: Int64 = 128
    package var hashMaxListpackValue: Int64 = 64
    package var zsetMaxListpackEntries: Int64 = 128
    package var zsetMaxListpackValue: Int64 = 64
    /// Entries of a stream's node: what `MAXLEN ~` trims by.
    package var streamNodeMaxEntries: Int64 = 100
    package var streamNodeMaxBytes: Int64 = 4096
    /// Bytes of the longest string that a command may make.
    package var protoMaxBulkLength: Int64 = 512 << 20
    /// Bytes that the keys may take by `memoryEstimate` before room is made by the policy; 0: no bound.
    package var maxMemory: Int64 = 0
    package var maxMemoryPolicy = MemoryPolicy.noEviction
    /// Keys that are looked at to find one that was unused for long.
    package var maxMemorySamples: Int64 = 5

    /// What goes when room must be made, and of what. Redis's LFU policies are not there: reads reach the log as uses,
    /// not as counts.
    package enum MemoryPolicy: String, CaseIterable, Sendable {
        case volatileLRU = "volatile-lru"
        case volatileRandom = "volatile-random"
        case volatileTTL = "volatile-ttl"
        case allKeysLRU = "allkeys-lru"
        case allKeysRandom = "allkeys-random"
        case noEviction = "noeviction"

        /// Only keys with a time to live go.
        var isVolatile: Bool {
            switch self {
            case .volatileLRU, .volatileRandom, .volatileTTL: true
            case .allKeysLRU, .allKeysRandom, .noEviction: false
            }
        }
        /// Looks at when keys were used.
        var isLRU: Bool { self == .volatileLRU || self == .allKeysLRU }
    }

    package init() {}

    func notifies(_ kind: KeyNotification.Kind) -> Bool {
        !notifications.isDisjoint(with: kind) && !notifications.isDisjoint(with: [.keyspace, .keyevent])
    }
}

// MARK: - CONFIG

extension KeyspaceConfiguration {
    /// A number of `CONFIG`, with the bounds that Redis 7.0 gives it.
    private struct Parameter: Sendable {
        var name: String
        /// The name before Redis 7.
        var oldName: String?
        var field: any WritableKeyPath<KeyspaceConfiguration, Int64> & Sendable
        var bounds: ClosedRange<Int64>
        /// `64mb` is understood.
        var isMemory: Bool

        init(
            _ name: String,
            _ field: any WritableKeyPath<KeyspaceConfiguration, Int64> & Sendable,
            _ bounds: ClosedRange<Int64> = 0...Int64.max,
            isMemory: Bool = false,
            oldName: String? = nil
        ) {
            self.name = name
            self.oldName = oldName
            self.field = field
            self.bounds = bounds
            self.isMemory = isMemory
        }
    }

    private static let notificationsName = "notify-keyspace-events"
    private static let policyName = "maxmemory-policy"

    private static let parameters: [Parameter] = [
        Parameter(
            "list-max-listpack-size",
            \.listMaxListpackSize,
            Int64(Int32.min)...Int64(Int32.max),
            oldName: "list-max-ziplist-size"
        ),
        Parameter("set-max-intset-entries", \.setMaxIntsetEntries),
        Parameter("hash-max-listpack-entries", \.hashMaxListpackEntries, oldName: "hash-max-ziplist-entries"),
        Parameter("hash-max-listpack-value", \.hashMaxListpackValue, isMemory: true, oldName: "hash-max-ziplist-value"),
        Parameter("zset-max-listpack-entries", \.zsetMaxListpackEntries, oldName: "zset-max-ziplist-entries"),
        Parameter("zset-max-listpack-value", \.zsetMaxListpackValue, isMemory: true, oldName: "zset-max-ziplist-value"),
        Parameter("stream-node-max-entries", \.streamNodeMaxEntries),
        Parameter("stream-node-max-bytes", \.streamNodeMaxBytes, isMemory: true),
        // Redis has no upper bound here; a replica that fills gigabytes for one SETRANGE answers nobody meanwhile.
        Parameter("proto-max-bulk-len", \.protoMaxBulkLength, (1 << 20)...(512 << 20), isMemory: true),
        Parameter("maxmemory", \.maxMemory, isMemory: true),
        // The upper bound bounds the work of one eviction.
        Parameter("maxmemory-samples", \.maxMemorySamples, 1...64),
    ]

    /// The names of `CONFIG` that belong here, lower-case; old names too, as Redis lists them.
    package static let names: [String] =
        [notificationsName, policyName] + parameters.flatMap { [$0.name] + ($0.oldName.map { [$0] } ?? []) }

    private static func find(_ name: String) -> Parameter? {
        parameters.first { $0.name == name || $0.oldName == name }
    }

    /// What `CONFIG GET` shows; nil for a name that does not belong here.
    package func value(of name: String) -> String? {
        if name == KeyspaceConfiguration.notificationsName { return notifications.text }
        if name == KeyspaceConfiguration.policyName { return maxMemoryPolicy.rawValue }
        return KeyspaceConfiguration.find(name).map { String(self[keyPath: $0.field]) }
    }

    package enum Refusal: Error, Equatable, Sendable {
        case unknownName
        /// What follows `CONFIG SET failed (possibly related to argument 'x') - ` in Redis's error.
        case badValue(String)
    }

    package mutating func set(_ name: String, to text: String) throws(Refusal) {
        if name == KeyspaceConfiguration.notificationsName {
            guard let kind = KeyNotification.Kind(text: text) else {
                throw .badValue("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
            }
            notifications = kind
            return
        }
        if name == KeyspaceConfiguration.policyName {
            guard let policy = MemoryPolicy(rawValue: text.lowercased()) else {
                let all = MemoryPolicy.allCases.map(\.rawValue).joined(separator: ", ")
                throw .badValue("argument(s) must be one of the following: \(all)")
            }
            maxMemoryPolicy = policy
            return
        }
        guard let parameter = KeyspaceConfiguration.find(name) else { throw .unknownName }
        let number = parameter.isMemory ? Decimal.memory(Array(text.utf8)) : Decimal.integer(Array(text.utf8))
        guard let number else {
            throw .badValue(
                parameter.isMemory ? "argument must be a memory value" : "argument couldn't be parsed into an integer"
            )
        }
        guard parameter.bounds.contains(number) else {
            let bounds = parameter.bounds
            throw .badValue("argument must be between \(bounds.lowerBound) and \(bounds.upperBound) inclusive")
        }
        self[keyPath: parameter.field] = number
    }

    // MARK: Snapshot

    func encode(into writer: inout ByteWriter) {
        writer.write(notifications.rawValue)
        writer.writeString(maxMemoryPolicy.rawValue)
        for parameter in KeyspaceConfiguration.parameters { writer.write(self[keyPath: parameter.field]) }
    }

    init(from reader: inout ByteReader) throws(DecodeError) {
        self.init()
        notifications = KeyNotification.Kind(rawValue: try reader.read(UInt32.self))
        guard let policy = MemoryPolicy(rawValue: try reader.readString(limit: 32)) else {
            throw .malformed("configuration")
        }
        maxMemoryPolicy = policy
        for parameter in KeyspaceConfiguration.parameters {
            let value = Int64(bitPattern: try reader.read(UInt64.self))
            guard parameter.bounds.contains(value) else { throw .malformed("configuration") }
            self[keyPath: parameter.field] = value
        }
    }
}

extension Keyspace {
    /// What `CONFIG GET name` shows; nil for a name that is none of `KeyspaceConfiguration.names`.
    package func configurationGet(_ name: String) -> String? { configuration.value(of: name) }

    /// `CONFIG SET name value`, applied by every replica. The caller takes its own copy of `configuration` to undo a
    /// CONFIG SET of several parameters of which one is refused.
    package mutating func configurationSet(
        _ name: String,
        _ value: String
    ) throws(KeyspaceConfiguration.Refusal) {
        try configuration.set(name, to: value)
    }
}
