/// Where a Redis server is, and as whom to come: `redis://[[user]:password@]host[:port][/database]`.
/// Source: the provisional URI schemes `redis` and `rediss` at IANA, as redis-py's `from_url` reads them.
package struct RedisURL: Equatable, Sendable {
    package var host = "localhost"
    package var port = 6379
    /// Empty: the server's default user.
    package var user = ""
    /// Empty: no AUTH is sent.
    package var password = ""
    package var database = 0
    /// `rediss`
    package var isTLS = false

    package init() {}

    /// What is wrong with a text that is no such URL. It never repeats the text, which may hold a password.
    package struct Malformed: Error, Equatable, Sendable {
        package let reason: String
    }

    package init(_ text: String) throws(Malformed) {
        let rest: Substring
        if text.hasPrefix("redis://") {
            rest = text.dropFirst(8)
        } else if text.hasPrefix("rediss://") {
            rest = text.dropFirst(9)
            isTLS = true
        } else {
            throw Malformed(reason: "must begin with redis:// or rediss://")
        }
        guard !rest.contains("?"), !rest.contains("#") else {
            throw Malformed(reason: "must not have a query or a fragment")
        }
        let parts = rest.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        var authority = parts[0]
        if let at = authority.lastIndex(of: "@") {
            let credentials = authority[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            authority = authority[authority.index(after: at)...]
            user = try RedisURL.decode(credentials[0])
            if credentials.count > 1 { password = try RedisURL.decode(credentials[1]) }
            guard !password.isEmpty else { throw Malformed(reason: "names a user without a password") }
        }
        try readAddress(authority)
        if parts.count > 1, !parts[1].isEmpty {
            guard let number = Int(parts[1]), (0...65535).contains(number), parts[1].allSatisfy(\.isNumber) else {
                throw Malformed(reason: "has a database that is no number")
            }
            database = number
        }
    }

    /// `host`, `host:port` or `[v6]:port`.
    private mutating func readAddress(_ text: Substring) throws(Malformed) {
        var name = text
        var number: Substring?
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { throw Malformed(reason: "has an unclosed bracket") }
            name = text[text.index(after: text.startIndex)..<close]
            let rest = text[text.index(after: close)...]
            if !rest.isEmpty {
                guard rest.hasPrefix(":") else { throw Malformed(reason: "has no port after its address") }
                number = rest.dropFirst()
            }
        } else if let colon = text.lastIndex(of: ":") {
            name = text[..<colon]
            number = text[text.index(after: colon)...]
        }
        if !name.isEmpty { host = String(name) }
        guard !host.contains(where: { $0 == ":" && !text.hasPrefix("[") }) else {
            throw Malformed(reason: "has more than one port")
        }
        if let number {
            guard let value = Int(number), (1...65535).contains(value) else {
                throw Malformed(reason: "has a port that is not 1...65535")
            }
            port = value
        }
    }

    /// Percent-encoding (RFC 3986, section 2.1).
    private static func decode(_ text: Substring) throws(Malformed) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst().flatMap(nibble), let low = rest.popFirst().flatMap(nibble) else {
                throw Malformed(reason: "has a % that begins no escape")
            }
            bytes.append(high << 4 | low)
        }
        guard let decoded = String(validating: bytes, as: UTF8.self) else {
            throw Malformed(reason: "has credentials that are not UTF-8")
        }
        return decoded
    }

    private static func nibble(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - 48
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - 87
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - 55
        default: nil
        }
    }
}
