import DequeModule
import Primitives

/// The window of AppendEntries that a follower has not answered: how many, and how many bytes of entries.
package struct Inflights: Sendable {
    private struct Message {
        var lastIndex: LogIndex
        var bytes: Int
    }

    private var messages: Deque<Message> = []
    package private(set) var bytes = 0
    private let maxCount: Int
    private let maxBytes: Int

    package init(maxCount: Int, maxBytes: Int) {
        self.maxCount = maxCount
        self.maxBytes = maxBytes
    }

    package var count: Int { messages.count }

    /// No further entries may be sent. One message may overshoot `maxBytes`, so that a large entry is never stuck.
    package var isFull: Bool { messages.count >= maxCount || bytes >= maxBytes }

    /// A message with entries up to `lastIndex` has been sent.
    package mutating func add(lastIndex: LogIndex, bytes: Int) {
        messages.append(Message(lastIndex: lastIndex, bytes: bytes))
        self.bytes += bytes
    }

    /// The follower has everything up to `index`.
    package mutating func free(through index: LogIndex) {
        while let first = messages.first, first.lastIndex <= index {
            messages.removeFirst()
            bytes -= first.bytes
        }
    }

    package mutating func removeAll() {
        messages.removeAll(keepingCapacity: true)
        bytes = 0
    }
}
