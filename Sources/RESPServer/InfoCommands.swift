import EventLoops
import Glibc
import Keys
import Primitives
import RESP

/// What a key partition says of itself (`.statistics`), summed over partitions.
struct KeyspaceFigures {
    var hits: Int64 = 0
    var misses: Int64 = 0
    var expired: Int64 = 0
    var evicted: Int64 = 0
    var changes: Int64 = 0
    var waiters: Int64 = 0
    var maxMemory: Int64 = 0
    var policy = "noeviction"
    /// What keys take, by estimate.
    var memory: Int64 = 0
    /// Keys and expiring keys by database.
    var databases: [(keys: Int64, expires: Int64)] = Array(repeating: (0, 0), count: 16)

    mutating func add(_ reply: [UInt8]) {
        let elements = ReplyScanner.elements(reply) ?? []
        let numbers = elements.map { ReplyScanner.integer(Array(reply[$0])) ?? 0 }
        guard numbers.count >= 9 else { return }
        hits &+= numbers[0]
        misses &+= numbers[1]
        expired &+= numbers[2]
        evicted &+= numbers[3]
        changes &+= numbers[4]
        waiters &+= numbers[5]
        maxMemory = numbers[6]
        policy = String(decoding: ReplyScanner.bulk(reply[elements[7]]) ?? [], as: UTF8.self)
        memory &+= numbers[8]
        for (database, place) in stride(from: 9, to: numbers.count - 1, by: 2).enumerated() where database < 16 {
            databases[database].keys &+= numbers[place]
            databases[database].expires &+= numbers[place + 1]
        }
    }
}

/// What the system says of this process.
struct ProcessFigures {
    var residentBytes: UInt64 = 0
    var peakBytes: UInt64 = 0
    var totalMemory: UInt64 = 0
    var userSeconds = 0.0
    var systemSeconds = 0.0

    init() {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        userSeconds = Double(usage.ru_utime.tv_sec) + Double(usage.ru_utime.tv_usec) / 1e6
        systemSeconds = Double(usage.ru_stime.tv_sec) + Double(usage.ru_stime.tv_usec) / 1e6
        peakBytes = UInt64(max(0, usage.ru_maxrss)) * 1024
        let page = UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
        totalMemory = UInt64(max(0, sysconf(Int32(_SC_PHYS_PAGES)))) * page
        residentBytes = ProcessFigures.residentPages() * page
    }

    /// The second number of /proc/self/statm (proc(5)).
    private static func residentPages() -> UInt64 {
        let file = open("/proc/self/statm", O_RDONLY)
        guard file >= 0 else { return 0 }
        defer { close(file) }
        var text = [UInt8](repeating: 0, count: 128)
        let count = read(file, &text, text.count)
        guard count > 0 else { return 0 }
        let words = text.prefix(count).split(separator: 32)
        return words.count > 1 ? UInt64(String(decoding: words[1], as: UTF8.self)) ?? 0 : 0
    }
}

/// INFO.
extension RESPConnection {
    private static let sections = [
        "server", "clients", "memory", "persistence", "stats", "replication", "cpu", "modules", "errorstats", "cluster",
        "keyspace",
    ]
    private static let moreSections = ["commandstats", "latencystats"]

    func info(_ arguments: [[UInt8]]) {
        var wanted: [String] = []
        for argument in arguments.dropFirst() {
            switch String(decoding: argument, as: UTF8.self).lowercased() {
            case "default": wanted += RESPConnection.sections
            case "all", "everything": wanted += RESPConnection.sections + RESPConnection.moreSections
            case let name: wanted.append(name)
            }
        }
        if arguments.count == 1 { wanted = RESPConnection.sections }
        if listener.face == .sentinel, arguments.count == 1 || wanted.count > 2 { wanted.append("sentinel") }
        let order =
            RESPConnection.sections + RESPConnection.moreSections + (listener.face == .sentinel ? ["sentinel"] : [])
        let chosen = order.filter { wanted.contains($0) }
        waiting = .shards
        shard.node.gather(from: shard) {
            $0.metrics
        } _: { all in
            var sum = all[0]
            for other in all.dropFirst() { sum.add(other) }
            self.infoFromKeys(chosen, sum)
        }
    }

