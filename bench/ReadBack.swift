import HistoryChecker

/// A page of a room's history, as the server sends it.
struct HistoryPage: Equatable {
    var entries: [ReplicaLog.Entry] = []
    var epoch = ""
    /// The room's last offset.
    var top: UInt64 = 0

    /// Reads `{"id":n,"history":{"publications":[…],"epoch":"…","offset":n}}`; nil when it is something else. The same
    /// members are found in a subscribe result.
    init?(_ reply: UnsafeRawBufferPointer) {
        guard Scan.contains("\"history\":", in: reply) || Scan.contains("\"subscribe\":", in: reply) else { return nil }
        var position = 0
        var end = 0
        while let message = Payload.next(in: reply, &position) {
            guard let found = Scan.position(of: "\"offset\":", in: reply, from: position),
                let offset = Scan.number(after: "\"offset\":", in: reply, from: found)
            else { return nil }
            entries.append(.init(offset: offset, message: message))
            end = found + 9
        }
        // A subscribe result names the position before the publications.
        let isBefore = Scan.position(of: "\"epoch\":\"", in: reply, from: end) == nil
        let start = isBefore ? 0 : end
        guard let found = Scan.position(of: "\"epoch\":\"", in: reply, from: start) else { return }
        epoch = Scan.text(after: "\"epoch\":\"", in: reply, from: found) ?? ""
        top = Scan.number(after: "\"offset\":", in: reply, from: start) ?? 0
    }
}

/// Reads rooms from their beginning through every node, for the checker.
struct ReadBack {
    let cluster: VencejoCluster
    /// Nodes that have joined it.
    var others: [ClusterFile.Node] = []
    var pageSize = 300

    /// All logs of `rooms` (with their numbers in the history), one for each node.
    func read(_ rooms: [(name: String, number: UInt32)], epochs: inout SymbolTable) throws -> FinalLogs {
        var logs = FinalLogs()
        for (index, node) in (cluster.file.nodes + others).enumerated() {
            let loop = try LoadLoop()
            defer { loop.closeAll() }
            let state = State()
            loop.onClose = { _ in state.isClosed = true }
            loop.onMessage = { _, payload in
                Scan.forEachLine(payload) { line in
                    if let page = HistoryPage(line) {
                        state.page = page
                    } else if Scan.contains("\"error\":", in: line) {
                        state.error = String(decoding: line, as: UTF8.self)
                    }
                }
            }
            let connection = try loop.openWebSocket(host: node.host, port: node.gatewayPort, tag: 0)
            guard loop.turn(seconds: 10, until: { connection.state == .ready || state.isClosed }), !state.isClosed
            else {
                throw BenchError("cannot read back from node \(node.id)")
            }
            for room in rooms {
                let (epoch, entries) = try read(room.name, loop, connection, state)
                logs.logs.append(
                    ReplicaLog(
                        room: room.number,
                        replica: UInt64(index + 1),
                        epoch: epoch.isEmpty ? 0 : epochs.number(of: epoch),
                        floor: (entries.first?.offset ?? 1) - 1,
                        entries: entries
                    )
                )
            }
        }
        return logs
    }

    private final class State {
        var page: HistoryPage?
        var error: String?
        var isClosed = false
    }

    private func read(
        _ room: String,
        _ loop: LoadLoop,
        _ connection: Connection,
        _ state: State
    ) throws -> (epoch: String, entries: [ReplicaLog.Entry]) {
        var entries: [ReplicaLog.Entry] = []
        var epoch = ""
        var failures = 0
        while true {
            state.page = nil
            state.error = nil
            let since = entries.last.map { (epoch: epoch, offset: $0.offset) }
            loop.history(connection, room: room, since: since, limit: pageSize)
            _ = loop.turn(seconds: 10) { state.page != nil || state.error != nil || state.isClosed }
            if let page = state.page {
                epoch = page.epoch
                entries.append(contentsOf: page.entries)
                if page.entries.isEmpty || page.entries.last!.offset >= page.top { return (epoch, entries) }
                continue
            }
            failures += 1
            guard !state.isClosed, failures < 50 else {
                throw BenchError("cannot read back room \(room): \(state.error ?? "no answer")")
            }
            Clock.sleep(milliseconds: 100)
        }
    }
}

/// What the checker's report means in the words of a benchmark's columns.
extension DeliveryCounts {
    init(_ report: CheckReport) {
        delivered = UInt64(report.statistics.acknowledged)
        lost = UInt64(
            [.lostWrite, .pollSkip, .hole, .unseen, .precommittedRead].map(report.count).reduce(0, +)
        )
        duplicated = UInt64(report.count(of: .duplicate))
        reordered = UInt64(
            [.nonmonotonicSend, .nonmonotonicPoll, .realTimeOrder, .inconsistentOffsets].map(report.count).reduce(0, +)
        )
    }
}

/// Every violation, as lines of a report.
func breaches(of report: CheckReport) -> [String] {
    ViolationName.allCases.compactMap { name in
        let count = report.count(of: name)
        guard count > 0 else { return nil }
        let example = report.violations.first { $0.name == name }
        return "\(count) x \(name.rawValue), e.g. \(example?.description ?? "")"
    }
}
