import Keys
import Primitives
import RESP

/// A parameter of CONFIG that is not the keyspace's.
struct ConfigParameter: Sendable {
    enum Kind: Sendable {
        case text
        case memory
        case integer(ClosedRange<Int64>)
        case yesNo
        case choice([String])
        /// Pairs of numbers, or nothing.
        case savePoints
        case outputLimits
        /// Set by the node's configuration.
        case fixed
    }

    var name: String
    var kind: Kind
    /// What is shown while nobody has set it, where no setting says otherwise.
    var standard: String

    init(_ name: String, _ kind: Kind, _ standard: String) {
        self.name = name
        self.kind = kind
        self.standard = standard
    }

    /// The parameters that programs ask for. Some act (see `read` and `write`); the others are kept and shown as they
    /// were set, for programs that set them on their way: what they tune in Redis is done otherwise here.
    static let all: [ConfigParameter] = [
        ConfigParameter("active-expire-effort", .integer(1...10), "1"),
        ConfigParameter("activedefrag", .yesNo, "no"),
        ConfigParameter("activerehashing", .yesNo, "yes"),
        ConfigParameter("appenddirname", .fixed, "appendonlydir"),
        ConfigParameter("appendfilename", .fixed, "appendonly.aof"),
        ConfigParameter("appendfsync", .choice(["everysec", "always", "no"]), "always"),
        ConfigParameter("appendonly", .yesNo, "yes"),
        ConfigParameter("aof-use-rdb-preamble", .yesNo, "yes"),
        ConfigParameter("auto-aof-rewrite-percentage", .integer(0...Int64(Int32.max)), "100"),
        ConfigParameter("auto-aof-rewrite-min-size", .memory, "67108864"),
        ConfigParameter("bind", .fixed, ""),
        ConfigParameter("client-output-buffer-limit", .outputLimits, ""),
        ConfigParameter("client-query-buffer-limit", .memory, ""),
        ConfigParameter("cluster-enabled", .fixed, "no"),
        ConfigParameter("cluster-node-timeout", .integer(0...Int64.max), "15000"),
        ConfigParameter("cluster-require-full-coverage", .yesNo, "yes"),
        ConfigParameter("cluster-allow-pubsubshard-when-down", .yesNo, "yes"),
        ConfigParameter("crash-log-enabled", .yesNo, "yes"),
        ConfigParameter("daemonize", .fixed, "no"),
        ConfigParameter("databases", .fixed, "16"),
        ConfigParameter("dbfilename", .fixed, "dump.rdb"),
        ConfigParameter("dir", .fixed, "."),
        ConfigParameter("dynamic-hz", .yesNo, "yes"),
        ConfigParameter("enable-debug-command", .fixed, "no"),
        ConfigParameter("hz", .integer(0...Int64(Int32.max)), "10"),
        ConfigParameter("io-threads", .fixed, "1"),
        ConfigParameter("latency-monitor-threshold", .integer(0...Int64.max), "0"),
        ConfigParameter("latency-tracking", .yesNo, "yes"),
        ConfigParameter("lazyfree-lazy-eviction", .yesNo, "no"),
        ConfigParameter("lazyfree-lazy-expire", .yesNo, "no"),
        ConfigParameter("lazyfree-lazy-server-del", .yesNo, "no"),
        ConfigParameter("lazyfree-lazy-user-del", .yesNo, "no"),
        ConfigParameter("lfu-decay-time", .integer(0...Int64(Int32.max)), "1"),
        ConfigParameter("lfu-log-factor", .integer(0...Int64(Int32.max)), "10"),
        ConfigParameter("list-compress-depth", .integer(0...Int64(Int32.max)), "0"),
        ConfigParameter("logfile", .fixed, ""),
        ConfigParameter("loglevel", .choice(["debug", "verbose", "notice", "warning"]), "notice"),
        ConfigParameter("lua-time-limit", .integer(0...Int64.max), "5000"),
        ConfigParameter("busy-reply-threshold", .integer(0...Int64.max), "5000"),
        ConfigParameter("masterauth", .fixed, ""),
        ConfigParameter("maxclients", .integer(1...Int64(UInt32.max)), ""),
        ConfigParameter("maxmemory-clients", .text, "0"),
        ConfigParameter("maxmemory-eviction-tenacity", .integer(0...100), "10"),
        ConfigParameter("min-replicas-max-lag", .integer(0...Int64(Int32.max)), "10"),
        ConfigParameter("min-replicas-to-write", .integer(0...Int64(Int32.max)), "0"),
        ConfigParameter("no-appendfsync-on-rewrite", .yesNo, "no"),
        ConfigParameter("pidfile", .fixed, ""),
        ConfigParameter("port", .fixed, ""),
        ConfigParameter("protected-mode", .yesNo, "no"),
        ConfigParameter("rdbcompression", .yesNo, "yes"),
        ConfigParameter("rdbchecksum", .fixed, "yes"),
        ConfigParameter("rdb-key-save-delay", .integer(Int64(Int32.min)...Int64(Int32.max)), "0"),
        ConfigParameter("repl-backlog-size", .memory, "1048576"),
        ConfigParameter("repl-timeout", .integer(1...Int64(Int32.max)), "60"),
        ConfigParameter("repl-diskless-sync-delay", .integer(0...Int64(Int32.max)), "5"),
        ConfigParameter("replica-priority", .integer(0...Int64(Int32.max)), "100"),
        ConfigParameter("replica-read-only", .yesNo, "yes"),
        ConfigParameter("replica-serve-stale-data", .yesNo, "yes"),
        ConfigParameter("replicaof", .fixed, ""),
        ConfigParameter("requirepass", .fixed, ""),
        ConfigParameter("sanitize-dump-payload", .choice(["no", "yes", "clients"]), "no"),
        ConfigParameter("save", .savePoints, ""),
        ConfigParameter("slave-read-only", .yesNo, "yes"),
        ConfigParameter("slaveof", .fixed, ""),
        ConfigParameter("slowlog-log-slower-than", .integer(-1...Int64.max), ""),
        ConfigParameter("slowlog-max-len", .integer(0...1_000_000), ""),
        ConfigParameter("stop-writes-on-bgsave-error", .yesNo, "yes"),
        ConfigParameter("supervised", .fixed, "no"),
        ConfigParameter("tcp-backlog", .fixed, "4096"),
        ConfigParameter("tcp-keepalive", .integer(0...Int64(Int32.max)), "300"),
        ConfigParameter("timeout", .integer(0...Int64(Int32.max)), "0"),
        ConfigParameter("tls-port", .fixed, "0"),
        ConfigParameter("tracking-table-max-keys", .integer(0...Int64.max), "1000000"),
        ConfigParameter("unixsocket", .fixed, ""),
    ]