    private func infoFromKeys(_ sections: [String], _ metrics: RESPMetrics) {
        let needsKeys = !Set(sections).isDisjoint(with: ["keyspace", "memory", "stats", "persistence"])
        guard needsKeys, listener.face != .sentinel else {
            return writeInfo(sections, metrics, KeyspaceFigures())
        }
        ask(partitionsHere, unit([Array(".statistics".utf8)]), isReadOnly: true, isLenient: true) { replies in
            var figures = KeyspaceFigures()
            for reply in replies { figures.add(reply) }
            self.writeInfo(sections, metrics, figures)
        }
    }

    private func writeInfo(_ sections: [String], _ metrics: RESPMetrics, _ keys: KeyspaceFigures) {
        var text = ""
        for name in sections {
            if !text.isEmpty { text += "\r\n" }
            text += section(name, metrics, keys)
        }
        reply.verbatim(text)
        completeCommand()
    }

    private func section(_ name: String, _ metrics: RESPMetrics, _ keys: KeyspaceFigures) -> String {
        var rows: [(String, String)]
        switch name {
        case "server": rows = serverRows
        case "clients": rows = clientRows(metrics)
        case "memory": rows = memoryRows(keys)
        case "persistence": rows = persistenceRows(keys)
        case "stats": rows = statsRows(metrics, keys)
        case "replication": rows = replicationRows(metrics)
        case "cpu": rows = cpuRows
        case "errorstats":
            rows = metrics.errors.sorted { $0.key < $1.key }.map { ("errorstat_\($0.key)", "count=\($0.value)") }
        case "cluster": rows = [("cluster_enabled", listener.face == .cluster ? "1" : "0")]
        case "keyspace": rows = keyspaceRows(keys)
        case "commandstats": rows = commandRows(metrics)
        case "latencystats": rows = latencyRows(metrics)
        case "sentinel": rows = sentinelRows
        default: rows = []
        }
        let title = name == "cpu" ? "CPU" : name.prefix(1).uppercased() + name.dropFirst()
        return "# \(title)\r\n" + rows.map { "\($0.0):\($0.1)\r\n" }.joined()
    }

    private var serverRows: [(String, String)] {
        let up = (shard.wall > shard.node.started ? shard.wall - shard.node.started : 0) / 1000
        return [
            ("redis_version", RESPConnection.redisVersion), ("server_name", "vencejo"),
            ("vencejo_version", settings.version), ("redis_git_sha1", "00000000"), ("redis_git_dirty", "0"),
            ("redis_build_id", String(settings.runID.prefix(16))), ("redis_mode", mode), ("os", "Linux"),
            ("arch_bits", "64"), ("multiplexing_api", "epoll"), ("process_id", String(getpid())),
            ("process_supervised", "no"), ("run_id", settings.runID), ("tcp_port", String(listener.port)),
            ("server_time_usec", String(shard.wall * 1000)), ("uptime_in_seconds", String(up)),
            ("uptime_in_days", String(up / 86400)), ("hz", "100"), ("configured_hz", "100"),
            ("lru_clock", String(shard.wall / 1000 & 0xFFFFFF)), ("executable", "vencejo"), ("config_file", ""),
            ("io_threads_active", "0"), ("node_name", settings.nodeName),
        ]
    }

    private func clientRows(_ metrics: RESPMetrics) -> [(String, String)] {
        [
            ("connected_clients", String(metrics.connections)), ("cluster_connections", "0"),
            ("maxclients", String(settings.maxClients)),
            ("client_recent_max_input_buffer", String(metrics.largestInput)),
            ("client_recent_max_output_buffer", String(metrics.largestOutput)),
            ("blocked_clients", String(metrics.blocked)), ("tracking_clients", "0"),
            ("clients_in_timeout_table", "0"), ("pubsub_clients", String(metrics.subscribers)),
        ]
    }

    private func memoryRows(_ keys: KeyspaceFigures) -> [(String, String)] {
        let process = ProcessFigures()
        return [
            ("used_memory", String(keys.memory)),
            ("used_memory_human", RESPConnection.human(UInt64(clamping: keys.memory))),
            ("used_memory_rss", String(process.residentBytes)),
            ("used_memory_rss_human", RESPConnection.human(process.residentBytes)),
            ("used_memory_peak", String(process.peakBytes)),
            ("used_memory_peak_human", RESPConnection.human(process.peakBytes)),
            ("total_system_memory", String(process.totalMemory)),
            ("total_system_memory_human", RESPConnection.human(process.totalMemory)), ("used_memory_lua", "0"),
            ("used_memory_scripts", "0"), ("maxmemory", String(keys.maxMemory)),
            ("maxmemory_human", RESPConnection.human(UInt64(clamping: keys.maxMemory))),
            ("maxmemory_policy", keys.policy), ("mem_fragmentation_ratio", "1.00"), ("mem_clients_normal", "0"),
            ("mem_clients_slaves", "0"), ("mem_allocator", "libc"), ("active_defrag_running", "0"),
            ("lazyfree_pending_objects", "0"), ("lazyfreed_objects", "0"),
        ]
    }

