/// Writes the members of one object and the commas between them.
struct JSONObjectWriter {
    private var isFirst = true

    /// Opens the object.
    init(_ out: inout [UInt8]) { out.append(UInt8(ascii: "{")) }

    /// Writes the name (plain ASCII without quotes) and the colon; the value follows.
    @inline(__always)
    mutating func name(_ name: StaticString, _ out: inout [UInt8]) {
        separate(&out)
        out.append(UInt8(ascii: "\""))
        JSONWriter.append(literal: name, to: &out)
        out.append(UInt8(ascii: "\""))
        out.append(UInt8(ascii: ":"))
    }

    mutating func name(text: ArraySlice<UInt8>, _ out: inout [UInt8]) {
        separate(&out)
        JSONWriter.append(text: text, to: &out)
        out.append(UInt8(ascii: ":"))
    }

    @inline(__always)
    private mutating func separate(_ out: inout [UInt8]) {
        if !isFirst { out.append(UInt8(ascii: ",")) }
        isFirst = false
    }

    mutating func number(_ name: StaticString, _ value: UInt64, _ out: inout [UInt8]) {
        self.name(name, &out)
        JSONWriter.append(number: value, to: &out)
    }

    mutating func text(_ name: StaticString, _ value: ArraySlice<UInt8>, _ out: inout [UInt8]) {
        self.name(name, &out)
        JSONWriter.append(text: value, to: &out)
    }

    mutating func text(_ name: StaticString, _ value: String, _ out: inout [UInt8]) {
        self.name(name, &out)
        JSONWriter.append(text: value, to: &out)
    }

    mutating func value(_ name: StaticString, _ value: ArraySlice<UInt8>, _ out: inout [UInt8]) {
        self.name(name, &out)
        JSONWriter.append(value: value, to: &out)
    }

    mutating func boolean(_ name: StaticString, _ value: Bool, _ out: inout [UInt8]) {
        self.name(name, &out)
        JSONWriter.append(literal: value ? "true" : "false", to: &out)
    }

    mutating func epoch(_ name: StaticString, _ value: UInt64, _ out: inout [UInt8]) {
        self.name(name, &out)
        out.append(UInt8(ascii: "\""))
        EpochText.append(value, to: &out)
        out.append(UInt8(ascii: "\""))
    }

    func end(_ out: inout [UInt8]) { out.append(UInt8(ascii: "}")) }
}
