import Admin
import Cluster
import ClusterConfiguration
import LogStorage
import Primitives

extension Gossip {
    /// What the admin port's `/gossip/keys` answers; `name` is the node's.
    func answer(_ request: GossipKeysRequest, node name: String) async -> GossipKeysAnswer {
        let change: KeyringChange
        do throws(KeyringError) {
            switch request {
            case .list: return .keys(GossipKeysReport(node: name, keyring: await keyring()))
            case .install(let key): change = .install(try GossipKey(hex: key))
            case .use(let text): change = .use(try fingerprint(text))
            case .remove(let text): change = .remove(try fingerprint(text))
            }
        } catch {
            return .refused(error.description)
        }
        do throws(GossipError) {
            return .keys(GossipKeysReport(node: name, keyring: try await self.change(change)))
        } catch {
            return .refused(error.description)
        }
    }

    private func fingerprint(_ text: String) throws(KeyringError) -> KeyFingerprint {
        guard let fingerprint = KeyFingerprint(hex: text) else { throw .notAFingerprint }
        return fingerprint
    }
}

extension GossipKeysReport {
    init(node: String, keyring: GossipKeyring) {
        self.init(node: node, keys: keyring.keys.map(\.fingerprint.description))
    }
}

extension GossipSettings {
    init(_ configuration: ClusterConfiguration, _ own: ClusterConfiguration.Node) {
        self.init()
        defaultPort = own.gossipPort
        reseedInterval = configuration.gossip.pushPullInterval
    }
}

extension GossipKeyring {
    /// The keyring in a data directory; without one, what the configuration gives.
    static func load<D: Disk>(
        from store: LogStore<D>,
        configured: String,
        secret: [UInt8],
        cluster: String
    ) throws -> GossipKeyring {
        guard let bytes = try store.readMeta(file) else {
            return try GossipKeyring(configured: configured, secret: secret, cluster: cluster)
        }
        return try GossipKeyring(decoding: bytes)
    }
}
