/// The outcome of a connect command.
package struct ConnectResult: Equatable, Sendable {
    /// The connection's id.
    package var client: ArraySlice<UInt8> = []
    package var version: ArraySlice<UInt8> = []
    /// Seconds between our pings; 0 = none.
    package var pingInterval: UInt32 = 25
    /// The client must answer pings.
    package var expectsPong = true
    package var session: ArraySlice<UInt8> = []
    package var node: ArraySlice<UInt8> = []
    /// The connection's token expires in `timeToLive` seconds.
    package var expires = false
    package var timeToLive: UInt32 = 0
    /// The application's JSON for the client; empty is left out.
    package var data: ArraySlice<UInt8> = []
    /// Server-side subscriptions; channels must differ.
    package var subscriptions: [Subscription] = []

    package struct Subscription: Equatable, Sendable {
        package var channel: ArraySlice<UInt8>
        package var result: SubscribeResult

        package init(channel: ArraySlice<UInt8>, result: SubscribeResult) {
            self.channel = channel
            self.result = result
        }
    }

    package init() {}
}
