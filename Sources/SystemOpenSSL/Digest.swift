import COpenSSL

/// One-shot digests by the system's OpenSSL. They fail only when memory or policy refuses the algorithm.
package enum Digest {
    /// 20 bytes. Only for RFC 6455's `Sec-WebSocket-Accept`, where it is no security function.
    package static func sha1(_ message: [UInt8]) throws(OpenSSLError) -> [UInt8] {
        try digest(message, EVP_sha1(), count: 20)
    }

    /// 32 bytes (FIPS 180-4).
    package static func sha256(_ message: [UInt8]) throws(OpenSSLError) -> [UInt8] {
        try digest(message, EVP_sha256(), count: 32)
    }

    /// 32 bytes (RFC 2104). Any key length, empty included.
    package static func hmacSHA256(key: [UInt8], message: [UInt8]) throws(OpenSSLError) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: 32)
        var written: UInt32 = 0
        let result = key.withUnsafeBytes { keyBytes in
            message.withUnsafeBytes { messageBytes in
                // A null key means "as before" to HMAC, so an empty key needs an address.
                withUnsafePointer(to: UInt8(0)) { anything in
                    HMAC(
                        EVP_sha256(),
                        keyBytes.baseAddress ?? UnsafeRawPointer(anything),
                        Int32(keyBytes.count),
                        messageBytes.baseAddress?.assumingMemoryBound(to: UInt8.self) ?? anything,
                        messageBytes.count,
                        &code,
                        &written
                    )
                }
            }
        }
        guard result != nil, written == 32 else { throw OpenSSLError("HMAC") }
        return code
    }

    /// Whether two byte strings are equal, in a time that depends on their lengths only.
    package static func constantTimeEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        guard a.count == b.count else { return false }
        return CRYPTO_memcmp(a, b, a.count) == 0
    }

    private static func digest(
        _ message: [UInt8],
        _ algorithm: OpaquePointer?,
        count: Int
    ) throws(OpenSSLError) -> [UInt8] {
        var code = [UInt8](repeating: 0, count: count)
        var written: UInt32 = 0
        guard EVP_Digest(message, message.count, &code, &written, algorithm, nil) == 1, written == count else {
            throw OpenSSLError("EVP_Digest")
        }
        return code
    }
}

/// Bytes that nobody can guess, from the system's OpenSSL.
package enum SecureRandom {
    /// `count` bytes, 0...1 MiB.
    package static func bytes(count: Int) throws(OpenSSLError) -> [UInt8] {
        precondition((0...1 << 20).contains(count), "count out of range")
        var bytes = [UInt8](repeating: 0, count: count)
        guard RAND_bytes(&bytes, Int32(count)) == 1 else { throw OpenSSLError("RAND_bytes") }
        return bytes
    }
}
