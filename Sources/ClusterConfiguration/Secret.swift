/// Text that is never shown: its description says only whether it is set.
package struct Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The text itself, for the code that signs or compares.
    package let text: String

    package init(_ text: String) { self.text = text }

    package var isEmpty: Bool { text.isEmpty }
    package var description: String { text.isEmpty ? "not configured" : "configured" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}
