/// One publication as a JSON client sees it. Every one carries a message id and a timestamp (DL-01).
package struct OutgoingPublication: Equatable, Sendable {
    package var data: ArraySlice<UInt8>
    package var form: PayloadForm
    /// The offset in the room's history; 0 for rooms without one.
    package var offset: UInt64
    /// Wall-clock milliseconds since 1970; 0 is left out.
    package var time: UInt64
    /// The message id, our extension to the protocol's members; empty is left out.
    package var id: ArraySlice<UInt8>
    /// A JSON object of strings; empty is left out.
    package var tags: ArraySlice<UInt8>
    /// A client-info object of `PushEncoder.appendInfo`; empty is left out.
    package var info: ArraySlice<UInt8>

    package init(
        data: ArraySlice<UInt8>,
        form: PayloadForm = .json,
        offset: UInt64 = 0,
        time: UInt64 = 0,
        id: ArraySlice<UInt8> = [],
        tags: ArraySlice<UInt8> = [],
        info: ArraySlice<UInt8> = []
    ) {
        self.data = data
        self.form = form
        self.offset = offset
        self.time = time
        self.id = id
        self.tags = tags
        self.info = info
    }
}
