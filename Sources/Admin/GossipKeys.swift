import Foundation

/// What an operator asks of a node's gossip keyring: `GET /gossip/keys`, or `POST /gossip/keys` with one of the JSON
/// objects `{"operation":"install","key":"<64 hexadecimal digits>"}`, `{"operation":"use","fingerprint":"<8 digits>"}`
/// and `{"operation":"remove","fingerprint":"<8 digits>"}`.
package enum GossipKeysRequest: Equatable, Sendable {
    case list
    case install(key: String)
    case use(fingerprint: String)
    case remove(fingerprint: String)

    /// Far more than a request needs.
    package static let maxBytes = 4096

    private struct Body: Codable {
        var operation: String
        var key: String?
        var fingerprint: String?
    }

    /// Nil when the body is none of the three.
    package init?(json: [UInt8]) {
        guard let body = try? JSONDecoder().decode(Body.self, from: Data(json)) else { return nil }
        switch (body.operation, body.key, body.fingerprint) {
        case ("install", .some(let key), nil): self = .install(key: key)
        case ("use", nil, .some(let fingerprint)): self = .use(fingerprint: fingerprint)
        case ("remove", nil, .some(let fingerprint)): self = .remove(fingerprint: fingerprint)
        default: return nil
        }
    }

    /// The body of the request; empty for `.list`.
    package func json() -> [UInt8] {
        let body: Body
        switch self {
        case .list: return []
        case .install(let key): body = Body(operation: "install", key: key)
        case .use(let fingerprint): body = Body(operation: "use", fingerprint: fingerprint)
        case .remove(let fingerprint): body = Body(operation: "remove", fingerprint: fingerprint)
        }
        return (try? JSONEncoder().encode(body)).map { [UInt8]($0) } ?? []
    }
}

/// A node's keyring by fingerprints: keys are never shown.
package struct GossipKeysReport: Codable, Equatable, Sendable {
    package var node: String
    /// The one that encrypts first.
    package var keys: [String]

    package init(node: String, keys: [String]) {
        self.node = node
        self.keys = keys
    }

    package func json() -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    package init(json: [UInt8]) throws { self = try JSONDecoder().decode(GossipKeysReport.self, from: Data(json)) }
}

/// What a node says to a `GossipKeysRequest`.
package enum GossipKeysAnswer: Sendable {
    /// The keyring, as it is now.
    case keys(GossipKeysReport)
    /// Nothing was changed.
    case refused(String)
}

/// The JSON object of every refusal of the admin port.
package struct AdminRefusal: Codable, Sendable {
    package var error: String

    package init?(json: [UInt8]) {
        guard let refusal = try? JSONDecoder().decode(AdminRefusal.self, from: Data(json)) else { return nil }
        self = refusal
    }
}
