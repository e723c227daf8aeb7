import COpenSSL

/// A refusal of the system's OpenSSL.
package struct OpenSSLError: Error, Equatable, CustomStringConvertible {
    /// The function that failed.
    package let function: String
    /// The first entry of the thread's error queue, e.g. `error:0308010C:digital envelope routines::unsupported`.
    package let reason: String
    /// The file of a `TLSContext` that it is about.
    package let file: File?

    package enum File: Sendable {
        case authorities, certificate, key
    }

    /// Takes the thread's error queue, which is empty afterwards.
    init(_ function: String, about file: File? = nil) {
        self.function = function
        self.file = file
        let code = ERR_get_error()
        if code == 0 {
            reason = "no reason given"
        } else {
            var text = [CChar](repeating: 0, count: 256)
            ERR_error_string_n(code, &text, text.count)
            reason = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        ERR_clear_error()
    }

    init(_ function: String, reason: String) {
        self.function = function
        self.reason = reason
        file = nil
    }

    package var description: String { "OpenSSL \(function): \(reason)" }
}
