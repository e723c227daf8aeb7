import Primitives
import Testing

@testable import ClientProtocol

@Suite("Client commands (Centrifugo protocol v2)")
struct ClientFrameDecoderTests {
    @Test("connect with everything")
    func connect() throws {
        let command = try decodeOne(
            #"{"connect":{"token":"t.o.k","data":{"a": 1},"name":"js","version":"5.0","#
                + #""subs":{"r1":{"recover":true,"epoch":"ff","offset":7},"r2":{}},"headers":{"X-A":"b"}},"id":1}"#
        )
        #expect(command.id == 1)
        guard case .connect(let connect) = command.method else {
            Issue.record("\(command)")
            return
        }
        #expect(string(connect.token) == "t.o.k")
        #expect(string(connect.data) == #"{"a": 1}"#)
        #expect(string(connect.name) == "js" && string(connect.version) == "5.0")
        #expect(connect.subscriptions.map { string($0.channel) } == ["r1", "r2"])
        #expect(connect.subscriptions[0].recover)
        #expect(connect.subscriptions[0].position == StreamPosition(offset: 7, epoch: .epoch(255)))
        #expect(connect.headers == [.init(name: slice("X-A"), value: slice("b"))])
        #expect(try decodeOne(#"{"id":1,"connect":{}}"#).method == .connect(ConnectRequest()))
    }

