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

    package init() {}

    func notifies(_ kind: KeyNotification.Kind) -> Bool {
        !notifications.isDisjoint(with: kind) && !notifications.isDisjoint(with: [.keyspace, .keyevent])
    }
}
