/// A stream.
package struct StreamValue: ContainerValue {
    package init(seed: UInt64) {}
    package var isEmpty: Bool { true }
    package static func unwrap(_ value: Value) -> StreamValue? {
        if case .stream(let held) = value { held } else { nil }
    }
    package var wrapped: Value { .stream(self) }
}
