import Keys
import RESP

/// Commands that a connection's shard answers itself. Rows as in `CommandTable`; facts are redis-server 7.0's.
enum ServerCommands {
    static let table = """
        acl|-2||0 0 0|server|6.0.0|A container for Access List Control commands.
        asking|1|fast|0 0 0|cluster|3.0.0|Sent by cluster clients after an -ASK redirect.
        auth|-2|noscript loading stale fast no_auth allow_busy|0 0 0|connection|1.0.0|Authenticate to the server.
        bgrewriteaof|1|admin noscript|0 0 0|server|1.0.0|Asynchronously rewrite the append-only file.
        bgsave|-1|admin noscript|0 0 0|server|1.0.0|Asynchronously save the dataset to disk.
        client|-2||0 0 0|connection|2.4.0|A container for client connection commands.
        cluster|-2||0 0 0|cluster|3.0.0|A container for cluster commands.
        command|-1|loading stale|0 0 0|server|2.8.13|Get array of Redis command details.
        config|-2||0 0 0|server|2.0.0|A container for server configuration commands.
        discard|1|noscript loading stale fast allow_busy|0 0 0|transactions|2.0.0|Discard all commands issued \
        after MULTI.
        echo|2|loading stale fast|0 0 0|connection|1.0.0|Echo the given string.
        exec|1|noscript loading stale|0 0 0|transactions|1.2.0|Execute all commands issued after MULTI.
        function|-2||0 0 0|scripting|7.0.0|A container for function commands.
        hello|-1|noscript loading stale fast no_auth allow_busy|0 0 0|connection|6.0.0|Handshake with Redis.
        info|-1|loading stale|0 0 0|server|1.0.0|Get information and statistics about the server.
        lastsave|1|loading stale fast|0 0 0|server|1.0.0|Get the UNIX time stamp of the last successful save to disk.
        latency|-2||0 0 0|server|2.8.13|A container for latency diagnostics commands.
        lolwut|-1|readonly fast|0 0 0|server|5.0.0|Display some computer art and the Redis version.
        memory|-2||0 0 0|server|4.0.0|A container for memory diagnostics commands.
        monitor|1|admin noscript loading stale|0 0 0|server|1.0.0|Listen for all requests received by the server.
        multi|1|noscript loading stale fast allow_busy|0 0 0|transactions|1.2.0|Mark the start of a transaction block.
        ping|-1|fast|0 0 0|connection|1.0.0|Ping the server.
        psubscribe|-2|pubsub noscript loading stale|0 0 0|pubsub|2.0.0|Listen for messages published to channels \
        matching the given patterns.
        publish|3|pubsub loading stale fast|0 0 0|pubsub|2.0.0|Post a message to a channel.
        pubsub|-2||0 0 0|pubsub|2.8.0|A container for Pub/Sub commands.
        punsubscribe|-1|pubsub noscript loading stale|0 0 0|pubsub|2.0.0|Stop listening for messages posted to \
        channels matching the given patterns.
        quit|-1|noscript loading stale fast no_auth allow_busy|0 0 0|connection|1.0.0|Close the connection.
        readonly|1|loading stale fast|0 0 0|cluster|3.0.0|Enables read queries for a connection to a cluster \
        replica node.
        readwrite|1|loading stale fast|0 0 0|cluster|3.0.0|Disables read queries for a connection to a cluster \
        replica node.
        reset|1|noscript loading stale fast no_auth allow_busy|0 0 0|connection|6.2.0|Reset the connection.
        role|1|noscript loading stale fast|0 0 0|server|2.8.12|Return the role of the instance in the context of \
        replication.
        save|1|admin noscript no_multi|0 0 0|server|1.0.0|Synchronously save the dataset to disk.
        script|-2||0 0 0|scripting|2.6.0|A container for Lua scripts management commands.
        select|2|loading stale fast|0 0 0|connection|1.0.0|Change the selected database for the current connection.
        slowlog|-2||0 0 0|server|2.2.12|A container for slow log commands.
        spublish|3|pubsub loading stale fast|1 1 1|pubsub|7.0.0|Post a message to a shard channel.
        ssubscribe|-2|pubsub noscript loading stale|1 -1 1|pubsub|7.0.0|Listen for messages published to the given \
        shard channels.
        subscribe|-2|pubsub noscript loading stale|0 0 0|pubsub|2.0.0|Listen for messages published to the given \
        channels.
        sunsubscribe|-1|pubsub noscript loading stale|1 -1 1|pubsub|7.0.0|Stop listening for messages posted to the \
        given shard channels.
        time|1|loading stale fast|0 0 0|server|2.6.0|Return the current server time.
        unsubscribe|-1|pubsub noscript loading stale|0 0 0|pubsub|2.0.0|Stop listening for messages posted to the \
        given channels.
        unwatch|1|noscript loading stale fast allow_busy|0 0 0|transactions|2.2.0|Forget about all watched keys.
        wait|3|noscript|0 0 0|generic|3.0.0|Wait for the synchronous replication of all the write commands sent in \
        the context of the current connection.
        watch|-2|noscript loading stale fast allow_busy|1 -1 1|transactions|2.2.0|Watch the given keys to determine \
        execution of the MULTI/EXEC block.
        """

