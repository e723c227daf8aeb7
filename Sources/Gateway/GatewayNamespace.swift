import Primitives

/// The part of a `[[namespace]]` that the client edge carries out; class, priority and retention are the broker's.
package struct GatewayNamespace: Sendable, Equatable {
    /// The one role of a client without a token, which every client of this build is.
    package static let anonymousRole = "anonymous"

    /// Governs the rooms whose name begins so, unless a longer prefix does; empty: all others.
    package var prefix: [UInt8]
    /// Clients without a token may subscribe and read history.
    package var anonymousSubscribe = true
    /// Clients without a token may publish.
    package var anonymousPublish = true
    /// Roles that may subscribe and read history; empty = every client that is admitted.
    package var subscribeRoles: [String] = []
    /// Roles that may publish; empty = every client that is admitted.
    package var publishRoles: [String] = []
    /// Publications per second and connection; 0 = unlimited.
    package var publishRate = 0
    /// Publications that may come at once, at least 1.
    package var publishBurst = 200
    /// Payload bytes of one publication; 0 = no bound of its own.
    package var maxMessageSize = 0
    /// The heartbeat of connections that subscribe here, where it is tighter than the connection's own.
    package var heartbeat: Heartbeat?

    package init(prefix: [UInt8] = []) { self.prefix = prefix }
}

/// How a connection is asked whether it is alive.
package struct Heartbeat: Sendable, Equatable {
    package var pingInterval: Interval
    /// From a ping to the pong.
    package var pingTimeout: Interval

    package init(pingInterval: Interval, pingTimeout: Interval) {
        self.pingInterval = pingInterval
        self.pingTimeout = pingTimeout
    }

    /// Notices a dead connection sooner.
    func isTighter(than other: Heartbeat) -> Bool {
        pingInterval.nanoseconds &+ pingTimeout.nanoseconds
            < other.pingInterval.nanoseconds &+ other.pingTimeout.nanoseconds
    }
}
