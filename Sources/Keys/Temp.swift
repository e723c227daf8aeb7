import Primitives

extension Keyspace {
    func encodeSnapshot(into writer: inout ByteWriter) {}
    init(snapshot reader: inout ByteReader) throws(DecodeError) { self.init(seed: 0) }
}
