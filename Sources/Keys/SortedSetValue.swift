/// A sorted set.
package struct SortedSetValue: ContainerValue {
    package init(seed: UInt64) {}
    package var isEmpty: Bool { true }
    package static func unwrap(_ value: Value) -> SortedSetValue? {
        if case .sortedSet(let held) = value { held } else { nil }
    }
    package var wrapped: Value { .sortedSet(self) }
}
