import COpenSSL

/// What TLS clients of one server have in common: whom they trust, and who they are. TLS 1.2 or newer; certificates are
/// always verified.
///
/// OpenSSL counts references to it and locks it by itself; nothing is changed after `init`.
package final class TLSContext: @unchecked Sendable {
    fileprivate let pointer: OpaquePointer

    /// Files in PEM. `authorities` may be empty: those of the system; `certificate` and `key`: none is shown.
    package init(authorities: String = "", certificate: String = "", key: String = "") throws(OpenSSLError) {
        guard let context = SSL_CTX_new(TLS_client_method()) else { throw OpenSSLError("SSL_CTX_new") }
        pointer = context
        guard vencejo_tls_require_1_2(context) == 1 else { throw OpenSSLError("SSL_CTX_set_min_proto_version") }
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        if authorities.isEmpty {
            guard SSL_CTX_set_default_verify_paths(context) == 1 else {
                throw OpenSSLError("SSL_CTX_set_default_verify_paths")
            }
        } else if SSL_CTX_load_verify_locations(context, authorities, nil) != 1 {
            throw OpenSSLError("cannot read certificates from \(authorities)")
        }
        guard !certificate.isEmpty else { return }
        guard SSL_CTX_use_certificate_chain_file(context, certificate) == 1 else {
            throw OpenSSLError("cannot read a certificate from \(certificate)")
        }
        guard SSL_CTX_use_PrivateKey_file(context, key, X509_FILETYPE_PEM) == 1 else {
            throw OpenSSLError("cannot read the key of \(certificate) from \(key)")
        }
    }

    deinit { SSL_CTX_free(pointer) }
}

/// The client's end of one TLS connection, without a socket: bytes of the network go in and come out. Confined to
/// whoever owns it.
package final class TLSClient {
    private let session: OpaquePointer
    private let input: OpaquePointer
    private let output: OpaquePointer
    private var isConnected = false
    /// What was to be sent before the handshake was done.
    private var waiting: [UInt8] = []

    /// `host` is the name or address that the server's certificate must be for.
    package init(_ context: TLSContext, host: String) throws(OpenSSLError) {
        guard let session = SSL_new(context.pointer) else { throw OpenSSLError("SSL_new") }
        guard let input = BIO_new(BIO_s_mem()), let output = BIO_new(BIO_s_mem()) else {
            SSL_free(session)
            throw OpenSSLError("BIO_new")
        }
        // The session owns both from here on.
        SSL_set_bio(session, input, output)
        (self.session, self.input, self.output) = (session, input, output)
        SSL_set_connect_state(session)
        if X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host) != 1 {
            ERR_clear_error()
            guard SSL_set1_host(session, host) == 1, vencejo_tls_set_server_name(session, host) == 1 else {
                throw OpenSSLError("SSL_set1_host")
            }
        }
    }

    deinit { SSL_free(session) }

    /// Begins the handshake; `takeOutput` has its first message.
    package func start() throws(OpenSSLError) { try shakeHands() }

    /// Bytes of the network; what they say is appended to `plain`.
    package func receive(_ bytes: UnsafeRawBufferPointer, into plain: inout [UInt8]) throws(OpenSSLError) {
        var taken = 0
        while taken < bytes.count {
            let count = BIO_write(input, bytes.baseAddress! + taken, Int32(min(bytes.count - taken, 1 << 20)))
            guard count > 0 else { throw OpenSSLError("BIO_write") }
            taken += Int(count)
        }
        if !isConnected { try shakeHands() }
        guard isConnected else { return }
        var chunk = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            ERR_clear_error()
            let count = SSL_read(session, &chunk, Int32(chunk.count))
            guard count > 0 else { return try check(count, "SSL_read") }
            plain += chunk[..<Int(count)]
        }
    }

    /// Encrypts; `takeOutput` has what goes to the network.
    package func send(_ plain: [UInt8]) throws(OpenSSLError) {
        guard isConnected else {
            waiting += plain
            return
        }
        guard !plain.isEmpty else { return }
        // A BIO in memory takes everything.
        ERR_clear_error()
        let count = SSL_write(session, plain, Int32(clamping: plain.count))
        guard count == plain.count else { return try check(count, "SSL_write") }
    }

    /// What is to be written to the network.
    package func takeOutput() -> [UInt8] {
        let pending = BIO_ctrl_pending(output)
        guard pending > 0 else { return [] }
        var bytes = [UInt8](repeating: 0, count: pending)
        let count = BIO_read(output, &bytes, Int32(clamping: pending))
        return Array(bytes.prefix(Int(max(0, count))))
    }

    private func shakeHands() throws(OpenSSLError) {
        ERR_clear_error()
        let result = SSL_do_handshake(session)
        guard result == 1 else { return try check(result, "handshake") }
        isConnected = true
        let early = waiting
        waiting = []
        try send(early)
    }

    /// Nothing for now, or an error.
    private func check(_ result: Int32, _ function: String) throws(OpenSSLError) {
        switch SSL_get_error(session, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN: return
        default:
            let verdict = SSL_get_verify_result(session)
            guard verdict != X509_V_OK, let text = X509_verify_cert_error_string(verdict) else {
                throw OpenSSLError(function)
            }
            ERR_clear_error()
            throw OpenSSLError("certificate of the server", reason: String(cString: text))
        }
    }
}
