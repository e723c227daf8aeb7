/// Bounds of what a client may send; the frame itself is bounded by the WebSocket parser.
package struct ClientProtocolLimits: Sendable {
    /// Bytes of a channel name.
    package var channel = 255
    /// Commands in one frame.
    package var commands = 256
    /// Server-side subscriptions and emulated headers of a connect command, each.
    package var connectEntries = 128
    /// Bytes of names: client name and version, cursor, producer id, idempotency key, RPC method.
    package var name = 255
    /// Nesting of a frame, the command's own levels included; 64 at most.
    package var depth = JSONScanner.maximumDepth

    package init() {}
}
