/// The header fields of one message head. Names compare without regard to ASCII case; values are raw bytes without
/// surrounding whitespace and may hold bytes above 0x7F, never control characters other than tab.
package struct HTTPFields: Sendable {
    private struct Field {
        var name: Range<Int>
        var value: Range<Int>
    }

    private let storage: [UInt8]
    private var fields: [Field] = []

    /// Parses the lines of `storage` from `position` on, up to the empty line that ends it. `storage` was checked by
    /// `HTTPHeadScanner`: every line ends with CR LF.
    init(storage: [UInt8], from position: Int, limit: Int) throws(HTTPError) {
        self.storage = storage
        fields.reserveCapacity(16)
        var start = position
        while true {
            var end = start
            while storage[end] != Octet.carriageReturn { end += 1 }
            if end == start { return }
            guard fields.count < limit else { throw .tooManyHeaders(limit: limit) }
            fields.append(try HTTPFields.parseLine(storage, start..<end))
            start = end + 2
        }
    }

    private static func parseLine(_ storage: [UInt8], _ line: Range<Int>) throws(HTTPError) -> Field {
        if Octet.isBlank(storage[line.lowerBound]) { throw .obsoleteFolding }
        var colon = line.lowerBound
        while colon < line.upperBound, Octet.isToken(storage[colon]) { colon += 1 }
        // Whitespace before the colon ends here too: RFC 9112, 5.1 wants it refused.
        guard colon < line.upperBound, storage[colon] == UInt8(ascii: ":"), colon > line.lowerBound else {
            throw .malformedHeader
        }
        var value = (colon + 1)..<line.upperBound
        while let first = value.first, Octet.isBlank(storage[first]) { value = value.dropFirst() }
        while let last = value.last, Octet.isBlank(storage[last]) { value = value.dropLast() }
        return Field(name: line.lowerBound..<colon, value: value)
    }

    package var count: Int { fields.count }

    /// The name and value of the field at `index`, in the order of the head.
    package subscript(index: Int) -> (name: ArraySlice<UInt8>, value: ArraySlice<UInt8>) {
        (storage[fields[index].name], storage[fields[index].value])
    }

    /// The first value of `name`.
    package func first(_ name: String) -> ArraySlice<UInt8>? {
        for field in fields where Octet.equalsIgnoringCase(storage[field.name], name) { return storage[field.value] }
        return nil
    }

    /// How often `name` occurs.
    package func count(of name: String) -> Int {
        fields.count { Octet.equalsIgnoringCase(storage[$0.name], name) }
    }

    /// The first value of `name` as text; nil when it is absent or not UTF-8.
    package func text(_ name: String) -> String? {
        first(name).flatMap { String(validating: $0, as: UTF8.self) }
    }

    /// The members of a comma-separated list that may be spread over several fields (RFC 9110, 5.6.1); empty members
    /// are skipped.
    package func list(_ name: String) -> [ArraySlice<UInt8>] {
        var members: [ArraySlice<UInt8>] = []
        for field in fields where Octet.equalsIgnoringCase(storage[field.name], name) {
            for part in storage[field.value].split(separator: UInt8(ascii: ",")) {
                let member = Octet.trimmed(part)
                if !member.isEmpty { members.append(member) }
            }
        }
        return members
    }

    /// True when the list `name` has `token`, without regard to ASCII case.
    package func hasToken(_ token: String, in name: String) -> Bool {
        list(name).contains { Octet.equalsIgnoringCase($0, token) }
    }
}
