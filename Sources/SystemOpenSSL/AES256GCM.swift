import COpenSSL

/// Why something was not sealed or opened.
package enum AES256GCMError: Error, Equatable, CustomStringConvertible {
    case keyLength(Int)
    case nonceLength(Int)
    /// More than `AES256GCM.maxBytes`.
    case tooLong(Int)
    /// Fewer bytes than nonce and tag.
    case truncated(Int)
    /// Another key, other associated data, or changed bytes: which of them, nobody can tell.
    case notAuthentic
    case openSSL(OpenSSLError)

    package var description: String {
        switch self {
        case .keyLength(let count): "a key of \(count) bytes; AES-256 takes \(AES256GCM.keyBytes)"
        case .nonceLength(let count): "a nonce of \(count) bytes; must be \(AES256GCM.nonceBytes)"
        case .tooLong(let count): "\(count) bytes; at most \(AES256GCM.maxBytes) are sealed at once"
        case .truncated(let count): "\(count) bytes; nonce and tag alone take \(AES256GCM.overhead)"
        case .notAuthentic: "not sealed with this key and these associated data, or changed since"
        case .openSSL(let error): error.description
        }
    }
}

/// Authenticated encryption by AES with 256-bit keys in Galois/Counter Mode (NIST SP 800-38D), by the system's OpenSSL.
///
/// What is sealed: nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes). Nonces are drawn at random: SP 800-38D 8.3 allows
/// 2^32 sealed messages for one key then. A nonce that comes twice would give the authentication key away.
package enum AES256GCM {
    package static let keyBytes = 32
    package static let nonceBytes = 12
    package static let tagBytes = 16
    package static let overhead = nonceBytes + tagBytes
    package static let maxBytes = 1 << 30

    /// Seals under a nonce that is drawn for it.
    package static func seal(
        _ plaintext: [UInt8],
        key: [UInt8],
        associatedData: [UInt8]
    ) throws(AES256GCMError) -> [UInt8] {
        let nonce: [UInt8]
        do throws(OpenSSLError) {
            nonce = try SecureRandom.bytes(count: nonceBytes)
        } catch {
            throw .openSSL(error)
        }
        return try seal(plaintext, key: key, nonce: nonce, associatedData: associatedData)
    }

    /// Seals under the given nonce, which must never come again with this key: for published test vectors.
    package static func seal(
        _ plaintext: [UInt8],
        key: [UInt8],
        nonce: [UInt8],
        associatedData: [UInt8]
    ) throws(AES256GCMError) -> [UInt8] {
        guard key.count == keyBytes else { throw .keyLength(key.count) }
        guard nonce.count == nonceBytes else { throw .nonceLength(nonce.count) }
        guard plaintext.count <= maxBytes else { throw .tooLong(plaintext.count) }
        guard associatedData.count <= maxBytes else { throw .tooLong(associatedData.count) }
        guard let context = EVP_CIPHER_CTX_new() else { throw .openSSL(OpenSSLError("EVP_CIPHER_CTX_new")) }
        // Wipes the key schedule, too.
        defer { EVP_CIPHER_CTX_free(context) }
        var sealed = nonce + [UInt8](repeating: 0, count: plaintext.count + tagBytes)
        guard EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nonce) == 1 else {
            throw .openSSL(OpenSSLError("EVP_EncryptInit_ex"))
        }
        var count: Int32 = 0
        // An output of null means associated data.
        guard EVP_EncryptUpdate(context, nil, &count, associatedData, Int32(associatedData.count)) == 1 else {
            throw .openSSL(OpenSSLError("EVP_EncryptUpdate of associated data"))
        }
        let function = sealed.withUnsafeMutableBufferPointer { out -> String? in
            guard let body = out.baseAddress.map({ $0 + nonceBytes }) else { return "no memory" }
            guard EVP_EncryptUpdate(context, body, &count, plaintext, Int32(plaintext.count)) == 1 else {
                return "EVP_EncryptUpdate"
            }
            // Writes nothing: a counter mode has no last block.
            guard EVP_EncryptFinal_ex(context, body + plaintext.count, &count) == 1 else {
                return "EVP_EncryptFinal_ex"
            }
            let tag = body + plaintext.count
            guard EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(tagBytes), tag) == 1 else {
                return "EVP_CTRL_AEAD_GET_TAG"
            }
            return nil
        }
        if let function { throw .openSSL(OpenSSLError(function)) }
        return sealed
    }

    /// What was sealed, if it was sealed with this key and these associated data; nothing of it otherwise.
    package static func open(
        _ sealed: UnsafeRawBufferPointer,
        key: [UInt8],
        associatedData: [UInt8]
    ) throws(AES256GCMError) -> [UInt8] {
        guard key.count == keyBytes else { throw .keyLength(key.count) }
        guard sealed.count >= overhead else { throw .truncated(sealed.count) }
        let length = sealed.count - overhead
        guard length <= maxBytes else { throw .tooLong(length) }
        guard associatedData.count <= maxBytes else { throw .tooLong(associatedData.count) }
        guard let context = EVP_CIPHER_CTX_new() else { throw .openSSL(OpenSSLError("EVP_CIPHER_CTX_new")) }
        defer { EVP_CIPHER_CTX_free(context) }
        guard let nonce = sealed.baseAddress?.assumingMemoryBound(to: UInt8.self) else { throw .truncated(0) }
        let body = nonce + nonceBytes
        guard EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), nil, key, nonce) == 1 else {
            throw .openSSL(OpenSSLError("EVP_DecryptInit_ex"))
        }
        var count: Int32 = 0
        guard EVP_DecryptUpdate(context, nil, &count, associatedData, Int32(associatedData.count)) == 1 else {
            throw .openSSL(OpenSSLError("EVP_DecryptUpdate of associated data"))
        }
        // One byte more, so that the array has an address even for an empty text.
        var plaintext = [UInt8](repeating: 0, count: length + 1)
        guard EVP_DecryptUpdate(context, &plaintext, &count, body, Int32(length)) == 1 else {
            throw .openSSL(OpenSSLError("EVP_DecryptUpdate"))
        }
        var tag = [UInt8](UnsafeBufferPointer(start: body + length, count: tagBytes))
        guard EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(tagBytes), &tag) == 1 else {
            throw .openSSL(OpenSSLError("EVP_CTRL_AEAD_SET_TAG"))
        }
        var rest: UInt8 = 0
        guard EVP_DecryptFinal_ex(context, &rest, &count) == 1 else {
            // OpenSSL puts nothing into its queue for it; what is there is older.
            ERR_clear_error()
            throw .notAuthentic
        }
        plaintext.removeLast()
        return plaintext
    }
}
