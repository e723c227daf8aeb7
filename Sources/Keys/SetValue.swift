/// A set.
package struct SetValue: ContainerValue {
    package init(seed: UInt64) {}
    package var isEmpty: Bool { true }
    package static func unwrap(_ value: Value) -> SetValue? { if case .set(let held) = value { held } else { nil } }
    package var wrapped: Value { .set(self) }
}
