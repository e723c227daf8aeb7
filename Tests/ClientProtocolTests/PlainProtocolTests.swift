import Primitives
import Testing

@testable import ClientProtocol

@Suite("Plain JSON protocol of /ws, and the server API")
struct PlainProtocolTests {
    private func decode(_ text: String) throws -> PlainMessage { try PlainMessage.decode(ascii(text)).message }

    @Test("GW-13 content and user are broadcast as type, content and user")
    func guide() throws {
        guard case .message(let content, let user, nil) = try decode(#"{"content":"hi \u0041","user":{"id": 7}}"#)
        else {
            Issue.record("not a message")
            return
        }
        #expect(
            encoded { PlainEncoder.appendMessage(content: content, user: user, to: &$0) }
                == #"{"type":"message","content":"hi \u0041","user":{"id": 7}}"#
        )
    }

    @Test("RM-01 RM-02 a room makes it a message of that room")
    func rooms() throws {
        let message = try decode(#"{"type":"message","room":"lobby","user":null,"content":1}"#)
        #expect(message == .message(content: slice("1"), user: slice("null"), room: slice("lobby")))
        #expect(
            encoded {
                PlainEncoder.appendMessage(content: slice("1"), user: slice("null"), room: slice("lobby"), to: &$0)
            }
                == #"{"type":"message","content":1,"user":null,"room":"lobby"}"#
        )
        #expect(try decode(#"{"type":"join","room":"r"}"#) == .join(room: slice("r")))
        #expect(try decode(#"{"room":"r","type":"leave"}"#) == .leave(room: slice("r")))
        #expect(
            try decode(#"{"content":1,"user":2,"room":null}"#)
                == .message(content: slice("1"), user: slice("2"), room: nil)
        )
        #expect(try decode(#"{"type":"ping"}"#) == .ping)
        #expect(try decode(#"{"type":"pong"}"#) == .pong)
    }

    @Test("SE-07 wrong messages get an error, broken JSON is thrown")
    func refusals() throws {
        for text in [
            "{}", "[]", "1", "null", #"{"content":1}"#, #"{"user":1}"#, #"{"type":"join"}"#,
            #"{"type":"leave","room":""}"#,
            #"{"type":1,"content":1,"user":1}"#, #"{"type":"join","room":"a\nb"}"#, #"{"type":"join","room":7}"#,
            #"{"content":1,"user":2,"id":{}}"#, #"{"content":1,"user":2,"id":-1}"#,
        ] {
            #expect(try decode(text) == .invalid(.badRequest), "\(text)")
        }
        #expect(try decode(#"{"type":"dance"}"#) == .invalid(.methodNotFound))
        for text in [
            "", "{", "{}{}", #"{"content":1,"user":2} x"#, #"{"content":1,"content":2,"user":3}"#, "{\"room\":n}",
        ] {
            #expect(throws: JSONError.self, "\(text)") { try decode(text) }
        }
    }

