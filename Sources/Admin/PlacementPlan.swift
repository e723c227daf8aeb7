import Foundation

/// What a rebalancing moves: the answer to `POST /rebalance`.
package struct PlacementPlan: Codable, Sendable, Equatable {
    /// One partition's nodes, preferred owner first, as they are and as they will be.
    package struct Move: Codable, Sendable, Equatable {
        package var partition: Int
        package var from: [String]
        package var to: [String]

        package init(partition: Int, from: [String], to: [String]) {
            self.partition = partition
            self.from = from
            self.to = to
        }

        /// Nodes that must be sent a copy.
        package var added: [String] { to.filter { !from.contains($0) } }
    }

    package var moves: [Move]

    package init(moves: [Move]) { self.moves = moves }

    /// Copies that must be sent.
    package var copies: Int { moves.reduce(0) { $0 + $1.added.count } }
    /// Partitions whose preferred owner becomes another one.
    package var owners: Int { moves.count { $0.from.first != $0.to.first } }

    package func json() -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    package init(json: [UInt8]) throws { self = try JSONDecoder().decode(PlacementPlan.self, from: Data(json)) }
}
