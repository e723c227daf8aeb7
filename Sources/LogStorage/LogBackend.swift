import LogFormat
import Primitives

/// What `LogWriter` needs of a `LogStore`, without its disk: one existential call per batch.
protocol LogBackend: AnyObject, Sendable {
    var settings: LogSettings { get }
    var needsFlush: Bool { get }
    var sealedFiles: Int { get }
    var hasUnnotedDurable: Bool { get }
    var statistics: LogStatistics { get }

    func hasRoom(bytes: Int, items: Int) -> Bool
    func stage(_ items: [LogItem]) throws(StorageError)
    @discardableResult func writeStaged() throws(StorageError) -> UInt64
    @discardableResult func sync() throws(StorageError) -> UInt64
    func noteDurable() throws(StorageError)
    func close() throws(StorageError)

    func flushStep() throws(StorageError) -> [FlushedGroup]
    func read(group: GroupID, from: LogIndex, upTo: LogIndex, maxBytes: Int) throws(StorageError) -> [Entry]
    func saveSnapshot(group: GroupID, descriptor: SnapshotDescriptor, state: [UInt8]) throws(StorageError)
    func newestSnapshot(group: GroupID) throws(StorageError) -> (descriptor: SnapshotDescriptor, state: [UInt8])?
    func writeMeta(_ name: String, _ content: [UInt8]) throws(StorageError)
    func backup(to target: String) throws(StorageError)
    func retained(group: GroupID) -> (firstIndex: LogIndex, lastIndex: LogIndex, bytes: Int)

    func prepareInstall(
        _ group: GroupID,
        _ descriptor: SnapshotDescriptor,
        _ content: [UInt8],
        _ entries: [Entry],
        previousTerm: Term
    ) throws(StorageError) -> PreparedLog
    func commitInstall(_ prepared: PreparedLog) throws(StorageError)
    func abandon(_ prepared: PreparedLog, _ error: StorageError)
    func commitDiscard(_ group: GroupID) throws(StorageError) -> UInt64
    func commitFloor(_ group: GroupID, _ below: LogIndex) throws(StorageError) -> Bool
    func markRepaired(group: GroupID) throws(StorageError)
    func removeDropped(_ group: GroupID) throws(StorageError)
    func removeOtherIncarnations(_ group: GroupID, than incarnation: UInt64) throws(StorageError)
}

extension LogStore: LogBackend {}
