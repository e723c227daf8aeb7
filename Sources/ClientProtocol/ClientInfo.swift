/// A client in presence, join and leave messages and publications.
package struct ClientInfo: Equatable, Sendable {
    package var user: ArraySlice<UInt8>
    package var client: ArraySlice<UInt8>
    /// JSON about the connection and about the subscription; empty is left out.
    package var connectionInfo: ArraySlice<UInt8>
    package var channelInfo: ArraySlice<UInt8>

    package init(
        user: ArraySlice<UInt8>,
        client: ArraySlice<UInt8>,
        connectionInfo: ArraySlice<UInt8> = [],
        channelInfo: ArraySlice<UInt8> = []
    ) {
        self.user = user
        self.client = client
        self.connectionInfo = connectionInfo
        self.channelInfo = channelInfo
    }
}