    static func find(_ name: String) -> ConfigParameter? { byName[name] }

    private static let byName: [String: ConfigParameter] =
        Dictionary(uniqueKeysWithValues: all.map { ($0.name, $0) })

    // MARK: What acts

    /// The value that a setting holds; nil for a parameter that is only kept.
    func read(_ settings: RESPSettings, _ listener: RESPListenerSettings) -> String? {
        switch name {
        case "maxclients": String(settings.maxClients)
        case "timeout": String(settings.idleTimeout)
        case "client-query-buffer-limit": String(settings.queryBuffer)
        case "client-output-buffer-limit":
            ConfigParameter.text(of: [
                ("normal", settings.normalOutput), ("slave", settings.replicaOutput), ("pubsub", settings.pubsubOutput),
            ])
        case "slowlog-log-slower-than": String(settings.slowerThan)
        case "slowlog-max-len": String(settings.slowlogLength)
        case "cluster-enabled": listener.face == .cluster ? "yes" : "no"
        case "port": String(listener.port)
        case "bind": listener.address
        case "appendfsync": settings.appendfsync
        default: nil
        }
    }

    private static func text(of limits: [(String, RESPSettings.OutputLimit)]) -> String {
        limits.map { "\($0.0) \($0.1.hard) \($0.1.soft) \($0.1.seconds)" }.joined(separator: " ")
    }