    /// On the Sentinel face only.
    static let sentinelTable = """
        sentinel|-2|admin|0 0 0|sentinel|2.8.4|A container for Sentinel commands.
        """

    /// Commands of Redis that this server does not have, and why: a clear answer beside "unknown command".
    static let refused: [String: String] = [
        "eval": "scripts do not run here; MULTI, EXEC and WATCH do",
        "evalsha": "scripts do not run here; MULTI, EXEC and WATCH do",
        "eval_ro": "scripts do not run here; MULTI, EXEC and WATCH do",
        "evalsha_ro": "scripts do not run here; MULTI, EXEC and WATCH do",
        "fcall": "functions do not run here; MULTI, EXEC and WATCH do",
        "fcall_ro": "functions do not run here; MULTI, EXEC and WATCH do",
        "shutdown": "a client cannot stop a node; stop its process",
        "replicaof": "replicas are made by the cluster's own placement",
        "slaveof": "replicas are made by the cluster's own placement",
        "failover": "use CLUSTER FAILOVER on the cluster face or SENTINEL FAILOVER on the Sentinel face",
        "sync": "the log is replicated by Raft, not by Redis's protocol",
        "psync": "the log is replicated by Raft, not by Redis's protocol",
        "replconf": "the log is replicated by Raft, not by Redis's protocol",
        "module": "there are no modules",
        "migrate": "keys do not move between instances one by one",
        "debug": "not for clients",
        "pfdebug": "not for clients",
        "pfselftest": "not for clients",
    ]

    /// Those of `refused` that Redis would not queue (flag `no_multi`).
    static let refusedInTransactions: Set<String> = ["psync", "shutdown", "sync"]

    typealias Handler = @Sendable (RESPConnection, [[UInt8]]) -> Void

    static let handlers: [String: Handler] = [
        "acl": { $0.acl($1) }, "asking": { connection, _ in connection.clusterOnly() },
        "auth": { $0.auth($1) }, "bgrewriteaof": { connection, _ in connection.backgroundRewrite() },
        "bgsave": { $0.backgroundSave($1) }, "client": { $0.client($1) }, "cluster": { $0.cluster($1) },
        "command": { $0.command($1) }, "config": { $0.config($1) },
        "discard": { connection, _ in connection.discard() },
        "echo": { $0.reply.bulk($1[1]) }, "exec": { connection, _ in connection.execute() },
        "function": { $0.flushOnly($1) }, "hello": { $0.hello($1) }, "info": { $0.info($1) },
        "lastsave": { connection, _ in connection.lastSave() }, "latency": { $0.latency($1) },
        "lolwut": { connection, _ in connection.lolwut() }, "memory": { $0.memory($1) },
        "monitor": { connection, _ in connection.monitor() }, "multi": { connection, _ in connection.multi() },
        "ping": { $0.ping($1) }, "psubscribe": { $0.subscribePatterns($1) }, "publish": { $0.publish($1) },
        "pubsub": { $0.pubsub($1) }, "punsubscribe": { $0.unsubscribePatterns($1) },
        "quit": { connection, _ in connection.quit() }, "readonly": { connection, _ in connection.clusterOnly() },
        "readwrite": { connection, _ in connection.clusterOnly() }, "reset": { connection, _ in connection.reset() },
        "role": { connection, _ in connection.role() }, "save": { connection, _ in connection.save() },
        "script": { $0.flushOnly($1) }, "select": { $0.select($1) }, "sentinel": { $0.sentinel($1) },
        "slowlog": { $0.slowlog($1) }, "spublish": { $0.publishSharded($1) },
        "ssubscribe": { $0.subscribe($1, .shard) }, "subscribe": { $0.subscribe($1, .channel) },
        "sunsubscribe": { $0.unsubscribe($1, .shard) }, "time": { connection, _ in connection.time() },
        "unsubscribe": { $0.unsubscribe($1, .channel) }, "unwatch": { connection, _ in connection.unwatch() },
        "wait": { $0.wait($1) }, "watch": { $0.watch($1) },
    ]
}

