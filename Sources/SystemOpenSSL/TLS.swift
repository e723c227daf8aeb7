import COpenSSL

/// What the TLS connections of one kind have in common: whom they trust, and who they are. TLS 1.2 or newer;
/// certificates are always verified.
///
/// OpenSSL counts references to it and locks it by itself; nothing is changed after `init`.
package final class TLSContext: @unchecked Sendable {
    fileprivate let pointer: OpaquePointer

    /// For clients. Files in PEM; `authorities` may be empty: those of the system; `certificate` and `key`: none is
    /// shown.
    package init(authorities: String = "", certificate: String = "", key: String = "") throws(OpenSSLError) {
        guard let context = SSL_CTX_new(TLS_client_method()) else { throw OpenSSLError("SSL_CTX_new") }
        pointer = context
        guard vencejo_tls_require_1_2(context) == 1 else { throw OpenSSLError("SSL_CTX_set_min_proto_version") }
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        if authorities.isEmpty {
            guard SSL_CTX_set_default_verify_paths(context) == 1 else {
                throw OpenSSLError("SSL_CTX_set_default_verify_paths")
            }
        } else {
            try trust(authorities)
        }
        if !certificate.isEmpty { try show(certificate, key) }
    }

    /// For both ends of a connection, each of which shows a certificate of the same authorities; TLS 1.3, where the
    /// binding is one to this very connection (RFC 9266 3). Files in PEM.
    package init(mutual authorities: String, certificate: String, key: String) throws(OpenSSLError) {
        guard let context = SSL_CTX_new(TLS_method()) else { throw OpenSSLError("SSL_CTX_new") }
        pointer = context
        guard vencejo_tls_require_1_3(context) == 1 else { throw OpenSSLError("SSL_CTX_set_min_proto_version") }
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        // Every connection proves anew who it is.
        SSL_CTX_set_num_tickets(context, 0)
        vencejo_tls_never_resume(context)
        try trust(authorities)
        try show(certificate, key)
    }

    private func trust(_ authorities: String) throws(OpenSSLError) {
        guard SSL_CTX_load_verify_locations(pointer, authorities, nil) == 1 else {
            throw OpenSSLError("cannot read certificates from \(authorities)", about: .authorities)
        }
    }

    private func show(_ certificate: String, _ key: String) throws(OpenSSLError) {
        // Nobody is there to be asked for the pass phrase of an encrypted key.
        SSL_CTX_set_default_passwd_cb(pointer) { _, _, _, _ in 0 }
        guard SSL_CTX_use_certificate_chain_file(pointer, certificate) == 1 else {
            throw OpenSSLError("cannot read a certificate from \(certificate)", about: .certificate)
        }
        guard SSL_CTX_use_PrivateKey_file(pointer, key, X509_FILETYPE_PEM) == 1 else {
            throw OpenSSLError("cannot read the key of \(certificate) from \(key)", about: .key)
        }
    }

    deinit { SSL_CTX_free(pointer) }
}

/// One end of one TLS connection, without a socket: bytes of the network go in and come out. Confined to whoever owns
/// it.
package final class TLSSession {
    private let session: OpaquePointer
    private let input: OpaquePointer
    private let output: OpaquePointer
    /// The handshake is done, as far as this end knows: a client of TLS 1.3 hears of its own refusal later.
    package private(set) var isConnected = false
    /// What was to be sent before the handshake was done.
    private var waiting: [UInt8] = []

    /// A client of any holder of a certificate that the context trusts.
    package convenience init(connecting context: TLSContext) throws(OpenSSLError) {
        try self.init(context)
        SSL_set_connect_state(session)
    }

    /// A client of `host`, the name or address that the server's certificate must be for.
    package convenience init(connecting context: TLSContext, to host: String) throws(OpenSSLError) {
        try self.init(connecting: context)
        if X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host) != 1 {
            ERR_clear_error()
            guard SSL_set1_host(session, host) == 1, vencejo_tls_set_server_name(session, host) == 1 else {
                throw OpenSSLError("SSL_set1_host")
            }
        }
    }

    /// A server.
    package convenience init(accepting context: TLSContext) throws(OpenSSLError) {
        try self.init(context)
        SSL_set_accept_state(session)
    }

    private init(_ context: TLSContext) throws(OpenSSLError) {
        guard let session = SSL_new(context.pointer) else { throw OpenSSLError("SSL_new") }
        guard let input = BIO_new(BIO_s_mem()), let output = BIO_new(BIO_s_mem()) else {
            SSL_free(session)
            throw OpenSSLError("BIO_new")
        }
        // The session owns both from here on.
        SSL_set_bio(session, input, output)
        (self.session, self.input, self.output) = (session, input, output)
    }

    deinit { SSL_free(session) }

    /// The version that was agreed, e.g. `TLSv1.3`.
    package var version: String { String(cString: SSL_get_version(session)) }

    /// Bytes that only the two ends of this connection know (RFC 9266's tls-exporter); a proof over them cannot be
    /// passed on over another connection.
    package func binding() throws(OpenSSLError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 32)
        let label = "EXPORTER-Channel-Binding"
        let result = SSL_export_keying_material(session, &bytes, bytes.count, label, label.utf8.count, nil, 0, 0)
        guard result == 1 else { throw OpenSSLError("SSL_export_keying_material") }
        return bytes
    }

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
            throw OpenSSLError("certificate of the peer", reason: String(cString: text))
        }
    }
}
