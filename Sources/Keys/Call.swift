import Primitives

/// One command on its way through the keyspace.
package struct Call: Sendable {
    /// Name first.
    package var arguments: [[UInt8]]
    package var database: Int
    /// Who waits if the command blocks; nil where it must not block: in a transaction, or where nobody can wait.
    package var waiter: WaiterID?
    /// A waiter's command that runs again because a key of it changed.
    package var isRetry = false

    package init(_ arguments: [[UInt8]], database: Int = 0, waiter: WaiterID? = nil) {
        self.arguments = arguments
        self.database = database
        self.waiter = waiter
    }

    package var count: Int { arguments.count }
    package subscript(_ index: Int) -> [UInt8] { arguments[index] }

    package func integer(_ index: Int) throws(CommandError) -> Int64 {
        guard let value = Decimal.integer(arguments[index]) else { throw .notAnInteger }
        return value
    }

    package func double(_ index: Int) throws(CommandError) -> Double {
        guard let value = Decimal.double(arguments[index]) else { throw .notAFloat }
        return value
    }

    /// The argument is this word, in any case. `word` is lower-case.
    package func isWord(_ index: Int, _ word: StaticString) -> Bool {
        index < arguments.count && Call.equals(arguments[index], word)
    }

    package static func equals(_ bytes: [UInt8], _ word: StaticString) -> Bool {
        guard bytes.count == word.utf8CodeUnitCount else { return false }
        for index in bytes.indices {
            let byte = bytes[index]
            let lower = byte >= 65 && byte <= 90 ? byte | 32 : byte
            if lower != word.utf8Start[index] { return false }
        }
        return true
    }
}

/// A connection that waits at a key: the gateway that serves it, and its number there.
package struct WaiterID: Hashable, Comparable, Sendable {
    package var gateway: UInt64
    package var session: UInt64

    package init(gateway: UInt64, session: UInt64) {
        self.gateway = gateway
        self.session = session
    }

    package static func < (a: WaiterID, b: WaiterID) -> Bool {
        a.gateway != b.gateway ? a.gateway < b.gateway : a.session < b.session
    }
}
