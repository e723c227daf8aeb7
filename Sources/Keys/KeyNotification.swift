/// An event of a key, for subscribers of `__keyspace@<db>__:<key>` and `__keyevent@<db>__:<event>`.
/// Source: https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/
package struct KeyNotification: Equatable, Sendable {
    package var kind: Kind
    package var event: String
    package var database: Int
    package var key: [UInt8]
    /// Which of the two channels are wanted.
    package var channels: Kind

    /// Channels and messages: `__keyspace@<db>__:<key>` says the event, `__keyevent@<db>__:<event>` the key.
    package var messages: [(channel: [UInt8], message: [UInt8])] {
        var messages: [(channel: [UInt8], message: [UInt8])] = []
        if channels.contains(.keyspace) {
            messages.append((Array("__keyspace@\(database)__:".utf8) + key, Array(event.utf8)))
        }
        if channels.contains(.keyevent) {
            messages.append((Array("__keyevent@\(database)__:\(event)".utf8), key))
        }
        return messages
    }

    /// Letters of `notify-keyspace-events`.
    package struct Kind: OptionSet, Sendable {
        package let rawValue: UInt32
        package init(rawValue: UInt32) { self.rawValue = rawValue }

        package static let keyspace = Kind(rawValue: 1 << 0)
        package static let keyevent = Kind(rawValue: 1 << 1)
        package static let generic = Kind(rawValue: 1 << 2)
        package static let string = Kind(rawValue: 1 << 3)
        package static let list = Kind(rawValue: 1 << 4)
        package static let set = Kind(rawValue: 1 << 5)
        package static let hash = Kind(rawValue: 1 << 6)
        package static let sortedSet = Kind(rawValue: 1 << 7)
        package static let expired = Kind(rawValue: 1 << 8)
        package static let evicted = Kind(rawValue: 1 << 9)
        package static let stream = Kind(rawValue: 1 << 10)
        package static let miss = Kind(rawValue: 1 << 11)
        package static let new = Kind(rawValue: 1 << 12)
        package static let module = Kind(rawValue: 1 << 13)

        /// What `A` stands for: everything but misses and new keys.
        package static let all: Kind = [
            .generic, .string, .list, .set, .hash, .sortedSet, .expired, .evicted, .stream, .module,
        ]
        private static let letters: [(Character, Kind)] = [
            ("g", .generic), ("$", .string), ("l", .list), ("s", .set), ("h", .hash), ("z", .sortedSet),
            ("x", .expired), ("e", .evicted), ("t", .stream), ("d", .module),
        ]
        private static let others: [(Character, Kind)] = [
            ("K", .keyspace), ("E", .keyevent), ("m", .miss), ("n", .new),
        ]

        /// Nil when a letter is not one of Redis's.
        package init?(text: String) {
            var kind: Kind = []
            for letter in text {
                if letter == "A" {
                    kind.formUnion(.all)
                } else if let row = (Kind.letters + Kind.others).first(where: { $0.0 == letter }) {
                    kind.insert(row.1)
                } else {
                    return nil
                }
            }
            self = kind
        }

        /// The canonical spelling, as `CONFIG GET` shows it.
        package var text: String {
            var text = ""
            if isSuperset(of: .all) {
                text = "A"
            } else {
                for (letter, kind) in Kind.letters where contains(kind) { text.append(letter) }
            }
            for (letter, kind) in Kind.others where contains(kind) { text.append(letter) }
            return text
        }
    }
}