/// All commands with what runs them, by the place in the table.
final class ServerTable: Sendable {
    enum Executor: Sendable {
        /// A key partition.
        case keys
        case server(ServerCommands.Handler)
    }

    /// What is looked at for each command that comes: numbers alone, where `Command` has texts.
    struct Row: Sendable {
        var arity: Int
        var flags: Command.Flags
        var use: RESPMetrics.Use
        var traits: Traits = []

        /// The number of arguments fits.
        func accepts(argumentCount count: Int) -> Bool { arity >= 0 ? count == arity : count >= -arity }
    }

    struct Traits: OptionSet, Sendable {
        let rawValue: UInt16

        /// A key partition does it.
        static let keys = Traits(rawValue: 1 << 0)
        /// Has subcommands.
        static let container = Traits(rawValue: 1 << 1)
        /// MULTI does not queue it.
        static let immediate = Traits(rawValue: 1 << 2)
        static let publish = Traits(rawValue: 1 << 3)
        /// A RESP2 subscriber may send it.
        static let subscriber = Traits(rawValue: 1 << 4)
        static let onSentinel = Traits(rawValue: 1 << 5)
        static let offSentinel = Traits(rawValue: 1 << 6)
        /// CLIENT PAUSE WRITE holds it back.
        static let pausedAsWrite = Traits(rawValue: 1 << 7)
        /// CLIENT PAUSE never does.
        static let neverPaused = Traits(rawValue: 1 << 8)
        /// Blocks only when it says so.
        static let stream = Traits(rawValue: 1 << 9)
        /// Speaks of shard channels.
        static let sharded = Traits(rawValue: 1 << 10)
    }

    let table: CommandTable
    let rows: ContiguousArray<Row>
    let facts: [CommandFacts]
    let executors: [Executor]
    /// Rows of subcommands that have their own, by the container's row.
    private let subrows: [Int: [(name: [UInt8], row: Int)]]
    /// Open addressing by the name in lower case; -1: free. A power of two.
    private let places: [Int32]

    static let all = ServerTable()

    private init() {
        let keys = CommandTable(Keyspace.rows)
        let known = Set(keys.commands.map(\.name))
        let own = (ServerCommands.table + "\n" + ServerCommands.sentinelTable).split(separator: "\n")
            .filter { row in !known.contains(String(row.prefix { $0 != "|" })) }
        let table = CommandTable(Keyspace.rows + [own.joined(separator: "\n")])
        self.table = table
        facts = table.commands.map { CommandFacts.all[$0.name] ?? CommandFacts($0) }
        executors = table.commands.map { command in
            if let handler = ServerCommands.handlers[command.name] { return .server(handler) }
            precondition(known.contains(command.name), "\(command.name) has no code")
            return .keys
        }
        var subrows: [Int: [(name: [UInt8], row: Int)]] = [:]
        var places = [Int32](repeating: -1, count: 1024)
        for command in table.commands {
            let parts = command.name.split(separator: "|").map { Array($0.utf8) }
            if parts.count == 2, let container = table.find(parts[0]) {
                // MEMORY's help is not the keyspace's alone.
                if command.name != "memory|help" {
                    subrows[container.index, default: []].append((parts[1], command.index))
                }
                continue
            }
            var place = parts[0].withUnsafeBytes { ServerTable.hash($0) } & 1023
            while places[place] >= 0 { place = (place + 1) & 1023 }
            places[place] = Int32(command.index)
        }
        self.places = places
        self.subrows = subrows
        let (facts, executors) = (facts, executors)
        rows = ContiguousArray(table.commands.map { ServerTable.row($0, facts[$0.index], executors[$0.index]) })
    }

