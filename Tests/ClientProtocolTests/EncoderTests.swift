import Primitives
import Testing

@testable import ClientProtocol

@Suite("Replies and pushes (Centrifugo protocol v2)")
struct EncoderTests {
    @Test("DL-01 a publication push carries data, offset, time and id")
    func publication() {
        let publication = OutgoingPublication(
            data: slice(#"{"a":1}"#),
            offset: 12,
            time: 1_700_000_000_123,
            id: slice("ff-12"),
            tags: slice(#"{"k":"v"}"#),
            info: slice(#"{"user":"u","client":"c"}"#)
        )
        #expect(
            encoded { PushEncoder.appendPublication(channel: slice("gov:a"), publication, to: &$0) }
                == #"{"push":{"channel":"gov:a","pub":{"data":{"a":1},"offset":12,"time":1700000000123,"#
                + #""id":"ff-12","tags":{"k":"v"},"info":{"user":"u","client":"c"}}}}"#
        )
        #expect(
            encoded {
                PushEncoder.appendPublication(channel: slice("a\"b"), OutgoingPublication(data: slice("1")), to: &$0)
            }
                == #"{"push":{"channel":"a\"b","pub":{"data":1}}}"#
        )
    }

    @Test("payloads that are not JSON become strings or base64; line breaks between tokens become spaces")
    func payloadForms() {
        func push(_ bytes: [UInt8]) -> String {
            let publication = OutgoingPublication(data: bytes[...], form: .classify(bytes[...]))
            return encoded { PushEncoder.append(publication, to: &$0) }
        }
        #expect(push(ascii("{\n \"a\": 1\r\n}")) == #"{"data":{  "a": 1  }}"#)
        #expect(push(ascii("hello \"you\"\n")) == #"{"data":"hello \"you\"\n"}"#)
        #expect(push([0x00, 0xFF]) == #"{"b64data":"AP8="}"#)
        #expect(push([]) == #"{"data":""}"#)
        #expect(PayloadForm.classify(slice("123")) == .json)
        #expect(PayloadForm.classifyOpaque(slice("123")) == .text)
        #expect(PayloadForm.classify(slice("{\"a\":}")) == .text)
    }

    @Test("connect and subscribe results")
    func results() {
        var connect = ConnectResult()
        connect.client = slice("c1")
        connect.version = slice("vencejo")
        #expect(
            encoded { ReplyEncoder.appendConnect(id: 1, connect, to: &$0) }
                == #"{"id":1,"connect":{"client":"c1","version":"vencejo","ping":25,"pong":true}}"#
        )
        var subscribe = SubscribeResult()
        #expect(encoded { ReplyEncoder.appendSubscribe(id: 2, subscribe, to: &$0) } == #"{"id":2,"subscribe":{}}"#)
        subscribe.recoverable = true
        subscribe.positioned = true
        subscribe.epoch = 0xABC
        subscribe.offset = 9
        subscribe.publications = [
            OutgoingPublication(data: slice("1"), offset: 8), OutgoingPublication(data: slice("2"), offset: 9),
        ]
        subscribe.recovered = true
        subscribe.wasRecovering = true
        subscribe.expires = true
        subscribe.timeToLive = 60
        subscribe.acknowledgement = AcknowledgementGrant(cursor: slice("x"), window: 100, offset: 7)
        let text =
            #"{"expires":true,"ttl":60,"recoverable":true,"positioned":true,"epoch":"abc","offset":9,"#
            + #""publications":[{"data":1,"offset":8},{"data":2,"offset":9}],"recovered":true,"#
            + #""was_recovering":true,"ack":{"cursor":"x","window":100,"offset":7}}"#
        #expect(
            encoded { ReplyEncoder.appendSubscribe(id: 2, subscribe, to: &$0) } == "{\"id\":2,\"subscribe\":\(text)}"
        )
        connect.expires = true
        connect.timeToLive = 5
        connect.data = slice("{\"a\":\n1}")
        connect.session = slice("s")
        connect.node = slice("n")
        connect.pingInterval = 10
        connect.expectsPong = false
        connect.subscriptions = [
            .init(channel: slice("r"), result: subscribe), .init(channel: slice("q"), result: SubscribeResult()),
        ]
        #expect(
            encoded { ReplyEncoder.appendConnect(id: 1, connect, to: &$0) }
                == #"{"id":1,"connect":{"client":"c1","version":"vencejo","expires":true,"ttl":5,"#
                + #""data":{"a": 1},"subs":{"r":"#
                + text + #","q":{}},"ping":10,"session":"s","node":"n"}}"#
        )
    }

    @Test("the other replies")
    func replies() {
        #expect(encoded { ReplyEncoder.appendUnsubscribe(id: 3, to: &$0) } == #"{"id":3,"unsubscribe":{}}"#)
        #expect(encoded { ReplyEncoder.appendPing(id: 3, to: &$0) } == #"{"id":3,"ping":{}}"#)
        #expect(encoded { ReplyEncoder.appendPublish(id: 4, to: &$0) } == #"{"id":4,"publish":{}}"#)
        #expect(
            encoded { ReplyEncoder.appendPublish(id: 4, epoch: 255, offset: 3, isDuplicate: true, to: &$0) }
                == #"{"id":4,"publish":{"offset":3,"epoch":"ff","duplicate":true}}"#
        )
        #expect(
            encoded {
                ReplyEncoder.appendHistory(id: 5, [.init(data: slice("1"), offset: 1)], epoch: 1, offset: 1, to: &$0)
            }
                == #"{"id":5,"history":{"publications":[{"data":1,"offset":1}],"epoch":"1","offset":1}}"#
        )
        let info = ClientInfo(
            user: slice("u"),
            client: slice("c"),
            connectionInfo: slice("{}"),
            channelInfo: slice("[]")
        )
        #expect(
            encoded { ReplyEncoder.appendPresence(id: 6, [info], to: &$0) }
                == #"{"id":6,"presence":{"presence":{"c":{"user":"u","client":"c","conn_info":{},"chan_info":[]}}}}"#
        )
        #expect(
            encoded { ReplyEncoder.appendPresenceStats(id: 7, clients: 2, users: 1, to: &$0) }
                == #"{"id":7,"presence_stats":{"num_clients":2,"num_users":1}}"#
        )
        #expect(
            encoded { ReplyEncoder.appendRPC(id: 8, data: slice("[1]"), to: &$0) } == #"{"id":8,"rpc":{"data":[1]}}"#
        )
        #expect(
            encoded {
                ReplyEncoder.appendRefresh(id: 9, client: slice("c"), version: slice("v"), timeToLive: 30, to: &$0)
            }
                == #"{"id":9,"refresh":{"client":"c","version":"v","expires":true,"ttl":30}}"#
        )
        #expect(
            encoded { ReplyEncoder.appendSubRefresh(id: 9, timeToLive: 0, to: &$0) } == #"{"id":9,"sub_refresh":{}}"#
        )
        #expect(
            encoded { ReplyEncoder.appendAcknowledge(id: 9, offset: 4, to: &$0) } == #"{"id":9,"ack":{"offset":4}}"#
        )
        #expect(
            encoded { ReplyEncoder.appendError(id: 1, .tooManyRequests, to: &$0) }
                == #"{"id":1,"error":{"code":111,"message":"too many requests","temporary":true}}"#
        )
        #expect(
            encoded { ReplyEncoder.appendError(id: 1, .permissionDenied, to: &$0) }
                == #"{"id":1,"error":{"code":103,"message":"permission denied"}}"#
        )
    }

    @Test("the other pushes")
    func pushes() {
        let info = ClientInfo(user: slice("u"), client: slice("c"))
        let room = slice("r")
        #expect(encoded { PushEncoder.appendPing(to: &$0) } == "{}")
        #expect(
            encoded { PushEncoder.appendJoin(channel: room, info, to: &$0) }
                == #"{"push":{"channel":"r","join":{"info":{"user":"u","client":"c"}}}}"#
        )
        #expect(
            encoded { PushEncoder.appendLeave(channel: room, info, to: &$0) }
                == #"{"push":{"channel":"r","leave":{"info":{"user":"u","client":"c"}}}}"#
        )
        #expect(
            encoded {
                PushEncoder.appendSubscribe(
                    channel: room,
                    recoverable: true,
                    positioned: true,
                    epoch: 1,
                    offset: 2,
                    to: &$0
                )
            } == #"{"push":{"channel":"r","subscribe":{"recoverable":true,"epoch":"1","offset":2,"positioned":true}}}"#
        )
        #expect(
            encoded { PushEncoder.appendUnsubscribe(channel: room, .insufficientState, to: &$0) }
                == #"{"push":{"channel":"r","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
        )
        #expect(
            encoded { PushEncoder.appendDisconnect(.shutdown, to: &$0) }
                == #"{"push":{"disconnect":{"code":3001,"reason":"shutdown","reconnect":true}}}"#
        )
        #expect(encoded { PushEncoder.appendMessage(slice("1"), to: &$0) } == #"{"push":{"message":{"data":1}}}"#)
        #expect(
            encoded { PushEncoder.appendGap(channel: room, epoch: 16, first: 3, last: 9, reason: "trimmed", to: &$0) }
                == #"{"push":{"channel":"r","gap":{"epoch":"10","from":3,"to":9,"reason":"trimmed"}}}"#
        )
        #expect(
            encoded { PushEncoder.appendDropped(channel: room, count: 4, reason: "slow", to: &$0) }
                == #"{"push":{"channel":"r","dropped":{"count":4,"reason":"slow"}}}"#
        )
    }

    @Test("GW-16 codes are complete, unique, and decide on reconnecting by range")
    func codes() {
        #expect(ClientError.all.map(\.code) == Array(100...113))
        #expect(ClientError.all.filter(\.isTemporary).map(\.code) == [100, 111, 113])
        #expect(UnsubscribeCode.all.map(\.code) == [2000, 2500, 2501, 2502])
        #expect(UnsubscribeCode.all.filter { !$0.resubscribes }.map(\.code) == [2000])
        #expect(
            Disconnect.all.map(\.code)
                == [3000, 3001, 3004, 3005, 3006, 3008, 3009, 3010, 3011, 3012, 3013, 3014] + Array(3500...3509)
        )
        #expect(Disconnect.all.filter { !$0.reconnects }.map(\.code) == Array(3500...3509))
        #expect(Disconnect(code: 4000, reason: "").reconnects && !Disconnect(code: 4500, reason: "").reconnects)
        #expect(!Disconnect(code: 1009, reason: "").reconnects && Disconnect(code: 1006, reason: "").reconnects)
        #expect(Disconnect.all.allSatisfy { $0.reason.utf8.count <= 123 })
    }
}
