import Primitives

/// What clients asked of one key, and whether some order of it explains every answer: linearizability.
///
/// The search is Wing and Gong's with Lowe's memory of states that led nowhere ("Testing for linearizability", 2017).
/// Histories here are short and few clients share a key, which keeps it small.
package struct KeyHistory {
    package enum Action: Equatable {
        case set(UInt64)
        case increment
        case get
    }

    package struct Operation {
        package var client: UInt32
        package var action: Action
        package var invoked: Instant
        /// `.distantFuture` when nobody knows whether it was done.
        package var returned: Instant
        /// What it answered: the new value of an increment, what a get saw (0 when nothing).
        package var result: UInt64?

        package init(client: UInt32, action: Action, invoked: Instant, returned: Instant, result: UInt64?) {
            self.client = client
            self.action = action
            self.invoked = invoked
            self.returned = returned
            self.result = result
        }

        var isUnknown: Bool { returned == .distantFuture }
    }

    package var key: String
    package var operations: [Operation] = []

    package init(key: String, operations: [Operation] = []) {
        self.key = key
        self.operations = operations
    }

    /// Nil when the history is explained; else what is wrong.
    package func violation() -> String? {
        // Reads that nobody saw the answer of say nothing.
        let all = operations.filter { !($0.isUnknown && $0.action == .get) }.sorted { $0.invoked < $1.invoked }
        var done = [Bool](repeating: false, count: all.count)
        var seen: Set<[UInt64]> = []
        var deepest = 0
        var steps = 0

        func search(_ value: UInt64, _ count: Int) -> Bool {
            steps += 1
            deepest = max(deepest, count)
            if all.indices.allSatisfy({ done[$0] || all[$0].isUnknown }) { return true }
            var bits = [value]
            var word: UInt64 = 0
            for index in all.indices {
                if done[index] { word |= 1 << UInt64(index & 63) }
                if index & 63 == 63 {
                    bits.append(word)
                    word = 0
                }
            }
            bits.append(word)
            guard seen.insert(bits).inserted, steps < 2_000_000 else { return false }
            // Whatever comes next began before everything that is left had returned.
            var horizon = Instant.distantFuture
            for index in all.indices where !done[index] { horizon = min(horizon, all[index].returned) }
            for index in all.indices where !done[index] {
                let operation = all[index]
                if operation.invoked > horizon { break }
                var next = value
                switch operation.action {
                case .set(let written): next = written
                case .increment:
                    next = value + 1
                    if let result = operation.result, result != next { continue }
                case .get: if operation.result != value { continue }
                }
                done[index] = true
                if search(next, count + 1) { return true }
                done[index] = false
            }
            return false
        }
        if search(0, 0) { return nil }
        if steps >= 2_000_000 { return nil }
        let lines = all.map { operation in
            let end = operation.isUnknown ? "?" : "\(operation.returned.nanoseconds / 1000)"
            let start = operation.invoked.nanoseconds / 1000
            return "  client \(operation.client) \(operation.action) \(start)...\(end) us = "
                + (operation.result.map(String.init) ?? "?")
        }
        return "\(key) is not linearizable, \(deepest) of \(all.count) explained:\n" + lines.joined(separator: "\n")
    }
}
