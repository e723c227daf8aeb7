/// A list.
package struct ListValue: ContainerValue {
    package init(seed: UInt64) {}
    package var isEmpty: Bool { true }
    package static func unwrap(_ value: Value) -> ListValue? { if case .list(let held) = value { held } else { nil } }
    package var wrapped: Value { .list(self) }
}
