/// Reads the members of protocol objects in one pass. JSON errors are thrown; a member of the wrong type is stepped
/// over and remembered in `isBad`, so that the command can be answered with 107 instead of ending the connection.
struct FieldReader {
    var scanner: JSONScanner
    let frame: ArraySlice<UInt8>
    /// Some member had the wrong type or was out of bounds.
    var isBad = false

    init(_ raw: UnsafeRawBufferPointer, frame: ArraySlice<UInt8>, from position: Int, depthLimit: Int) {
        self.scanner = JSONScanner(raw, from: position, depthLimit: depthLimit)
        self.frame = frame
    }

    /// Steps through the object that comes next; `body` must read exactly one value. Anything else than an object is
    /// stepped over: false, and bad unless it is null.
    @discardableResult
    mutating func object(
        _ body: (inout FieldReader, MemberName) throws(JSONError) -> Void
    ) throws(JSONError) -> Bool {
        guard try scanner.peek() == UInt8(ascii: "{") else {
            if try scanner.value().kind != .null { isBad = true }
            return false
        }
        try scanner.enterObject()
        let start = scanner
        var seen: UInt64 = 0
        var count = 0
        while let token = try scanner.nextMember() {
            let name = MemberName(token, scanner)
            count += 1
            guard count <= JSONScanner.memberLimit else {
                throw JSONError(.tooManyMembers, at: token.range.lowerBound)
            }
            // A one-word filter of the names seen so far; only a hit makes it worth looking back.
            let bit: UInt64 = 1 << (name.hash & 63)
            if seen & bit != 0 { try FieldReader.expectNew(name, at: token.range.lowerBound, from: start) }
            seen |= bit
            try body(&self, name)
        }
        return true
    }

    private static func expectNew(_ name: MemberName, at end: Int, from start: JSONScanner) throws(JSONError) {
        var earlier = start
        while let token = try earlier.nextMember(), token.range.lowerBound < end {
            if MemberName(token, earlier) == name { throw JSONError(.duplicateMember, at: end) }
            _ = try earlier.value()
        }
    }

    func slice(_ range: Range<Int>) -> ArraySlice<UInt8> {
        frame[(frame.startIndex + range.lowerBound)..<(frame.startIndex + range.upperBound)]
    }

    func content(_ value: JSONValue) -> ArraySlice<UInt8> {
        value.isEscaped ? scanner.text(value)[...] : slice(value.content)
    }

    mutating func skip() throws(JSONError) { _ = try scanner.value() }

    /// A string of `limit` bytes at most; empty for null.
    mutating func text(limit: Int = .max) throws(JSONError) -> ArraySlice<UInt8> {
        let value = try scanner.value()
        guard value.kind == .string else {
            if value.kind != .null { isBad = true }
            return []
        }
        let text = content(value)
        if text.count > limit { isBad = true }
        return text
    }

    /// A room's name: 1 to `limit` bytes without control characters, which would otherwise reach logs and other
    /// protocols' lines (SE-07).
    mutating func channel(limit: Int) throws(JSONError) -> ArraySlice<UInt8> {
        let name = try text(limit: limit)
        if !FieldReader.isChannel(name, limit: limit) { isBad = true }
        return name
    }

    /// A member's name as text, for objects whose names are data.
    func text(_ name: MemberName) -> ArraySlice<UInt8> { content(name.token) }

    static func isChannel(_ name: ArraySlice<UInt8>, limit: Int) -> Bool {
        !name.isEmpty && name.count <= limit && name.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
    }

    /// A non-negative integer up to `limit`; 0 for null.
    mutating func number(limit: UInt64 = .max) throws(JSONError) -> UInt64 {
        let value = try scanner.value()
        if value.kind == .null { return 0 }
        guard let number = scanner.unsigned(value), number <= limit else {
            isBad = true
            return 0
        }
        return number
    }

    /// An integer; nil for null.
    mutating func signed() throws(JSONError) -> Int64? {
        let value = try scanner.value()
        if value.kind == .null { return nil }
        let number = scanner.signed(value)
        if number == nil { isBad = true }
        return number
    }

    /// False for null.
    mutating func boolean() throws(JSONError) -> Bool {
        let value = try scanner.value()
        if value.kind == .null { return false }
        guard let boolean = scanner.boolean(value) else {
            isBad = true
            return false
        }
        return boolean
    }

    /// Any value, as it stands in the frame.
    mutating func raw() throws(JSONError) -> ArraySlice<UInt8> { slice(try scanner.value().range) }

    /// The epoch of a position.
    mutating func epoch() throws(JSONError) -> EpochField {
        let text = try text()
        if text.isEmpty { return .none }
        return EpochText.parse(text).map(EpochField.epoch) ?? .foreign
    }

    /// True when the value that comes next asks for nothing: null, false, 0, an empty string or object. For members
    /// that we must refuse when they are used, but that SDKs may send empty.
    mutating func isUnused() throws(JSONError) -> Bool {
        let value = try scanner.value()
        switch value.kind {
        case .null: return true
        case .boolean: return scanner.boolean(value) == false
        case .number: return scanner.unsigned(value) == 0
        case .string: return value.content.isEmpty
        case .object, .array: return value.range.count == 2
        }
    }
}
