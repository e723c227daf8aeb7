import ClusterConfiguration
import Testing

@Suite struct MeshSectionTests {
    private func load(_ mesh: String) throws -> ClusterConfiguration {
        try ClusterConfiguration.load(
            text: """
                [cluster]
                replication_factor = 1
                [mesh]
                \(mesh)
                [[node]]
                id = "a"
                data_dir = "d"
                """,
            path: "c.toml",
            environment: ["VENCEJO_MESH_TLS_KEY": "k.pem"]
        )
    }

    private func problems(_ mesh: String) -> [String] {
        do {
            _ = try load(mesh)
            return []
        } catch let error as ConfigurationError {
            return error.problems.map(\.description)
        } catch {
            return ["\(error)"]
        }
    }

    @Test("CL-19 CL-18 each key of [mesh] is read, from the environment too")
    func everyKey() throws {
        let mesh = try load(
            """
            queue = "48MiB"
            bulk_queue = "33MiB"
            bulk_ahead = "128KiB"
            tls_ca = "ca.pem"
            tls_certificate = "c.pem"
            """
        ).mesh
        #expect(mesh.queue == 48 << 20 && mesh.bulkQueue == 33 << 20 && mesh.bulkAhead == 128 << 10)
        #expect(mesh.tlsAuthorities == "ca.pem" && mesh.tlsCertificate == "c.pem" && mesh.tlsKey == "k.pem")
        #expect(mesh.isEncrypted && !ClusterConfiguration.Mesh().isEncrypted)
    }

    @Test("CL-19 a key without its certificate, or without an authority, is refused, and each missing key is named")
    func incomplete() {
        let rest = "missing; TLS needs mesh.tls_ca, mesh.tls_certificate and mesh.tls_key"
        #expect(problems("") == ["c.toml: mesh.tls_ca: \(rest)", "c.toml: mesh.tls_certificate: \(rest)"])
        #expect(problems("tls_ca = \"ca.pem\"") == ["c.toml: mesh.tls_certificate: \(rest)"])
        #expect(problems("tls_certificate = \"c.pem\"") == ["c.toml: mesh.tls_ca: \(rest)"])
        #expect(problems("tls_ca = \"ca.pem\"\ntls_certificate = \"c.pem\"\nbulk_ahead = \"1KiB\"").count == 1)
    }
}
