import Primitives

// The containers whose own files do not have these yet: they hold nothing, and so say it.

extension SetValue {
    package var encodingName: String { "listpack" }
    package var byteEstimate: Int { 0 }
    package func encode(into writer: inout ByteWriter) {}
    package init(from reader: inout ByteReader, seed: UInt64) throws(DecodeError) { self.init(seed: seed) }
}

extension SortedSetValue {
    package func encodingName(_ configuration: KeyspaceConfiguration) -> String { "listpack" }
    package var byteEstimate: Int { 0 }
    package func encode(into writer: inout ByteWriter) {}
    package init(from reader: inout ByteReader, seed: UInt64) throws(DecodeError) { self.init(seed: seed) }
}

extension StreamValue {
    package var byteEstimate: Int { 0 }
    package func encode(into writer: inout ByteWriter) {}
    package init(from reader: inout ByteReader, seed: UInt64) throws(DecodeError) { self.init(seed: seed) }
}
