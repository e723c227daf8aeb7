import Cluster
import ClusterConfiguration
import Primitives
import SystemOpenSSL

extension MeshSettings {
    /// What `[mesh]` says. Throws when a file of it is missing, or does not fit the others.
    init(_ mesh: ClusterConfiguration.Mesh, keepalive: Interval, farewell: Interval) throws(NodeError) {
        self.init()
        maxQueue = mesh.queue
        maxBulkQueue = mesh.bulkQueue
        bulkAhead = mesh.bulkAhead
        // Thirty keepalives.
        maxSilence = max(.seconds(3), keepalive * 30)
        self.farewell = farewell
        guard mesh.isEncrypted else { return }
        do throws(OpenSSLError) {
            tls = try TLSContext(mutual: mesh.tlsAuthorities, certificate: mesh.tlsCertificate, key: mesh.tlsKey)
        } catch {
            switch error.file {
            case .authorities:
                throw .meshTLS(key: "tls_ca", path: mesh.tlsAuthorities, reason: error.description)
            case .key: throw .meshTLS(key: "tls_key", path: mesh.tlsKey, reason: error.description)
            case .certificate, nil:
                throw .meshTLS(key: "tls_certificate", path: mesh.tlsCertificate, reason: error.description)
            }
        }
    }
}
