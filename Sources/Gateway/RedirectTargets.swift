/// Where clients are sent that this node has no room for: other nodes with room, as far as is known here. The node
/// keeps it up to date; empty while nothing is known.
package struct RedirectTargets: Equatable, Sendable {
    package struct Target: Equatable, Sendable {
        package var name: String
        /// `ws://host:port`, as clients reach it.
        package var url: String
        /// Thousandths of its connections that are free. Who says it takes its own limits into account: 0 is a node
        /// that wants nobody.
        package var free: UInt16

        package init(name: String, url: String, free: UInt16) {
            self.name = name
            self.url = url
            self.free = min(free, 1000)
        }
    }

    private let targets: [Target]
    private let total: UInt64

    /// Nodes without room are left out.
    package init(_ targets: [Target] = []) {
        self.targets = targets.filter { $0.free > 0 }
        total = self.targets.reduce(0) { $0 + UInt64($1.free) }
    }

    package var isEmpty: Bool { targets.isEmpty }

    /// Two candidates by chance, each node as likely as it has room, and of them the one with more: loads are known
    /// late, and if everybody chose the emptiest node it would be the next to be overrun (Mitzenmacher, The Power of
    /// Two Choices in Randomized Load Balancing, 2001). Nil when nobody has room.
    package func choose(_ first: UInt64, _ second: UInt64) -> Target? {
        guard let one = candidate(first), let other = candidate(second) else { return nil }
        return other.free > one.free ? other : one
    }

    private func candidate(_ chance: UInt64) -> Target? {
        var place = chance.multipliedFullWidth(by: total).high
        for target in targets {
            if place < UInt64(target.free) { return target }
            place -= UInt64(target.free)
        }
        return nil
    }
}
