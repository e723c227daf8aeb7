import Foundation
import HistoryChecker
import Testing

@testable import bench

@Suite("The load generator's protocols")
struct ProtocolTests {
    private func with<R>(_ text: String, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try Array(text.utf8).withUnsafeBytes(body)
    }

    @Test("a payload has the wanted size, is JSON, and its number is found in it")
    func payload() throws {
        for (number, size) in [(UInt64(1), 128), (.max, 1000), (0x1234_5678_9abc_def0, 1)] {
            var bytes: [UInt8] = []
            Payload.append(number, size: size, to: &bytes)
            #expect(bytes.count == max(size, Payload.minimumSize))
            _ = try JSONSerialization.jsonObject(with: Data(bytes))
            var position = 0
            let found = (bytes + bytes).withUnsafeBytes { raw in
                (Payload.next(in: raw, &position), Payload.next(in: raw, &position), Payload.next(in: raw, &position))
            }
            #expect(found.0 == number && found.1 == number && found.2 == nil)
        }
    }

    @Test("a payload that is cut short has no number")
    func truncatedPayload() {
        var bytes: [UInt8] = []
        Payload.append(7, size: 64, to: &bytes)
        for length in 0..<24 {
            var position = 0
            #expect(bytes[..<length].withUnsafeBytes { Payload.next(in: $0, &position) } == nil)
        }
    }

