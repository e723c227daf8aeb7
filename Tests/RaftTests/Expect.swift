import Testing

/// `#expect` for a condition that mutates what it asks, which the macro cannot capture.
func expect(_ condition: Bool, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(condition, sourceLocation: sourceLocation)
}