    private static func row(_ command: Command, _ facts: CommandFacts, _ executor: Executor) -> Row {
        var traits: Traits = []
        if case .keys = executor { traits.insert(.keys) }
        if !facts.subcommands.isEmpty { traits.insert(.container) }
        if ["exec", "discard", "multi", "watch", "quit", "reset"].contains(command.name) { traits.insert(.immediate) }
        if command.name == "publish" || command.name == "spublish" { traits.insert(.publish) }
        if command.name == "spublish" { traits.insert(.sharded) }
        if [
            "ping", "subscribe", "ssubscribe", "psubscribe", "unsubscribe", "sunsubscribe", "punsubscribe", "quit",
            "reset",
        ].contains(command.name) {
            traits.insert(.subscriber)
        }
        let isOnSentinel =
            ["sentinel", "pubsub", "connection"].contains(command.group) && command.name != "select"
            || ["info", "role", "command", "acl", "config"].contains(command.name)
        if isOnSentinel { traits.insert(.onSentinel) }
        if command.group != "sentinel" { traits.insert(.offSentinel) }
        if command.flags.contains(.write) || traits.contains(.publish) || command.name == "pfcount" {
            traits.insert(.pausedAsWrite)
        }
        if command.name == "client" { traits.insert(.neverPaused) }
        if command.group == "stream" { traits.insert(.stream) }
        let use: RESPMetrics.Use
        switch command.group {
        case "pubsub": use = .pubsub
        case "connection", "server", "cluster", "sentinel", "scripting": use = .other
        default: use = .cache
        }
        return Row(arity: command.arity, flags: command.flags, use: use, traits: traits)
    }

    /// The row whose flags and code count: of a container that of the subcommand, where it has one.
    func effective(_ row: Int, _ subcommand: @autoclosure () -> [UInt8]?) -> Int {
        guard let rows = subrows[row], let name = subcommand() else { return row }
        let lower = name.map { $0 >= 65 && $0 <= 90 ? $0 | 32 : $0 }
        return rows.first { $0.name == lower }?.row ?? row
    }

    /// The row is a command's, not a subcommand's.
    func isCommand(_ row: Int) -> Bool { !table.commands[row].name.contains("|") }

    private static func hash(_ name: UnsafeRawBufferPointer) -> Int {
        var hash: UInt32 = 2_166_136_261
        for byte in name { hash = (hash ^ UInt32(byte | 0x20)) &* 16_777_619 }
        return Int((hash >> 15) ^ hash)
    }

    /// The command's place, by a name in any case.
    func find(_ name: UnsafeRawBufferPointer) -> Int? {
        guard name.count <= 32 else { return nil }
        var place = ServerTable.hash(name) & 1023
        while places[place] >= 0 {
            let row = Int(places[place])
            if ServerTable.isName(name, table.commands[row].name) { return row }
            place = (place + 1) & 1023
        }
        return nil
    }

    private static func isName(_ bytes: UnsafeRawBufferPointer, _ name: String) -> Bool {
        var name = name
        return name.withUTF8 { utf8 in
            guard utf8.count == bytes.count else { return false }
            for index in 0..<utf8.count {
                let byte = bytes[index]
                if (byte >= 65 && byte <= 90 ? byte | 32 : byte) != utf8[index] { return false }
            }
            return true
        }
    }
}

extension CommandFacts {
    /// Of a command that the facts do not know: what its row says.
    init(_ command: Command) {
        flags = Command.Flags.names.filter { command.flags.contains($0.1) }.map(\.0)
        categories = [
            command.flags.contains(.write) ? "write" : "read", command.flags.contains(.fast) ? "fast" : "slow",
        ]
    }
}