    @Test("server frames of every length form are cut, and incomplete ones waited for")
    func webSocketFrames() throws {
        for size in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            var frame: [UInt8] = [0x81]
            if size < 126 {
                frame.append(UInt8(size))
            } else if size < 65_536 {
                frame += [126, UInt8(size >> 8), UInt8(size & 0xff)]
            } else {
                frame += [127, 0, 0, 0, 0] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: size >> $0) }
            }
            let header = frame.count
            frame += [UInt8](repeating: 0x61, count: size) + [0x81]
            let cut = try #require(try frame.withUnsafeBytes { try Cut.first(.webSocket, in: $0) })
            #expect(cut.length == header + size)
            #expect(cut.payload == header..<(header + size))
            for length in [1, header - 1, header + size - 1] where length < header + size {
                let part = try frame[..<length].withUnsafeBytes { try Cut.first(.webSocket, in: $0) }
                #expect(part == nil)
            }
        }
        #expect(throws: BenchError.self) {
            try [UInt8]([0x81, 0x81, 0, 0, 0, 0]).withUnsafeBytes { try Cut.first(.webSocket, in: $0) }
        }
    }

    @Test("RESP values are cut, and incomplete ones waited for")
    func respValues() throws {
        for text in [
            "+OK\r\n", ":12\r\n", "$-1\r\n", "$3\r\nabc\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\nr\r\n$2\r\nhi\r\n",
            "*0\r\n",
        ] {
            #expect(try with(text + "+next") { try Cut.first(.resp, in: $0)?.length } == text.utf8.count)
            for length in 0..<text.utf8.count {
                #expect(
                    try Array(text.utf8.prefix(length)).withUnsafeBytes { try Cut.first(.resp, in: $0) } == nil,
                    "\(text) \(length)"
                )
            }
        }
        #expect(throws: BenchError.self) { try with("GET") { try Cut.first(.resp, in: $0) } }
    }

    @Test("a client frame is masked and has the payload when unmasked")
    func clientFrame() {
        for size in [2, 125, 126, 70_000] {
            let text = String(repeating: "z", count: size)
            var frame: [UInt8] = []
            ClientFrame.append(text, to: &frame)
            let header = size < 126 ? 2 : size < 65_536 ? 4 : 10
            #expect(frame[1] & 0x80 != 0)
            #expect(frame.count == header + 4 + size)
            let key = Array(frame[header..<(header + 4)])
            let payload = frame[(header + 4)...].enumerated().map { $0.element ^ key[$0.offset & 3] }
            #expect(String(decoding: payload, as: UTF8.self) == text)
        }
    }

    @Test("answers to publishes are told apart")
    func publishReplies() {
        func read(_ text: String) -> PublishReply? { with(text) { PublishReply($0) } }
        #expect(read(#"{"id":7,"publish":{"offset":31,"epoch":"abc"}}"#)?.outcome == .acknowledged(offset: 31))
        #expect(read(#"{"id":7,"publish":{}}"#)?.outcome == .acknowledged(offset: 0))
        #expect(
            read(#"{"id":9,"error":{"code":100,"message":"internal","temporary":true}}"#)?.outcome
                == .temporary(code: 100)
        )
        #expect(read(#"{"id":9,"error":{"code":103,"message":"permission denied"}}"#)?.outcome == .refused(code: 103))
        #expect(read(#"{"id":9,"error":{"code":103,"message":"permission denied"}}"#)?.command == 9)
        #expect(read(#"{"push":{"channel":"r","pub":{"data":{}}}}"#) == nil)
    }

    @Test("pages of history and subscribe results are read alike")
    func historyPages() throws {
        func publication(_ number: UInt64, _ offset: Int) -> String {
            var bytes: [UInt8] = []
            Payload.append(number, size: 50, to: &bytes)
            return #"{"data":\#(String(decoding: bytes, as: UTF8.self)),"offset":\#(offset),"time":5}"#
        }
        let list = [publication(10, 4), publication(11, 5)].joined(separator: ",")
        let history = #"{"id":3,"history":{"publications":[\#(list)],"epoch":"e9","offset":8}}"#
        let page = try #require(with(history) { HistoryPage($0) })
        #expect(page.entries == [.init(offset: 4, message: 10), .init(offset: 5, message: 11)])
        #expect(page.epoch == "e9")
        #expect(page.top == 8)
        let subscribe = #"{"id":2,"subscribe":{"epoch":"e9","offset":5,"publications":[\#(list)],"recovered":true}}"#
        let result = try #require(with(subscribe) { HistoryPage($0) })
        #expect(result.entries == page.entries)
        #expect(result.epoch == "e9")
        #expect(result.top == 5)
        let empty = try #require(
            with(#"{"id":3,"history":{"publications":[],"epoch":"e","offset":0}}"#) { HistoryPage($0) }
        )
        #expect(empty.entries.isEmpty && empty.epoch == "e" && empty.top == 0)
    }

    @Test("the owner of a room is found in a node's status, by name or by identity")
    func owner() {
        func owner(_ status: String) -> Int? {
            AdminPort.owner(of: "r", status: Data(status.utf8), nodes: ["n1", "n2"], partitions: 1)
        }
        #expect(owner(#"{"partitions":[{"id":0,"leader":"n2"}]}"#) == 1)
        #expect(owner(#"{"nodes":[{"id":"ab","name":"n1"}],"partitions":[{"id":0,"leader":"ab"}]}"#) == 0)
        #expect(owner(#"{"partitions":[{"id":0,"owner":"n1","replicas":["n1","n2"]}]}"#) == 0)
        #expect(owner(#"{"partitions":[{"id":0,"owner":null}]}"#) == nil)
        // Behind the partitions of rooms come those of keys, which hold no rooms.
        #expect(owner(#"{"partitions":[{"id":0,"owner":"n1"},{"id":1,"owner":"n2"}]}"#) == 0)
        #expect(owner("not JSON") == nil)
    }

    @Test("an HTTP answer is read whole or in chunks")
    func httpAnswers() {
        let plain = AdminPort.parse(Array("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".utf8))
        #expect(plain?.status == 200 && plain?.body == Data("hi".utf8))
        let chunked = AdminPort.parse(
            Array("HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".utf8)
        )
        #expect(chunked?.status == 503 && chunked?.body == Data("abcde".utf8))
        #expect(AdminPort.parse(Array("HTTP/1.1 200".utf8)) == nil)
    }
}