    /// The value in its canonical spelling, or why not.
    func checked(_ text: String) -> Result<String, ConfigRefusal> {
        switch kind {
        case .text: return .success(text)
        case .fixed: return .failure(ConfigRefusal("can't set immutable config"))
        case .yesNo:
            let lower = text.lowercased()
            guard lower == "yes" || lower == "no" else {
                return .failure(ConfigRefusal("argument must be 'yes' or 'no'"))
            }
            return .success(lower)
        case .choice(let words):
            guard words.contains(text.lowercased()) else {
                return .failure(
                    ConfigRefusal("argument(s) must be one of the following: \(words.joined(separator: ", "))")
                )
            }
            return .success(text.lowercased())
        case .integer(let bounds):
            guard let number = Decimal.integer(Array(text.utf8)) else {
                return .failure(ConfigRefusal("argument couldn't be parsed into an integer"))
            }
            guard bounds.contains(number) else {
                return .failure(
                    ConfigRefusal(
                        "argument must be between \(bounds.lowerBound) and \(bounds.upperBound) inclusive"
                    )
                )
            }
            return .success(String(number))
        case .memory:
            guard let number = Decimal.memory(Array(text.utf8)), number >= 0 else {
                return .failure(ConfigRefusal("argument must be a memory value"))
            }
            return .success(String(number))
        case .savePoints:
            let numbers = text.split(separator: " ").map { Decimal.integer(Array($0.utf8)) }
            guard numbers.count.isMultiple(of: 2), numbers.allSatisfy({ ($0 ?? -1) >= 0 }) else {
                return .failure(ConfigRefusal("Invalid save parameters"))
            }
            return .success(numbers.compactMap { $0.map(String.init) }.joined(separator: " "))
        case .outputLimits:
            guard ConfigParameter.limits(text) != nil else {
                return .failure(ConfigRefusal("Wrong number of arguments in buffer limit configuration."))
            }
            return .success(text)
        }
    }

    /// Puts a checked value into the settings; false: it is only kept.
    func write(_ text: String, to settings: inout RESPSettings) -> Bool {
        let number = Decimal.integer(Array(text.utf8)) ?? 0
        switch name {
        case "maxclients": settings.maxClients = Int(clamping: number)
        case "timeout": settings.idleTimeout = UInt64(clamping: number)
        case "client-query-buffer-limit": settings.queryBuffer = Int(clamping: max(1 << 20, number))
        case "slowlog-log-slower-than": settings.slowerThan = number
        case "slowlog-max-len": settings.slowlogLength = Int(clamping: number)
        case "appendfsync": settings.appendfsync = text
        case "client-output-buffer-limit":
            for (name, limit) in ConfigParameter.limits(text) ?? [] {
                switch name {
                case "normal": settings.normalOutput = limit
                case "pubsub": settings.pubsubOutput = limit
                default: settings.replicaOutput = limit
                }
            }
        default: return false
        }
        return true
    }

    private static func limits(_ text: String) -> [(String, RESPSettings.OutputLimit)]? {
        let words = text.split(separator: " ").map(String.init)
        guard !words.isEmpty, words.count.isMultiple(of: 4) else { return nil }
        var limits: [(String, RESPSettings.OutputLimit)] = []
        for index in stride(from: 0, to: words.count, by: 4) {
            guard ["normal", "slave", "replica", "pubsub"].contains(words[index]),
                let hard = Decimal.memory(Array(words[index + 1].utf8)), hard >= 0,
                let soft = Decimal.memory(Array(words[index + 2].utf8)), soft >= 0,
                let seconds = Decimal.integer(Array(words[index + 3].utf8)), seconds >= 0
            else { return nil }
            let limit = RESPSettings.OutputLimit(hard: UInt64(hard), soft: UInt64(soft), seconds: UInt64(seconds))
            limits.append((words[index], limit))
        }
        return limits
    }
}

/// Why CONFIG SET refuses a value.
struct ConfigRefusal: Error {
    var text: String
    init(_ text: String) { self.text = text }
}

/// CONFIG.
extension RESPConnection {
    func config(_ arguments: [[UInt8]]) {
        switch lastSubcommand {
        case "get": configGet(Array(arguments.dropFirst(2)))
        case "set": configSet(arguments)
        case "resetstat": resetStatistics()
        case "rewrite": fail("ERR The server is running without a config file")
        default:
            help(
                "CONFIG",
                [
                    "GET <pattern>", "    Return parameters matching the glob-like <pattern> and their values.",
                    "SET <directive> <value>", "    Set the configuration <directive> to <value>.", "RESETSTAT",
                    "    Reset statistics reported by the INFO command.", "REWRITE",
                    "    Rewrite the configuration file.",
                ]
            )
        }
    }

    // MARK: GET

