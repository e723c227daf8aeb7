/// A member's name, comparable with literals: `switch name { case "channel": … }`.
struct MemberName: Equatable {
    let token: JSONValue
    private let bytes: UnsafeRawBufferPointer
    private let unescaped: [UInt8]?

    init(_ token: JSONValue, _ scanner: JSONScanner) {
        self.token = token
        bytes = UnsafeRawBufferPointer(rebasing: scanner.base[token.content])
        unescaped = token.isEscaped ? scanner.text(token) : nil
    }

    private func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        unescaped.map { $0.withUnsafeBytes(body) } ?? body(bytes)
    }

    var hash: Int {
        withBytes { raw in
            guard let first = raw.first, let last = raw.last else { return 0 }
            return raw.count &+ Int(first) &* 7 &+ Int(last) &* 31
        }
    }

    static func == (a: MemberName, b: MemberName) -> Bool {
        a.withBytes { left in b.withBytes { right in left.elementsEqual(right) } }
    }

    @inline(__always)
    static func ~= (literal: StaticString, name: MemberName) -> Bool {
        guard name.unescaped == nil else {
            return name.withBytes {
                $0.elementsEqual(UnsafeRawBufferPointer(start: literal.utf8Start, count: literal.utf8CodeUnitCount))
            }
        }
        guard name.bytes.count == literal.utf8CodeUnitCount else { return false }
        for index in 0..<name.bytes.count where name.bytes[index] != literal.utf8Start[index] { return false }
        return true
    }
}