    @Test("subscribe, and our acknowledgement extension")
    func subscribe() throws {
        let command = try decodeOne(
            #"{"id":2,"subscribe":{"channel":"gov:a","token":"x","recover":true,"epoch":"zz","offset":5,"#
                + #""positioned":true,"recoverable":true,"join_leave":true,"data":[1],"ack":{"cursor":"c1","#
                + #""window":50}}}"#
        )
        var expected = SubscribeRequest()
        expected.channel = slice("gov:a")
        expected.token = slice("x")
        expected.recover = true
        expected.position = StreamPosition(offset: 5, epoch: .foreign)
        expected.positioned = true
        expected.recoverable = true
        expected.joinLeave = true
        expected.data = slice("[1]")
        expected.acknowledgement = AcknowledgementRequest(cursor: slice("c1"), window: 50)
        #expect(command == ClientCommand(id: 2, method: .subscribe(expected)))
        guard
            case .subscribe(let plain) = try decodeOne(#"{"id":2,"subscribe":{"channel":"a","ack":null,"epoch":""}}"#)
                .method
        else { throw JSONError(.unexpectedEnd, at: 0) }
        #expect(plain.acknowledgement == nil && plain.position.epoch == .none)
    }

    @Test("members that change the meaning are reported, empty ones are not")
    func unsupported() throws {
        func names(_ members: String) throws -> [String] {
            guard
                case .subscribe(let request) = try decodeOne("{\"id\":1,\"subscribe\":{\"channel\":\"a\",\(members)}}")
                    .method
            else { return ["?"] }
            return request.unsupported.map(\.description)
        }
        #expect(try names(#""delta":"fossil","tf":{"op":"eq"},"type":1,"flag":2"#) == ["delta", "tf", "type", "flag"])
        #expect(try names(#""delta":"","tf":null,"type":0,"tf2":1,"flag":0"#) == [])
        // Stock SDKs offer channel compaction in every subscribe.
        #expect(try names(#""flag":1"#) == [])
        #expect(try names(#""flag":3"#) == ["flag"])
        guard
            case .publish(let publish) = try decodeOne(#"{"id":1,"publish":{"channel":"a","data":1,"delta":true}}"#)
                .method
        else { throw JSONError(.unexpectedEnd, at: 0) }
        #expect(publish.unsupported.map(\.description) == ["delta"])
    }

    @Test("DL-08 publish with our extensions; data stays as it was written")
    func publish() throws {
        let data = #"{ "k" : [1e5, "\u0041\/", null] }"#
        let command = try decodeOne(
            "{\"id\":3,\"publish\":{\"channel\":\"r\\u006fom\",\"data\":\(data),\"idempotency_key\":\"k1\","
                + "\"producer\":{\"id\":\"p\",\"epoch\":2,\"seq\":9},\"ttl_ms\":1500,\"tags\":{\"a\": \"b\"}}}"
        )
        var expected = PublishRequest()
        expected.channel = slice("room")
        expected.data = slice(data)
        expected.idempotencyKey = slice("k1")
        expected.producer = ProducerField(id: slice("p"), epoch: 2, sequence: 9)
        expected.timeToLive = 1500
        expected.tags = slice(#"{"a": "b"}"#)
        #expect(command == ClientCommand(id: 3, method: .publish(expected)))

        guard case .publish(let binary) = try decodeOne(#"{"id":3,"publish":{"channel":"r","b64data":"AP8="}}"#).method
        else { throw JSONError(.unexpectedEnd, at: 0) }
        #expect(binary.isBinary && Array(binary.data) == [0x00, 0xFF])
    }

    @Test("the other methods")
    func others() throws {
        #expect(try decodeOne("{}") == ClientCommand(id: 0, method: .pong))
        #expect(try decodeOne(#"{"id":1,"unsubscribe":{"channel":"a"}}"#).method == .unsubscribe(channel: slice("a")))
        #expect(try decodeOne(#"{"id":1,"presence":{"channel":"a"}}"#).method == .presence(channel: slice("a")))
        #expect(
            try decodeOne(#"{"id":1,"presence_stats":{"channel":"a"}}"#).method == .presenceStats(channel: slice("a"))
        )
        #expect(
            try decodeOne(#"{"id":1,"rpc":{"method":"m","data":{}}}"#).method
                == .rpc(method: slice("m"), data: slice("{}"))
        )
        #expect(try decodeOne(#"{"send":{"data":"x"}}"#) == ClientCommand(id: 0, method: .send(data: slice("\"x\""))))
        #expect(try decodeOne(#"{"id":1,"refresh":{"token":"t"}}"#).method == .refresh(token: slice("t")))
        #expect(
            try decodeOne(#"{"id":1,"sub_refresh":{"channel":"a","token":"t"}}"#).method
                == .subRefresh(channel: slice("a"), token: slice("t"))
        )
        #expect(try decodeOne(#"{"id":1,"ping":{}}"#).method == .ping)
        #expect(
            try decodeOne(#"{"id":4294967295,"ack":{"channel":"a","offset":12,"epoch":"1f"}}"#)
                == ClientCommand(
                    id: .max,
                    method: .acknowledge(channel: slice("a"), position: StreamPosition(offset: 12, epoch: .epoch(31)))
                )
        )
        var history = HistoryRequest()
        history.channel = slice("a")
        #expect(try decodeOne(#"{"id":1,"history":{"channel":"a"}}"#).method == .history(history))
        history.limit = nil
        history.reverse = true
        history.since = StreamPosition(offset: 3, epoch: .epoch(1))
        #expect(
            try decodeOne(
                #"{"id":1,"history":{"channel":"a","limit":-1,"reverse":true,"since":{"offset":3,"epoch":"1"}}}"#
            ).method
                == .history(history)
        )
    }

    @Test("a frame carries commands separated by line feeds")
    func batches() throws {
        let commands = try decode("{\"id\":1,\"ping\":{}}\n{}\n\n{\"id\":2,\"ping\":{}}\n")
        #expect(commands.map(\.id) == [1, 0, 2])
        #expect(try decode("{\n\"id\":1,\r\n\"ping\":{}\n}").count == 1)
        #expect(throws: ClientFrameError.empty) { try decode("") }
        #expect(throws: ClientFrameError.empty) { try decode(" \n ") }
        #expect(throws: ClientFrameError.missingSeparator(at: 2)) { try decode("{}{}") }
        #expect(throws: ClientFrameError.missingSeparator(at: 3)) { try decode("{} {}") }
        var limits = ClientProtocolLimits()
        limits.commands = 2
        #expect(try decode("{}\n{}", limits: limits).count == 2)
        #expect(throws: ClientFrameError.tooManyCommands(limit: 2)) { try decode("{}\n{}\n{}", limits: limits) }
    }

    @Test(
        "SE-07 what ends the connection: broken JSON, other JSON, commands nobody can answer",
        arguments: [
            "{", "{\"id\":1,}", "x", "{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":{]}}",
            "{\"id\":1,\"rpc\":{\"data\":\"\u{1}\"}}",
            "[]", "1", "null", "\"x\"",
            "{\"publish\":{\"channel\":\"a\",\"data\":1}}", "{\"id\":0,\"ping\":{}}", "{\"foo\":1}",
            "{\"id\":null,\"ping\":{}}",
            "{\"id\":-1,\"ping\":{}}", "{\"id\":4294967296,\"ping\":{}}", "{\"id\":\"1\",\"ping\":{}}",
            "{\"id\":1,\"id\":2,\"ping\":{}}", "{\"id\":1,\"ping\":{},\"ping\":{}}", "{\"id\":1,\"i\\u0064\":2}",
            "{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":1,\"channel\":\"b\"}}",
            "{\"id\":1,\"connect\":{\"subs\":{\"a\":{},\"a\":{}}}}",
        ]
    )
    func fatal(text: String) {
        #expect(throws: ClientFrameError.self) { try decode(text) }
    }

    @Test("SE-07 what is answered with an error: unknown methods (104), wrong shapes (107)")
    func badRequests() throws {
        #expect(try decodeOne(#"{"id":1}"#).method == .invalid(.methodNotFound))
        #expect(try decodeOne(#"{"id":1,"dance":{}}"#).method == .invalid(.methodNotFound))
        #expect(try decodeOne(#"{"id":1,"ping":null}"#).method == .invalid(.methodNotFound))
        #expect(try decodeOne(#"{"send":1}"#) == ClientCommand(id: 0, method: .invalid(.badRequest)))
        let longName = String(repeating: "n", count: 256)
        for body in [
            #""publish":{}"#, #""publish":{"channel":"a"}"#, #""publish":{"data":1}"#, #""publish":[]"#,
            #""publish":1"#,
            #""publish":{"channel":1,"data":1}"#, #""publish":{"channel":"","data":1}"#,
            #""publish":{"channel":"a","data":1,"b64data":"AA=="}"#, #""publish":{"channel":"a","b64data":"A"}"#,
            #""publish":{"channel":"a","data":1,"ttl_ms":-1}"#, #""publish":{"channel":"a","data":1,"ttl_ms":1.5}"#,
            #""publish":{"channel":"a","data":1,"tags":{"a":1}}"#, #""publish":{"channel":"a","data":1,"tags":[]}"#,
            #""publish":{"channel":"a","data":1,"producer":{}}"#,
            #""publish":{"channel":"a","data":1,"producer":{"id":"p","epoch":1}}"#,
            #""publish":{"channel":"a","data":1,"producer":{"id":"","epoch":1,"seq":1}}"#,
            #""publish":{"channel":"a\nb","data":1}"#, #""publish":{"channel":"a\u0000","data":1}"#,
            #""publish":{"channel":"\u007f","data":1}"#, "\"publish\":{\"channel\":\"\(longName)\",\"data\":1}",
            "\"publish\":{\"channel\":\"a\",\"data\":1,\"idempotency_key\":\"\(longName)\"}",
            #""subscribe":{}"#, #""subscribe":{"channel":"a","recover":1}"#,
            #""subscribe":{"channel":"a","offset":"1"}"#,
            #""subscribe":{"channel":"a","ack":true}"#, #""subscribe":{"channel":"a","ack":{"window":-1}}"#,
            #""subscribe":{"channel":"a","epoch":1}"#,
            #""unsubscribe":{}"#, #""presence":{"channel":null}"#, #""history":{}"#,
            #""history":{"channel":"a","limit":"1"}"#,
            #""history":{"channel":"a","since":1}"#, #""connect":{"token":1}"#, #""connect":{"subs":[]}"#,
            #""connect":{"subs":{"":{}}}"#, #""connect":{"headers":{"a":1}}"#, #""ack":{"channel":"a"}"#,
            #""ack":{"channel":"a","offset":1}"#, #""ack":{"offset":1,"epoch":"1"}"#, #""sub_refresh":{"token":"t"}"#,
            #""rpc":{"method":1}"#, #""ping":{},"refresh":{"token":"t"}"#, #""ping":[]"#,
        ] {
            let command = try decodeOne("{\"id\":9,\(body)}")
            #expect(command == ClientCommand(id: 9, method: .invalid(.badRequest)), "\(body)")
        }
        // A bad command does not spoil the next one.
        let both = try decode("{\"id\":1,\"publish\":{}}\n{\"id\":2,\"ping\":{}}")
        #expect(both.map(\.method) == [.invalid(.badRequest), .ping])
    }

    @Test("SE-07 connect entries and members are bounded")
    func bounds() throws {
        let limit = ClientProtocolLimits().connectEntries
        func connect(_ count: Int) throws -> ClientCommand.Method {
            let subs = (0..<count).map { "\"r\($0)\":{}" }.joined(separator: ",")
            return try decodeOne("{\"id\":1,\"connect\":{\"subs\":{\(subs)}}}").method
        }
        guard case .connect(let request) = try connect(limit) else {
            Issue.record("refused")
            return
        }
        #expect(request.subscriptions.count == limit)
        #expect(try connect(limit + 1) == .invalid(.badRequest))
        let many = (0..<600).map { "\"m\($0)\":0" }.joined(separator: ",")
        #expect(throws: ClientFrameError.self) { try decode("{\"id\":1,\(many)}") }
        let deep = String(repeating: "[", count: 70) + String(repeating: "]", count: 70)
        #expect(throws: ClientFrameError.self) { try decode("{\"id\":1,\"rpc\":{\"data\":\(deep)}}") }
    }

    @Test("SE-07 a frame cut anywhere is refused, and mutated frames never trap")
    func fuzz() {
        let seed =
            #"{"id":1,"connect":{"token":"t","subs":{"a":{"recover":true,"epoch":"ff","offset":1}},"#
            + #""headers":{"a":"b"}}}"#
            + "\n" + #"{"id":2,"subscribe":{"channel":"c\u00e9","ack":{"cursor":"x","window":3},"delta":""}}"#
            + "\n"
            + #"{"id":3,"publish":{"channel":"a","data":{"x":[1]},"tags":{"a":"b"},"producer":{"id":"p","#
            + #""epoch":1,"seq":2}}}"#
        let bytes = ascii(seed)
        let lineEnds = bytes.indices.filter { bytes[$0] == 0x0A }
        for cut in 1..<bytes.count {
            let isWhole = lineEnds.contains(cut) || lineEnds.contains(cut - 1)
            let refused = (try? decode(string(bytes[..<cut]))) == nil
            #expect(refused != isWhole, "cut at \(cut)")
        }
        let interesting = ascii("{}[]\",:\\u0-e.\n abcid") + [0, 0x7F, 0x80, 0xFF]
        var random = Xoshiro256(seed: 23)
        var decoded = 0
        for _ in 0..<20_000 {
            var mutant = bytes
            for _ in 0...random.below(3) {
                let index = Int(random.below(UInt64(mutant.count)))
                switch random.below(3) {
                case 0: mutant[index] = interesting[Int(random.below(UInt64(interesting.count)))]
                case 1: mutant.remove(at: index)
                default: mutant.insert(interesting[Int(random.below(UInt64(interesting.count)))], at: index)
                }
            }
            var decoder = ClientFrameDecoder(mutant)
            while let command = try? decoder.next() {
                decoded += 1
                if case .publish(let publish) = command.method {
                    #expect(FieldReader.isChannel(publish.channel, limit: 255))
                    if !publish.isBinary { #expect(throws: Never.self) { try validate(Array(publish.data)) } }
                }
            }
        }
        #expect(decoded > 1000)
    }
}
