import Foundation
import Glibc
import Histogram
import HistoryChecker
import Primitives

/// Closed-loop publishers: each connection has `window` publishes in flight, to the rooms in turn.
final class PublishLoad {
    private let cluster: VencejoCluster
    private let window: Int
    private let size: Int
    private let roomBytes: [[UInt8]]
    let roomNumbers: [(name: String, number: UInt32)]
    private let connectionCount: Int

    /// Every publish of the run, the warm-up's too.
    var history = History()

    private struct Pending {
        var command: UInt64
        var record: Int
    }

    /// What each connection waits for, by command number modulo the ring's size.
    private var pending: [[Pending]] = []
    private var inFlight: [Int] = []
    private var sequences: [[UInt64]] = []
    private var epochCaches: [EpochCache]
    private static let ringSize = 2048

    private var nextMessage: UInt64 = 1
    private var nextRoom = 0
    private var latency = LatencySummary.makeHistogram()
    private var isMeasuring = false
    private var acknowledged: UInt64 = 0
    private var failed: UInt64 = 0
    private var firstError: UInt64 = 0
    private var closed = 0

    init(cluster: VencejoCluster, connections: Int, window: Int, size: Int, rooms: [String]) {
        self.cluster = cluster
        self.window = window
        self.size = size
        connectionCount = connections
        roomBytes = rooms.map { Array($0.utf8) }
        var table = SymbolTable()
        roomNumbers = rooms.map { ($0, table.number(of: $0)) }
        history.rooms = table
        epochCaches = Array(repeating: EpochCache(), count: rooms.count + 1)
        let none = Pending(command: 0, record: -1)
        pending = Array(repeating: Array(repeating: none, count: Self.ringSize), count: connections)
        inFlight = Array(repeating: 0, count: connections)
        sequences = Array(repeating: Array(repeating: 0, count: rooms.count), count: connections)
    }

    func run(seconds: Double) throws -> Measurement {
        let loop = try LoadLoop()
        defer { loop.closeAll() }
        var progress = Progress()
        loop.onClose = { [unowned self] _ in closed += 1 }
        loop.onMessage = { [unowned self] connection, payload in
            let now = Clock.now()
            Scan.forEachLine(payload) { receive(connection, $0, now) }
        }
        var connections: [Connection] = []
        for tag in 0..<connectionCount {
            let node = cluster.file.nodes[tag % cluster.file.nodes.count]
            connections.append(try loop.openWebSocket(port: node.gatewayPort, tag: tag))
        }
        guard loop.turn(seconds: 20, until: { loop.opening == 0 }), closed == 0 else {
            throw BenchError("the publishers could not connect")
        }

        // Rooms and their logs come into being during the warm-up.
        drive(loop, connections, until: Clock.now() + 1_000_000_000) { progress.show("warm-up", $0) }
        (acknowledged, failed) = (0, 0)
        let cpuBefore = cluster.processorMicroseconds()
        let begin = Clock.now()
        isMeasuring = true
        drive(loop, connections, until: begin + UInt64(seconds * 1e9)) { progress.show("publishing", $0) }
        let elapsed = Double(Clock.now() - begin) / 1e9
        isMeasuring = false
        let cpu = zip(cluster.processorMicroseconds(), cpuBefore).map { Double($0 - $1) }
        let (measured, errors) = (acknowledged, failed)
        _ = loop.turn(seconds: 15) { self.inFlight.allSatisfy { $0 == 0 } || self.closed > 0 }
        progress.finish()

        var line = Measurement(scenario: "quorum publish", target: "vencejo, \(cluster.servers.count) nodes")
        line.connections = connectionCount
        line.inFlight = connectionCount * window
        line.attempted = measured + errors
        line.failed = errors
        line.rate = Double(measured) / elapsed
        line.latency = LatencySummary(latency)
        let operations = Double(max(1, measured))
        line.cpuMicroseconds = cpu.reduce(0, +) / operations
        line.cpuMicrosecondsPerNode = cpu.map { $0 / operations }
        line.remarks = errors > 0 ? "first error code \(firstError)" : "no errors"
        let left = inFlight.reduce(0, +)
        if left > 0 { line.remarks += ", \(left) never answered" }
        if closed > 0 { line.remarks += ", \(closed) connections closed" }
        return line
    }

    private func drive(
        _ loop: LoadLoop,
        _ connections: [Connection],
        until deadline: UInt64,
        show: (Double) -> Void
    ) {
        let begin = Clock.now()
        while case let now = Clock.now(), now < deadline, closed < connections.count {
            for connection in connections where connection.state == .ready {
                while inFlight[connection.tag] < window { publish(loop, connection) }
            }
            loop.turn(milliseconds: 20)
            show(Double(now - begin) / Double(deadline - begin))
        }
    }

    private func publish(_ loop: LoadLoop, _ connection: Connection) {
        let room = nextRoom
        nextRoom = room + 1 == roomBytes.count ? 0 : room + 1
        sequences[connection.tag][room] += 1
        let command = loop.publish(connection, room: roomBytes[room], message: nextMessage, size: size)
        let record = HistoryRecord(
            invoked: Clock.instant(),
            returned: .distantFuture,
            process: UInt32(connection.tag + 1),
            connection: UInt32(connection.tag + 1),
            kind: .publish,
            room: roomNumbers[room].number,
            producer: UInt64(connection.tag + 1),
            sequence: sequences[connection.tag][room],
            message: nextMessage,
            outcome: .info
        )
        pending[connection.tag][Int(command) & (Self.ringSize - 1)] = Pending(
            command: command,
            record: history.records.count
        )
        history.records.append(record)
        inFlight[connection.tag] += 1
        nextMessage += 1
    }

    private func receive(_ connection: Connection, _ line: UnsafeRawBufferPointer, _ now: UInt64) {
        guard let reply = PublishReply(line) else { return }
        let slot = Int(truncatingIfNeeded: reply.command) & (Self.ringSize - 1)
        let entry = pending[connection.tag][slot]
        guard entry.command == reply.command, entry.record >= 0 else { return }
        pending[connection.tag][slot].record = -1
        inFlight[connection.tag] -= 1
        switch reply.outcome {
        case .acknowledged(let offset):
            let room = Int(history.records[entry.record].room)
            history.records[entry.record].outcome = .ok
            history.records[entry.record].returned = Instant(nanoseconds: now)
            history.records[entry.record].offset = offset
            history.records[entry.record].epoch = epochCaches[room].number(in: line, &history.epochs)
            acknowledged += 1
            if isMeasuring { latency.record(now - history.records[entry.record].invoked.nanoseconds) }
        case .temporary(let code):
            failed += 1
            if firstError == 0 { firstError = code }
        case .refused(let code):
            history.records[entry.record].outcome = .fail
            history.records[entry.record].returned = Instant(nanoseconds: now)
            failed += 1
            if firstError == 0 { firstError = code }
        }
    }
}

/// Writes a history in the checker's binary format.
func writeHistory(_ history: History, to path: String) throws {
    try Data(HistoryWriter.encode(history)).write(to: URL(fileURLWithPath: path))
}