    private func configGet(_ patterns: [[UInt8]]) {
        let globs = patterns.map { Glob($0.map { $0 >= 65 && $0 <= 90 ? $0 | 32 : $0 }) }
        let matches: (String) -> Bool = { name in globs.contains { $0.matches(Array(name.utf8)) } }
        var rows: [(String, String)] = []
        let stored = shard.node.storedParameters
        for parameter in ConfigParameter.all where matches(parameter.name) {
            rows.append(
                (parameter.name, parameter.read(settings, listener) ?? stored[parameter.name] ?? parameter.standard)
            )
        }
        guard listener.face != .sentinel, KeyspaceConfiguration.names.contains(where: matches) else {
            return write(parameters: rows)
        }
        ask([0], unit([Array(".configuration".utf8)]), isReadOnly: true) { replies in
            let words = (ReplyScanner.elements(replies[0]) ?? []).map { range in
                String(decoding: ReplyScanner.bulk(replies[0][range]) ?? [], as: UTF8.self)
            }
            for index in stride(from: 0, to: words.count - 1, by: 2) where matches(words[index]) {
                rows.append((words[index], words[index + 1]))
            }
            self.write(parameters: rows)
            self.completeCommand()
        }
    }

    private func write(parameters: [(String, String)]) {
        reply.map(parameters.count)
        for (name, value) in parameters {
            reply.bulk(name)
            reply.bulk(value)
        }
    }

    // MARK: SET

    /// All or none: first everything is checked, then the keyspace's are set by its log, then this node's.
    private func configSet(_ arguments: [[UInt8]]) {
        guard arguments.count.isMultiple(of: 2) else {
            return fail("ERR wrong number of arguments for 'config|set' command")
        }
        var own: [(ConfigParameter, String)] = []
        var keyspace: [[UInt8]] = []
        var seen: Set<String> = []
        for index in stride(from: 2, to: arguments.count, by: 2) {
            let name = String(decoding: arguments[index], as: UTF8.self).lowercased()
            let value = String(decoding: arguments[index + 1], as: UTF8.self)
            guard seen.insert(name).inserted else { return refuse(name, "duplicate parameter") }
            if KeyspaceConfiguration.names.contains(name) {
                keyspace += [Array(name.utf8), Array(value.utf8)]
            } else if let parameter = ConfigParameter.find(name) {
                // What cannot be set may be set to what it is.
                if case .fixed = parameter.kind, value == parameter.read(settings, listener) ?? parameter.standard {
                    continue
                }
                switch parameter.checked(value) {
                case .success(let text): own.append((parameter, text))
                case .failure(let refusal): return refuse(name, refusal.text)
                }
            } else {
                let shown = String(decoding: arguments[index].prefix(128), as: UTF8.self)
                return fail("ERR Unknown option or number of arguments for CONFIG SET - '\(shown)'")
            }
        }
        guard !keyspace.isEmpty else {
            apply(own)
            return reply.ok()
        }
        let unit = unit([Array(".configure".utf8)] + keyspace)
        ask(Array(0..<keyPartitions), unit, isReadOnly: false) { replies in
            if let error = replies.first(where: { $0.first == UInt8(ascii: "-") }) {
                self.reply.raw(error)
            } else {
                self.apply(own)
                self.applyToParser(keyspace)
                self.reply.ok()
            }
            self.completeCommand()
        }
    }

    private func refuse(_ name: String, _ why: String) {
        fail("ERR CONFIG SET failed (possibly related to argument '\(name)') - \(why)")
    }

    private func apply(_ parameters: [(ConfigParameter, String)]) {
        guard !parameters.isEmpty else { return }
        shard.node.change(from: shard) { settings, stored in
            for (parameter, text) in parameters where !parameter.write(text, to: &settings) {
                stored[parameter.name] = text
            }
        }
    }

    /// The longest argument is the keyspace's setting, and the parser's of this node.
    private func applyToParser(_ pairs: [[UInt8]]) {
        for index in stride(from: 0, to: pairs.count, by: 2) where pairs[index].elementsEqual("proto-max-bulk-len".utf8)
        {
            guard let bytes = Decimal.memory(pairs[index + 1]) else { continue }
            let bulk = min(Int(clamping: bytes), KeyUnit.byteLimit)
            shard.node.change(from: shard) { settings, _ in settings.request.bulk = bulk }
        }
    }

    private func resetStatistics() {
        waiting = .shards
        shard.node.gather(from: shard) { shard in
            shard.metrics.reset()
        } _: { _ in
            self.shard.node.resetStatistics()
            self.ask(
                Array(0..<self.keyPartitions),
                self.unit([Array(".resetstat".utf8)]),
                isReadOnly: true,
                isLenient: true
            ) { _ in
                self.reply.ok()
                self.completeCommand()
            }
        }
    }
}
