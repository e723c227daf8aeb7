import RESP
import Testing

@Suite struct RESPWriterTests {
    private func bytes(_ version: UInt8, _ write: (inout RESPWriter) -> Void) -> String {
        var writer = RESPWriter(version: version)
        write(&writer)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    /// What both versions write.
    private func both(_ write: (inout RESPWriter) -> Void) -> [String] { [bytes(2, write), bytes(3, write)] }

    @Test("RS-02 what both versions of the protocol share")
    func shared() {
        for version in [2, 3] as [UInt8] {
            #expect(bytes(version) { $0.ok() } == "+OK\r\n")
            #expect(bytes(version) { $0.simple("QUEUED" as StaticString) } == "+QUEUED\r\n")
            #expect(bytes(version) { $0.error("ERR a\r\nb") } == "-ERR a  b\r\n")
            #expect(bytes(version) { $0.integer(Int64.min) } == ":-9223372036854775808\r\n")
            #expect(bytes(version) { $0.integer(7 as UInt32) } == ":7\r\n")
            #expect(bytes(version) { $0.bulk([97, 13, 10] as [UInt8]) } == "$3\r\na\r\n\r\n")
            #expect(bytes(version) { $0.bulk("") } == "$0\r\n\r\n")
            #expect(bytes(version) { $0.bulk(-120 as Int64) } == "$4\r\n-120\r\n")
            #expect(bytes(version) { $0.array(0) } == "*0\r\n")
        }
    }

    @Test("RS-02 what RESP3 has of its own, and what RESP2 gets instead")
    func different() {
        #expect(both { $0.null() } == ["$-1\r\n", "_\r\n"])
        #expect(both { $0.nullArray() } == ["*-1\r\n", "_\r\n"])
        #expect(both { $0.boolean(true) } == [":1\r\n", "#t\r\n"])
        #expect(both { $0.boolean(false) } == [":0\r\n", "#f\r\n"])
        #expect(both { $0.double(2.5) } == ["$3\r\n2.5\r\n", ",2.5\r\n"])
        #expect(both { $0.double(-.infinity) } == ["$4\r\n-inf\r\n", ",-inf\r\n"])
        #expect(both { $0.map(2) } == ["*4\r\n", "%2\r\n"])
        #expect(both { $0.set(2) } == ["*2\r\n", "~2\r\n"])
        #expect(both { $0.push(2) } == ["*2\r\n", ">2\r\n"])
        #expect(both { $0.verbatim("é") } == ["$2\r\né\r\n", "=6\r\ntxt:é\r\n"])
    }

    @Test("RS-02 a header put in front afterwards, and a reply taken back")
    func changes() {
        let text = bytes(2) { writer in
            writer.ok()
            let mark = writer.count
            writer.integer(1)
            writer.integer(2)
            writer.insertArray(2, at: mark)
            let end = writer.count
            writer.bulk("never")
            writer.rollBack(to: end)
        }
        #expect(text == "+OK\r\n*2\r\n:1\r\n:2\r\n")
    }
}