    @Test("an id is echoed in acknowledgements and errors")
    func ids() throws {
        let (_, id) = try PlainMessage.decode(ascii(#"{"type":"join","room":"r","id":"x\"1"}"#))
        #expect(string(id) == #""x\"1""#)
        #expect(encoded { PlainEncoder.appendAcknowledge(id: id, to: &$0) } == #"{"type":"ack","id":"x\"1"}"#)
        #expect(
            encoded { PlainEncoder.appendAcknowledge(id: slice("5"), epoch: 10, offset: 3, to: &$0) }
                == #"{"type":"ack","id":5,"offset":3,"epoch":"a"}"#
        )
        #expect(
            encoded { PlainEncoder.appendError(.badRequest, id: slice("5"), to: &$0) }
                == #"{"type":"error","id":5,"code":107,"message":"bad request"}"#
        )
        #expect(
            encoded { PlainEncoder.appendError(.badRequest, to: &$0) }
                == #"{"type":"error","code":107,"message":"bad request"}"#
        )
        #expect(try PlainMessage.decode(ascii(#"{"type":"ping"}"#)).id.isEmpty)
    }

    @Test("other publishers' payloads are delivered as they are, or as content")
    func delivery() {
        func deliver(_ bytes: [UInt8]) -> String {
            encoded { PlainEncoder.appendDelivery(bytes[...], .classify(bytes[...]), to: &$0) }
        }
        #expect(deliver(ascii(#"{"type":"alert","n":1}"#)) == #"{"type":"alert","n":1}"#)
        #expect(deliver(ascii("hello")) == #"{"type":"message","content":"hello"}"#)
        #expect(deliver([0xFF]) == #"{"type":"message","b64content":"/w=="}"#)
        #expect(encoded { PlainEncoder.appendJoined(room: slice("r"), to: &$0) } == #"{"type":"joined","room":"r"}"#)
        #expect(encoded { PlainEncoder.appendLeft(room: slice("r"), to: &$0) } == #"{"type":"left","room":"r"}"#)
        #expect(encoded { PlainEncoder.appendPong(to: &$0) } == #"{"type":"pong"}"#)
        #expect(encoded { PlainEncoder.appendPing(to: &$0) } == #"{"type":"ping"}"#)
    }

    @Test("server API bodies")
    func serverAPI() throws {
        let publish = try #require(
            try ServerAPI.decodePublish(slice(#"{"channel":"a","data":{"x":1},"idempotency_key":"k","ttl_ms":5}"#))
        )
        #expect(string(publish.channel) == "a" && string(publish.data) == #"{"x":1}"#)
        #expect(string(publish.idempotencyKey) == "k" && publish.timeToLive == 5)
        let skipping = try #require(
            try ServerAPI.decodePublish(slice(#"{"channel":"a","data":1,"skip_history":true}"#))
        )
        #expect(skipping.unsupported == ["skip_history"])
        for bad in ["{}", "[]", "null", #"{"channel":"a"}"#, #"{"channel":"a","data":1,"ttl_ms":"x"}"#] {
            #expect(try ServerAPI.decodePublish(slice(bad)) == nil, "\(bad)")
        }
        for broken in ["", "{", #"{"channel":"a","data":1}x"#, #"{"channel":"a","data":1,"data":2}"#] {
            #expect(throws: JSONError.self, "\(broken)") { try ServerAPI.decodePublish(slice(broken)) }
        }
        let broadcast = try #require(try ServerAPI.decodeBroadcast(slice(#"{"channels":["a","b"],"data":1}"#)))
        #expect(broadcast.channels.map(string) == ["a", "b"] && string(broadcast.publish.data) == "1")
        for bad in [
            #"{"data":1}"#, #"{"channels":[],"data":1}"#, #"{"channels":["a"]}"#, #"{"channels":[1],"data":1}"#,
            #"{"channels":"a","data":1}"#,
        ] {
            #expect(try ServerAPI.decodeBroadcast(slice(bad)) == nil, "\(bad)")
        }
        let tooMany = (0...ServerAPI.channelLimit).map { "\"\($0)\"" }.joined(separator: ",")
        #expect(try ServerAPI.decodeBroadcast(slice("{\"channels\":[\(tooMany)],\"data\":1}")) == nil)

        #expect(
            encoded { ServerAPI.appendPublishResult(epoch: 1, offset: 2, to: &$0) }
                == #"{"result":{"offset":2,"epoch":"1"}}"#
        )
        #expect(encoded { ServerAPI.appendPublishResult(epoch: nil, offset: 0, to: &$0) } == #"{"result":{}}"#)
        #expect(
            encoded { ServerAPI.appendError(.unknownChannel, to: &$0) }
                == #"{"error":{"code":102,"message":"unknown channel"}}"#
        )
        #expect(
            encoded {
                ServerAPI.appendBroadcastResult(count: 2, to: &$0) { index, out in
                    if index == 0 {
                        ServerAPI.appendPublishResult(epoch: 1, offset: 2, to: &out)
                    } else {
                        ServerAPI.appendError(.internalError, to: &out)
                    }
                }
            }
                == #"{"result":{"responses":[{"result":{"offset":2,"epoch":"1"}},{"error":{"code":100,"#
                + #""message":"internal server error","temporary":true}}]}}"#
        )
    }
}
