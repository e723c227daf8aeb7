import Broker
import LocalRESP
import OwnThread
import Primitives
import RESPServer
import Rooms
import Testing

@Suite("RESP connections", .ownThread)
struct ConnectionTests {
    // MARK: RS-01

    @Test("RS-01 Inline commands, pipelines and commands in pieces are answered in order")
    func framing() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        client.raw("PING\r\n\r\nSET \"a b\" 'c d'\nGET \"a b\"\r\n*0\r\n*-3\r\n")
        #expect(client.reply() == "PONG")
        #expect(client.reply() == "OK")
        #expect(client.reply() == "c d")
        for byte in RESPClient.encoded([Array("echo".utf8), [0, 13, 10, 255]]) { client.raw([byte]) }
        client.raw("PING\r\n")
        #expect(client.reply() == String(decoding: [0, 13, 10, 255], as: UTF8.self))
        #expect(client.reply() == "PONG")
        await server.stop()
    }

    @Test("RS-01 A long pipeline is answered once per command, in order, over several units")
    func pipeline() async throws {
        var settings = RESPSettings()
        settings.unitCommands = 100
        let server = try await LocalRESPServer.start(settings: settings)
        let client = try RESPClient(server)
        var bytes: [UInt8] = []
        for number in 0..<5000 {
            bytes += RESPClient.encoded([Array("set".utf8), Array("k\(number)".utf8), Array("\(number)".utf8)])
            bytes += RESPClient.encoded([Array("get".utf8), Array("k\(number)".utf8)])
            if number % 500 == 0 { bytes += RESPClient.encoded([Array("echo".utf8), Array("e\(number)".utf8)]) }
        }
        client.raw(bytes)
        for number in 0..<5000 {
            #expect(client.reply() == "OK")
            #expect(client.reply() == "\(number)")
            if number % 500 == 0 { #expect(client.reply() == "e\(number)") }
        }
        let units = try await server.onLoop { _, edge in edge.metrics.units }
        #expect(units >= 100)
        await server.stop()
    }

    @Test(
        "RS-01 Input that is no RESP is answered with Redis's error and closed",
        arguments: [
            ("*3000000000\r\n", "-ERR Protocol error: invalid multibulk length"),
            ("*1\r\nfoo\r\n", "-ERR Protocol error: expected '$', got 'f'"),
            ("*1\r\n$-10\r\n", "-ERR Protocol error: invalid bulk length"),
            ("set \"x\"y z\r\n", "-ERR Protocol error: unbalanced quotes in request"),
            ("POST / HTTP/1.1\r\n", "end"),
        ]
    )
    func protocolErrors(input: String, answer: String) async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        client.raw("PING\r\n" + input + "PING\r\n")
        #expect(client.reply() == "PONG")
        #expect(client.reply() == answer)
        #expect(client.reply() == "end")
        await server.stop()
    }

    // MARK: RS-02

    @Test("RS-02 HELLO chooses the protocol and says what Redis says")
    func hello() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        #expect(client("HELLO 4") == "-NOPROTO unsupported protocol version")
        #expect(client("HELLO x") == "-ERR Protocol version is not an integer or out of range")
        let first = client("HELLO 2 SETNAME me")
        #expect(first.hasPrefix("[server redis version 7.2.4 proto :2 id :"))
        #expect(client("HELLO 3").hasSuffix("mode standalone role master modules []}"))
        #expect(client("CLIENT GETNAME") == "me")
        #expect(client("GET nothing") == "nil")
        #expect(client("HELLO 3 NONSENSE") == "-ERR Syntax error in HELLO option 'NONSENSE'")
        #expect(client("RESET") == "RESET")
        #expect(client("CLIENT GETNAME") == "nil")
        #expect(client("CONFIG GET timeout") == "[timeout 0]")
        await server.stop()
    }

    @Test("RS-02 With a password nothing but AUTH and HELLO goes, and arguments are few and short")
    func password() async throws {
        var settings = RESPSettings()
        settings.password = Array("secret".utf8)
        let server = try await LocalRESPServer.start(settings: settings)
        let client = try RESPClient(server)
        #expect(client("PING") == "-NOAUTH Authentication required.")
        #expect(client("HELLO 3").hasPrefix("-NOAUTH HELLO must be called with the client already authenticated"))
        #expect(client("AUTH wrong") == "-WRONGPASS invalid username-password pair or user is disabled.")
        // In a pipeline each command has its one reply, whatever fails.
        client.raw(RESPClient.encoded([Array("AUTH".utf8), Array("no".utf8)]))
        client.raw("PING\r\nHELLO 3 AUTH default secret\r\nPING\r\n")
        #expect(client.reply().hasPrefix("-WRONGPASS"))
        #expect(client.reply().hasPrefix("-NOAUTH"))
        #expect(client.reply().hasPrefix("{server redis"))
        #expect(client.reply() == "PONG")
        let stranger = try RESPClient(server)
        stranger.raw("*11\r\n")
        #expect(stranger.reply() == "-ERR Protocol error: unauthenticated multibulk length")
        let other = try RESPClient(server)
        other.raw("*2\r\n$4\r\nAUTH\r\n$16385\r\n")
        #expect(other.reply() == "-ERR Protocol error: unauthenticated bulk length")
        #expect(other.reply() == "end")
        await server.stop()
    }

    @Test("RS-02 CLIENT: names, list, info, kill, ids unique and rising")
    func clients() async throws {
        let server = try await LocalRESPServer.start()
        let (a, b) = (try RESPClient(server), try RESPClient(server))
        let first = Int(a("CLIENT ID").dropFirst()) ?? 0
        let second = Int(b("CLIENT ID").dropFirst()) ?? 0
        #expect(second > first)
        #expect(
            a.call([Array("client".utf8), Array("setname".utf8), Array("a b".utf8)]).hasPrefix("-ERR Client names")
        )
        #expect(a("client SETNAME one") == "OK")
        #expect(a("CLIENT SETINFO lib-name redis-py") == "OK")
        #expect(a("CLIENT INFO").contains("name=one "))
        #expect(a("CLIENT LIST").contains("lib-name=redis-py"))
        #expect(b("CLIENT LIST TYPE pubsub") == "")
        #expect(b("CLIENT KILL ID \(first)") == ":1")
        #expect(a.reply() == "end")
        #expect(b("CLIENT KILL 1.2.3.4:5") == "-ERR No such client")
        #expect(b("CLIENT NOPE") == "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP.")
        #expect(b("CLIENT KILL") == "-ERR wrong number of arguments for 'client|kill' command")
        b.raw(
            "CLIENT REPLY OFF\r\nPING\r\nSET x 1\r\nCLIENT REPLY ON\r\nGET x\r\nCLIENT REPLY SKIP\r\nGET x\r\nPING\r\n"
        )
        #expect(b.reply() == "OK")
        #expect(b.reply() == "1")
        #expect(b.reply() == "PONG")
        await server.stop()
    }

    @Test("RS-02 CLIENT PAUSE WRITE holds writes back and lets reads go")
    func pause() async throws {
        let server = try await LocalRESPServer.start()
        let (a, b) = (try RESPClient(server), try RESPClient(server))
        #expect(a("CLIENT PAUSE 60000 WRITE") == "OK")
        #expect(b("GET x") == "nil")
        b.send("SET x 1")
        while field(a("INFO clients"), "blocked_clients") != "1" {}
        #expect(b.isSilent)
        #expect(a("CLIENT UNPAUSE") == "OK")
        #expect(b.reply() == "OK")
        await server.stop()
    }

    @Test("RS-02 QUIT answers and closes; what follows is not done")
    func quit() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        client.raw("SET a 1\r\nQUIT\r\nSET a 2\r\n")
        #expect(client.reply() == "OK")
        #expect(client.reply() == "OK")
        #expect(client.reply() == "end")
        #expect(try RESPClient(server)("GET a") == "1")
        await server.stop()
    }

    @Test("RS-02 Above maxclients a connection is refused with Redis's words; a place that is freed is used again")
    func maxClients() async throws {
        var settings = RESPSettings()
        settings.maxClients = 2
        let server = try await LocalRESPServer.start(settings: settings)
        let first = try RESPClient(server)
        #expect(first("PING") == "PONG")
        do {
            let second = try RESPClient(server)
            #expect(second("PING") == "PONG")
            #expect(try RESPClient(server).reply() == "-ERR max number of clients reached")
            #expect(second("QUIT") == "OK")
            #expect(second.reply() == "end")
        }
        while field(first("INFO clients"), "connected_clients") != "1" {}
        #expect(try RESPClient(server)("PING") == "PONG")
        await server.stop()
    }

    // MARK: RS-08, RS-09, RS-10

    @Test("RS-08 INFO has the fields that clients and the exporter parse, by section")
    func info() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        _ = client("SET a 1")
        _ = client("GET a")
        _ = client("GET b")
        _ = client("LPUSH a 1")
        let all = client("INFO all")
        for name in [
            "redis_version", "vencejo_version", "redis_mode", "run_id", "arch_bits", "tcp_port", "uptime_in_seconds",
            "process_id", "connected_clients", "blocked_clients", "maxclients", "used_memory", "used_memory_human",
            "used_memory_rss", "used_memory_peak", "maxmemory", "maxmemory_policy", "mem_fragmentation_ratio",
            "loading",
            "rdb_last_save_time", "rdb_last_bgsave_status", "aof_enabled", "aof_last_write_status",
            "total_connections_received", "total_commands_processed", "instantaneous_ops_per_sec",
            "total_net_input_bytes", "total_net_output_bytes", "rejected_connections", "expired_keys", "evicted_keys",
            "keyspace_hits", "keyspace_misses", "pubsub_channels", "pubsub_patterns", "pubsubshard_channels",
            "latest_fork_usec", "total_error_replies", "role", "connected_slaves", "master_repl_offset",
            "repl_backlog_size", "used_cpu_sys", "used_cpu_user", "cluster_enabled", "cmdstat_get",
            "latency_percentiles_usec_get", "errorstat_WRONGTYPE", "db0",
        ] { #expect(field(all, name) != nil, "\(name)") }
        #expect(field(all, "keyspace_hits") == "1")
        #expect(field(all, "keyspace_misses") == "1")
        #expect(field(all, "db0") == "keys=1,expires=0,avg_ttl=0")
        #expect(field(all, "cmdstat_lpush")?.contains("failed_calls=1") == true)
        #expect(field(client("INFO"), "cmdstat_get") == nil)
        #expect(client("INFO CPU").hasPrefix("# CPU"))
        #expect(client("CONFIG RESETSTAT") == "OK")
        #expect(field(client("INFO stats"), "keyspace_hits") == "0")
        await server.stop()
    }

    @Test("RS-09 CA-13 RB-07 the runbook's words act: CONFIG SET maxmemory, its policy, INFO memory")
    func memory() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        let info = client("INFO memory")
        #expect(field(info, "maxmemory_policy") == "noeviction")
        #expect(field(info, "maxmemory") == "0")
        // As programs do that look for room: so much above what is used now.
        let used = try #require(field(info, "used_memory").flatMap { Int($0) })
        #expect(client("CONFIG SET maxmemory \(used + 100 * 1024)") == "OK")
        var count = 0
        while count < 10_000, client("SET key\(count) value") == "OK" { count += 1 }
        #expect(count > 100 && count < 10_000)
        #expect(client("SET one more") == "-OOM command not allowed when used memory > 'maxmemory'.")
        let full = try #require(field(client("INFO memory"), "used_memory").flatMap { Int($0) })
        #expect(full > used + 100 * 1024 && full < used + 101 * 1024)
        #expect(client("GET key0") == "value")
        #expect(client("MULTI") == "OK")
        #expect(client("SET one more") == "QUEUED")
        #expect(client("EXEC").hasPrefix("-EXECABORT Transaction discarded because of: OOM"))
        #expect(client("CONFIG SET maxmemory-policy allkeys-lru") == "OK")
        for number in 0..<count { #expect(client("SET other\(number) value") == "OK") }
        let after = try #require(field(client("INFO memory"), "used_memory").flatMap { Int($0) })
        #expect(after < used + 101 * 1024)
        let evicted = try #require(field(client("INFO stats"), "evicted_keys").flatMap { Int($0) })
        #expect(evicted >= count)
        #expect(client("DBSIZE") == ":\(2 * count - evicted)")
        await server.stop()
    }

    @Test("RS-09 CONFIG: patterns, several at once, all or none, sizes, and it acts")
    func config() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        #expect(client("CONFIG SET maxmemory 1gb maxmemory-policy allkeys-lru") == "OK")
        #expect(
            client("CONFIG GET maxmemory maxmemory-policy") == "[maxmemory-policy allkeys-lru maxmemory 1073741824]"
        )
        #expect(client("CONFIG SET maxmemory-policy allkeys-lfu").contains("must be one of the following"))
        #expect(client("CONFIG SET maxclients 77 hash-max-listpack-entries nope").hasPrefix("-ERR CONFIG SET failed"))
        #expect(client("CONFIG GET maxclients") == "[maxclients 10000]")
        #expect(client("CONFIG SET nope 1") == "-ERR Unknown option or number of arguments for CONFIG SET - 'nope'")
        #expect(client("CONFIG SET port 1").contains("can't set immutable config"))
        #expect(client("CONFIG GET nothing-such") == "[]")
        for pair in [
            "appendonly yes", "appendfsync everysec", "slowlog-log-slower-than 5", "timeout 100", "lua-time-limit 10",
        ] {
            #expect(client("CONFIG SET \(pair)") == "OK")
            #expect(client("CONFIG GET \(pair.split(separator: " ")[0])") == "[\(pair)]")
        }
        #expect(client("CONFIG SET client-output-buffer-limit pubsub").hasPrefix("-ERR"))
        #expect(
            client.call([
                Array("config".utf8), Array("set".utf8), Array("client-output-buffer-limit".utf8),
                Array("pubsub 1mb 0 0".utf8),
            ]) == "OK"
        )
        #expect(client("CONFIG GET client-output-buffer-limit").contains("pubsub 1048576 0 0"))
        #expect(client("CONFIG SET list-max-ziplist-size 5") == "OK")
        #expect(client("CONFIG GET list-max-listpack-size") == "[list-max-listpack-size 5]")
        await server.stop()
    }

    @Test("RS-10 SLOWLOG lists a slow command, in its bound")
    func slowlog() async throws {
        var settings = RESPSettings()
        settings.slowerThan = 0
        settings.slowlogLength = 3
        let server = try await LocalRESPServer.start(settings: settings)
        let client = try RESPClient(server)
        for number in 0..<5 { _ = client("SET k\(number) v") }
        #expect(client("SLOWLOG LEN") == ":3")
        let listed = client("SLOWLOG GET 10")
        #expect(listed.contains("[SET k4 v]"))
        #expect(!listed.contains("[SET k0 v]"))
        #expect(client("CONFIG SET slowlog-log-slower-than -1") == "OK")
        #expect(client("SLOWLOG RESET") == "OK")
        #expect(client("SLOWLOG LEN") == ":0")
        await server.stop()
    }

    // MARK: RS-13

    @Test("RS-13 BLPOP blocks its own connection alone, is counted, and leaves nothing behind when it goes")
    func blocking() async throws {
        let server = try await LocalRESPServer.start()
        let (a, b) = (try RESPClient(server), try RESPClient(server))
        a.raw("BLPOP q 0\r\nPING\r\n")
        while field(b("INFO clients"), "blocked_clients") != "1" {}
        #expect(a.isSilent)
        #expect(b("PING") == "PONG")
        #expect(b("RPUSH q one") == ":1")
        #expect(a.reply() == "[q one]")
        #expect(a.reply() == "PONG")
        #expect(a("BLPOP q 0.05") == "nil")
        do {
            let gone = try RESPClient(server)
            gone.send("BLPOP q 0")
            while field(b("INFO clients"), "blocked_clients") != "1" {}
        }
        while field(b("INFO clients"), "blocked_clients") != "0" {}
        #expect(try await server.onLoop { broker, _ in broker.waiterCount } == 0)
        #expect(b("RPUSH q two") == ":1")
        #expect(b("LLEN q") == ":1")
        await server.stop()
    }

    @Test("RS-13 CLIENT UNBLOCK ends a wait by time-out or error")
    func unblock() async throws {
        let server = try await LocalRESPServer.start()
        let (a, b) = (try RESPClient(server), try RESPClient(server))
        let id = a("CLIENT ID").dropFirst()
        for (reason, answer) in [("TIMEOUT", "nil"), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK")] {
            a.send("BLPOP q 0")
            while field(b("INFO clients"), "blocked_clients") != "1" {}
            #expect(b("CLIENT UNBLOCK \(id) \(reason)") == ":1")
            #expect(a.reply() == answer)
        }
        #expect(b("CLIENT UNBLOCK \(id)") == ":0")
        await server.stop()
    }

    @Test("RS-13 CLIENT UNBLOCK reaches a wait that counts as blocked and is still on its way to the owner")
    func unblockEarly() async throws {
        let server = try await LocalRESPServer.start()
        let (a, b, c) = (try RESPClient(server), try RESPClient(server), try RESPClient(server))
        let id = a("CLIENT ID").dropFirst()
        try await server.onLoop { broker, _ in broker.isHolding = true }
        a.send("BLPOP q 0")
        while try await server.onLoop({ _, edge in edge.metrics.blocked }) < 1 {}
        b.send("CLIENT UNBLOCK \(id)")
        #expect(c("PING") == "PONG")
        #expect(c("PING") == "PONG", "the loop has read b's command, too")
        try await server.onLoop { broker, _ in broker.release() }
        #expect(b.reply() == ":1")
        #expect(a.reply() == "nil")
        await server.stop()
    }

    // MARK: Outcomes

    @Test(
        "RS-15 A write that was certainly not done is answered TRYAGAIN; one of unknown outcome closes the connection"
    )
    func outcomes() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        try await server.onLoop { broker, _ in broker.failure = .noQuorum }
        client.raw("SET a 1\r\nSET b 1\r\nPING\r\n")
        #expect(client.reply().hasPrefix("-TRYAGAIN"))
        #expect(client.reply().hasPrefix("-TRYAGAIN"))
        #expect(client.reply() == "PONG")
        // INFO answers without the keys.
        #expect(field(client("INFO"), "loading") == "0")
        try await server.onLoop { broker, _ in broker.failure = .timeout }
        client.send("SET a 1")
        #expect(client.reply() == "end")
        #expect(try await server.onLoop { _, edge in edge.metrics.unknownOutcomes } == 1)
        await server.stop()
    }

    @Test("RS-01 While a unit is under way nothing further of its connection is done")
    func oneUnit() async throws {
        let server = try await LocalRESPServer.start()
        let (a, b) = (try RESPClient(server), try RESPClient(server))
        try await server.onLoop { broker, _ in broker.isHolding = true }
        a.send("SET a 1")
        while try await server.onLoop({ _, edge in edge.metrics.units }) < 1 {}
        a.raw("SET a 2\r\nPUBLISH c x\r\nPING\r\n")
        #expect(b("PING") == "PONG")
        #expect(try await server.onLoop { _, edge in edge.metrics.units } == 1)
        #expect(a.isSilent)
        try await server.onLoop { broker, _ in broker.release() }
        for answer in ["OK", "OK", ":0", "PONG"] { #expect(a.reply() == answer) }
        await server.stop()
    }

    // MARK: RS-16, RS-23, RS-24

    @Test("RS-16 WAIT answers with the replicas in sync, at once or when its time is up")
    func wait() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        #expect(client("WAIT 1 20") == ":0")
        try await server.onLoop { broker, _ in broker.replicas = 2 }
        #expect(client("WAIT 2 0") == ":2")
        client.send("WAIT 3 0")
        try await server.onLoop { broker, _ in broker.replicas = 3 }
        #expect(client.reply() == ":3")
        #expect(client("MULTI") == "OK")
        #expect(client("WAIT 9 0") == "QUEUED")
        #expect(client("EXEC") == "[:3]")
        #expect(client("WAIT x 0") == "-ERR value is not an integer or out of range")
        await server.stop()
    }

    @Test("RS-23 Commands are counted by use")
    func uses() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        for _ in 0..<3 { _ = client("SET a 1") }
        for _ in 0..<2 { _ = client("PUBLISH a 1") }
        _ = client("PING")
        let counts = try await server.onLoop { _, edge in edge.metrics.commandsByUse }
        #expect(counts == [3, 2, 1])
        await server.stop()
    }

    @Test("RS-24 Unknown commands and bad arguments get Redis's errors and never cost the connection")
    func unknown() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        #expect(client("FOO bar baz") == "-ERR unknown command 'FOO', with args beginning with: 'bar' 'baz' ")
        #expect(client("GET") == "-ERR wrong number of arguments for 'get' command")
        #expect(client("EVAL x 0").hasPrefix("-ERR unknown command 'EVAL'"))
        #expect(client(".configure maxmemory 1").hasPrefix("-ERR unknown command"))
        #expect(client("DEBUG SLEEP 0").hasPrefix("-ERR unknown command 'DEBUG'"))
        #expect(client("READONLY") == "-ERR This instance has cluster support disabled")
        #expect(client("CLUSTER NODES") == "-ERR This instance has cluster support disabled")
        var chance = Xoshiro256(seed: 11)
        let words =
            RESPMetrics.commandNames.flatMap { $0.split(separator: "|").map(String.init) } + [
                "*", "0", "-1", "18446744073709551615", "nan", "", "LIST", "GET", "STREAMS", "BLOCK", "\u{0}\r\n",
                "{a}",
            ]
        // These end the connection, or are answered by other than one reply.
        let never = [
            "quit", "monitor", "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe",
            "reply", "kill", "pause", "hello",
        ]
        var asked = 0
        while asked < 3000 {
            let line = (0...chance.below(5)).map { _ in words[Int(chance.below(UInt64(words.count)))] }
            if line.contains(where: { never.contains($0) }) || line[0].hasPrefix("b") || line[0] == "wait" { continue }
            if line[0].hasPrefix("xread") { continue }
            client.send(line.map { Array($0.utf8) })
            asked += 1
            #expect(client.reply() != "end")
        }
        #expect(client("DISCARD") != "end")
        #expect(client("RESET") == "RESET")
        #expect(client("PING") == "PONG")
        await server.stop()
    }

    @Test("RS-02 COMMAND: every row has its facts, and they agree")
    func commandTable() async throws {
        let server = try await LocalRESPServer.start()
        let client = try RESPClient(server)
        #expect(
            client("COMMAND COUNT")
                == ":\(RESPMetrics.commandNames.filter { !$0.contains("|") && $0 != "sentinel" }.count)"
        )
        #expect(client("COMMAND INFO get nope").hasPrefix("[[get :2 [readonly fast] :1 :1 :1 [@read @string @fast] []"))
        #expect(client("COMMAND INFO get nope").hasSuffix(" nil]"))
        #expect(client("COMMAND GETKEYS mset a 1 b 2") == "[a b]")
        #expect(client("COMMAND GETKEYS xread COUNT 2 STREAMS a b 0 0") == "[a b]")
        #expect(client("COMMAND GETKEYS zunionstore t 2 a b") == "[t a b]")
        #expect(client("COMMAND GETKEYSANDFLAGS lmove a b left right") == "[[a [RW access delete]] [b [RW insert]]]")
        #expect(client("COMMAND GETKEYS ping x") == "-ERR The command has no key arguments")
        #expect(client("COMMAND LIST FILTERBY PATTERN cl*help") == "[client|help cluster|help]")
        #expect(client("COMMAND DOCS get").contains("summary"))
        await server.stop()
    }
}
