import Foundation
import Locks

/// Asks the nodes for what they say of their load, from a thread of its own: a slow answer does not stop the load.
final class LoadWatch: Sendable {
    struct Event {
        /// When it was first seen here.
        var at: UInt64
        /// When it happened, by the node's clock.
        var time: UInt64
        var text: String
    }

    private struct Seen {
        var isOver = false
        var events: [Event] = []
    }

    private let seen = Lock(Seen())

    init(_ nodes: [ClusterFile.Node]) {
        Thread.detachNewThread { [self] in
            while !seen.withLock({ $0.isOver }) {
                for node in nodes { look(AdminPort.get("/status", node)?.body) }
                Clock.sleep(milliseconds: 250)
            }
        }
    }

    func stop() { seen.withLock { $0.isOver = true } }

    var events: [Event] { seen.withLock { $0.events } }

    /// When the first event that begins like this was seen.
    func first(_ beginning: String) -> UInt64? {
        seen.withLock { $0.events.first { $0.text.hasPrefix(beginning) }?.at }
    }

    private func look(_ status: Data?) {
        guard let status, let root = try? JSONSerialization.jsonObject(with: status) as? [String: Any] else { return }
        for event in root["events"] as? [[String: Any]] ?? [] where event["kind"] as? String == "load" {
            guard let text = event["text"] as? String, let time = event["time"] as? UInt64 else { continue }
            seen.withLock { seen in
                guard !seen.events.contains(where: { $0.text == text && $0.time == time }) else { return }
                seen.events.append(Event(at: Clock.now(), time: time, text: text))
            }
        }
    }
}
