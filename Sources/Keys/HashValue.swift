/// A hash.
package struct HashValue: ContainerValue {
    package init(seed: UInt64) {}
    package var isEmpty: Bool { true }
    package static func unwrap(_ value: Value) -> HashValue? { if case .hash(let held) = value { held } else { nil } }
    package var wrapped: Value { .hash(self) }
}