    static func human(_ bytes: UInt64) -> String {
        let units: [(UInt64, String)] = [(1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")]
        for (size, letter) in units where bytes >= size {
            let hundredths = (Double(bytes) / Double(size) * 100).rounded()
            return fixed(hundredths / 100, places: 2) + letter
        }
        return "\(bytes)B"
    }

    /// A number with so many places after the point.
    static func fixed(_ value: Double, places: Int) -> String {
        var scale = 1.0
        for _ in 0..<places { scale *= 10 }
        let scaled = (value * scale).rounded()
        guard scaled.isFinite, scaled.magnitude < 9e15 else { return "0" }
        let digits = String(Int64(scaled.magnitude))
        let padded = String(repeating: "0", count: max(0, places + 1 - digits.utf8.count)) + digits
        let sign = scaled < 0 ? "-" : ""
        return places == 0 ? sign + padded : "\(sign)\(padded.dropLast(places)).\(padded.suffix(places))"
    }

    private func persistenceRows(_ keys: KeyspaceFigures) -> [(String, String)] {
        let last = String(shard.node.actions.lastSnapshot() / 1000)
        return [
            ("loading", "0"), ("async_loading", "0"), ("rdb_changes_since_last_save", String(keys.changes)),
            ("rdb_bgsave_in_progress", "0"), ("rdb_last_save_time", last), ("rdb_last_bgsave_status", "ok"),
            ("rdb_last_bgsave_time_sec", "0"), ("rdb_current_bgsave_time_sec", "-1"), ("rdb_saves", "0"),
            ("aof_enabled", "1"), ("aof_rewrite_in_progress", "0"), ("aof_rewrite_scheduled", "0"),
            ("aof_last_rewrite_time_sec", "-1"), ("aof_last_bgrewrite_status", "ok"), ("aof_last_write_status", "ok"),
        ]
    }

    private func statsRows(_ metrics: RESPMetrics, _ keys: KeyspaceFigures) -> [(String, String)] {
        let counts = shard.node.subscriptionCounts
        return [
            ("total_connections_received", String(metrics.connectionsTotal)),
            ("total_commands_processed", String(metrics.commandsTotal)),
            ("instantaneous_ops_per_sec", String(metrics.commandsPerSecond)),
            ("total_net_input_bytes", String(metrics.bytesIn)), ("total_net_output_bytes", String(metrics.bytesOut)),
            ("rejected_connections", String(metrics.rejectedConnections)), ("sync_full", "0"), ("sync_partial_ok", "0"),
            ("sync_partial_err", "0"), ("expired_keys", String(keys.expired)), ("evicted_keys", String(keys.evicted)),
            ("evicted_clients", "0"), ("keyspace_hits", String(keys.hits)), ("keyspace_misses", String(keys.misses)),
            ("pubsub_channels", String(counts.channels)), ("pubsub_patterns", String(counts.patterns)),
            ("pubsubshard_channels", String(counts.shardChannels)), ("latest_fork_usec", "0"), ("total_forks", "0"),
            ("migrate_cached_sockets", "0"), ("tracking_total_keys", "0"), ("unexpected_error_replies", "0"),
            ("total_error_replies", String(metrics.errorsTotal)), ("total_reads_processed", "0"),
            ("total_writes_processed", String(metrics.flushes)),
            ("client_query_buffer_limit_disconnections", String(metrics.queryBufferOverflows)),
            ("client_output_buffer_limit_disconnections", String(metrics.slowNormal + metrics.slowSubscribers)),
            ("commands_cache", String(metrics.commandsByUse[RESPMetrics.Use.cache.rawValue])),
            ("commands_pubsub", String(metrics.commandsByUse[RESPMetrics.Use.pubsub.rawValue])),
            ("pubsub_messages_delivered", String(metrics.deliveries)),
            ("unknown_outcome_disconnections", String(metrics.unknownOutcomes)),
        ]
    }

    private func replicationRows(_ metrics: RESPMetrics) -> [(String, String)] {
        let topology = shard.node.topology
        let replicas = topology?.partitions.first?.replicas.compactMap { topology?.node($0) } ?? []
        let offset = String(metrics.commandsTotal)
        var rows = [("role", "master"), ("connected_slaves", String(replicas.count))]
        for (index, replica) in replicas.enumerated() {
            rows.append(
                (
                    "slave\(index)",
                    "ip=\(replica.host),port=\(replica.port),state=\(replica.isAlive ? "online" : "wait_bgsave"),"
                        + "offset=\(offset),lag=0"
                )
            )
        }
        let id = topology?.partitions.first.map { String($0.epoch, radix: 16) } ?? "0"
        rows += [
            ("master_failover_state", "no-failover"),
            ("master_replid", String(repeating: "0", count: max(0, 40 - id.utf8.count)) + id),
            ("master_replid2", String(repeating: "0", count: 40)), ("master_repl_offset", offset),
            ("second_repl_offset", "-1"), ("repl_backlog_active", "1"), ("repl_backlog_size", "1048576"),
            ("repl_backlog_first_byte_offset", "1"), ("repl_backlog_histlen", "0"),
        ]
        return rows
    }

    private var cpuRows: [(String, String)] {
        let process = ProcessFigures()
        return [
            ("used_cpu_sys", RESPConnection.fixed(process.systemSeconds, places: 6)),
            ("used_cpu_user", RESPConnection.fixed(process.userSeconds, places: 6)),
            ("used_cpu_sys_children", "0.000000"), ("used_cpu_user_children", "0.000000"),
        ]
    }

    private func keyspaceRows(_ keys: KeyspaceFigures) -> [(String, String)] {
        keys.databases.enumerated().filter { $0.element.keys > 0 }.map { number, figures in
            ("db\(number)", "keys=\(figures.keys),expires=\(figures.expires),avg_ttl=0")
        }
    }

    private func commandRows(_ metrics: RESPMetrics) -> [(String, String)] {
        var rows: [(String, String)] = []
        for (row, count) in metrics.commands.enumerated() where count.calls + count.rejected > 0 {
            let each = count.calls == 0 ? 0 : Double(count.microseconds) / Double(count.calls)
            rows.append(
                (
                    "cmdstat_\(table.table.commands[row].name)",
                    "calls=\(count.calls),usec=\(count.microseconds),"
                        + "usec_per_call=\(RESPConnection.fixed(each, places: 2)),"
                        + "rejected_calls=\(count.rejected),failed_calls=\(count.failed)"
                )
            )
        }
        return rows
    }

    /// Upper bounds of the powers of two in which the calls were counted.
    private func latencyRows(_ metrics: RESPMetrics) -> [(String, String)] {
        var rows: [(String, String)] = []
        for (row, count) in metrics.commands.enumerated() where count.calls > 0 {
            let total = count.durations.reduce(UInt64(0)) { $0 + UInt64($1) }
            let parts = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)].map { name, share in
                var sum: UInt64 = 0
                var bucket = 0
                while bucket < 31 {
                    sum += UInt64(count.durations[bucket])
                    if Double(sum) >= Double(total) * share { break }
                    bucket += 1
                }
                return "\(name)=\(UInt64(1) << UInt64(bucket)).000"
            }
            rows.append(
                ("latency_percentiles_usec_\(table.table.commands[row].name)", parts.joined(separator: ","))
            )
        }
        return rows
    }

    private var sentinelRows: [(String, String)] {
        let topology = shard.node.topology
        let replicas = topology?.partitions.first?.replicas.count ?? 0
        let master = topology?.master.map { "\($0.host):\($0.port)" } ?? ":0"
        return [
            ("sentinel_masters", "1"), ("sentinel_tilt", "0"), ("sentinel_running_scripts", "0"),
            ("sentinel_scripts_queue_length", "0"), ("sentinel_simulate_failure_flags", "0"),
            (
                "master0",
                "name=\(settings.masterName),status=\(topology?.master == nil ? "odown" : "ok"),address=\(master),"
                    + "slaves=\(replicas),sentinels=\(topology?.nodes.count ?? 1)"
            ),
        ]
    }
}
