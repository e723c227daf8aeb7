import Glibc
import NIOCore
import SWIM

/// Where to ask for the cluster: an address, or a name whose addresses are all asked.
package struct GossipSeed: Equatable, Sendable {
    package var host: String
    package var port: Int

    /// `host:port`, `[address]:port`, or a host alone with the default port. An IPv6 address without brackets has none.
    package init(_ text: String, defaultPort: Int) throws(GossipError) {
        var host = text[...]
        port = defaultPort
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            if !rest.isEmpty {
                guard rest.hasPrefix(":"), let number = Int(rest.dropFirst()) else { throw .address(text) }
                port = number
            }
        } else if let colon = text.lastIndex(of: ":"), text.firstIndex(of: ":") == colon {
            host = text[..<colon]
            guard let number = Int(text[text.index(after: colon)...]) else { throw .address(text) }
            port = number
        }
        self.host = String(host)
        guard !host.isEmpty, (1...65535).contains(port) else { throw .address(text) }
    }

    /// All addresses of the host, in the resolver's order; none when it is unknown. Blocks: not on a loop.
    package func resolve() -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        var first: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &first) == 0 else { return [] }
        defer { freeaddrinfo(first) }
        var addresses: [SocketAddress] = []
        var next = first
        while let entry = next {
            next = entry.pointee.ai_next
            guard let raw = entry.pointee.ai_addr else { continue }
            let address: SocketAddress
            switch entry.pointee.ai_family {
            case AF_INET:
                address = raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { SocketAddress($0.pointee) }
            case AF_INET6:
                address = raw.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { SocketAddress($0.pointee) }
            default: continue
            }
            if !addresses.contains(address) { addresses.append(address) }
        }
        return addresses
    }
}

extension GossipAddress {
    /// Nil for what is no IP address. An IPv4 address that IPv6 carries is the IPv4 address.
    package init?(_ address: SocketAddress) {
        guard var host = address.ipAddress, let port = address.port.flatMap({ UInt16(exactly: $0) }) else { return nil }
        if host.hasPrefix("::ffff:"), host.contains(".") { host.removeFirst("::ffff:".count) }
        self.init(host: host, port: port)
    }
}

extension SocketAddress {
    /// As a socket of its family, or of IPv6, sends to it.
    init?(_ address: GossipAddress, forIPv6: Bool) {
        let isMapped = forIPv6 && !address.host.contains(":")
        let host = isMapped ? "::ffff:\(address.host)" : address.host
        guard let made = try? SocketAddress(ipAddress: host, port: Int(address.port)) else { return nil }
        self = made
    }
}
