/// Keys from a secret: HKDF with SHA-256 (RFC 5869).
package enum HKDF {
    /// `count` bytes, 1...8160, for the purpose that `info` names. An empty salt stands for 32 zero bytes.
    package static func sha256(
        secret: [UInt8],
        salt: [UInt8] = [],
        info: [UInt8],
        count: Int
    ) throws(OpenSSLError) -> [UInt8] {
        precondition((1...255 * 32).contains(count), "count out of range")
        // HMAC pads its key with zeros, so that an empty salt needs no special case.
        let extracted = try Digest.hmacSHA256(key: salt, message: secret)
        var output: [UInt8] = []
        var block: [UInt8] = []
        var counter: UInt8 = 0
        while output.count < count {
            counter += 1
            block = try Digest.hmacSHA256(key: extracted, message: block + info + [counter])
            output += block
        }
        return Array(output.prefix(count))
    }
}
