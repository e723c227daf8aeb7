import Foundation
import HistoryChecker
import Locks
import NIOCore
import Primitives
import VencejoClient

/// Publishers and subscribers of a real cluster, and the history of what they saw.
final class Recorder: Sendable {
    private struct State {
        var history = History()
        var connection: UInt32 = 0
        var acknowledged: [String: Int] = [:]
        /// The last offset that each session has, by process.
        var last: [UInt32: UInt64] = [:]
        var gaps = 0
        var disconnects = 0
        var failures: [String] = []
    }

    private let state = Lock(State())
    /// The machine's monotonic clock: one for all that this process records.
    static func now() -> Instant { Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds) }

    var history: History { state.withLock { $0.history } }
    /// Problems of the clients that are not the checker's business, e.g. a subscription that ended.
    var failures: [String] { state.withLock { $0.failures } }
    /// Sessions that lost their connection, by now.
    var disconnects: Int { state.withLock { $0.disconnects } }
    func acknowledged(in room: String) -> Int { state.withLock { $0.acknowledged[room] ?? 0 } }
    func last(of process: UInt32) -> UInt64 { state.withLock { $0.last[process] ?? 0 } }

    /// Publishes `{"m":message}` until it is acknowledged or `giveUp` says so; the key makes repeats harmless. One
    /// record for the whole message.
    func publish(
        _ client: VencejoClient,
        room: String,
        process: UInt32,
        sequence: UInt64,
        message: UInt64,
        giveUp: @Sendable () -> Bool
    ) async {
        let invoked = Recorder.now()
        var outcome = RecordOutcome.info
        var position: RoomPosition?
        while true {
            do {
                let receipt = try await client.publish(
                    room,
                    Array("{\"m\":\(message)}".utf8),
                    idempotencyKey: "k\(message)"
                )
                position = receipt.position
                outcome = .ok
                break
            } catch {
                if giveUp() { break }
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
        let returned = Recorder.now()
        let (settled, place) = (outcome, position)
        state.withLock { state in
            if settled == .ok { state.acknowledged[room, default: 0] += 1 }
            state.history.records.append(
                HistoryRecord(
                    invoked: invoked,
                    returned: settled == .ok ? returned : .distantFuture,
                    process: process,
                    kind: .publish,
                    room: state.history.rooms.number(of: room),
                    epoch: place.map { state.history.epochs.number(of: String($0.epoch)) } ?? 0,
                    producer: UInt64(process),
                    producerEpoch: 1,
                    sequence: sequence,
                    message: message,
                    offset: place?.offset ?? 0,
                    outcome: settled
                )
            )
        }
    }

    /// Records a subscription's events until the stream ends or the task is cancelled.
    func follow(_ client: VencejoClient, room: String, process: UInt32) async {
        for await event in client.subscribe(room, SubscriptionOptions(start: .beginning)) {
            let now = Recorder.now()
            switch event {
            case .subscribed(let position, let wasRecovering, let recovered):
                state.withLock { state in
                    state.connection += 1
                    let last = state.last[process]
                    // A recovered session goes on where it was: nothing is declared, and the checker finds any hole.
                    guard last == nil || !recovered || !wasRecovering else { return }
                    let offset = position?.offset ?? 0
                    append(&state, .subscribe, room, position?.epoch, process, 0, offset, now)
                    state.last[process] = offset
                }
            case .message(let message):
                state.withLock { state in
                    let number = Recorder.number(message.data)
                    append(&state, .receive, room, message.epoch, process, number, message.offset, now)
                    state.last[process] = message.offset
                }
            case .gap(_, let to, _):
                state.withLock { state in
                    state.gaps += 1
                    append(&state, .subscribe, room, nil, process, 0, to, now)
                    state.last[process] = to
                }
            case .dropped(let count): note("session \(process): \(count) messages of a stored room dropped")
            case .disconnected: state.withLock { $0.disconnects += 1 }
            case .ended(let failure):
                if let failure, failure != .closed { note("session \(process) ended: \(failure)") }
            }
        }
    }

    func note(_ text: String) { state.withLock { $0.failures.append(text) } }

    /// A fault on a node, for the record.
    func fault(_ node: Int, _ kind: UInt64, from: Instant) {
        state.withLock {
            $0.history.records.append(
                HistoryRecord(
                    invoked: from,
                    returned: Recorder.now(),
                    process: UInt32(node),
                    kind: .fault,
                    message: kind
                )
            )
        }
    }

    private func append(
        _ state: inout State,
        _ kind: RecordKind,
        _ room: String,
        _ epoch: UInt64?,
        _ process: UInt32,
        _ message: UInt64,
        _ offset: UInt64,
        _ now: Instant
    ) {
        // A gap says no epoch: it is in the session's own.
        let number =
            epoch.map { state.history.epochs.number(of: String($0)) }
            ?? state.history.records.last { $0.process == process && $0.epoch != 0 }?.epoch ?? 0
        state.history.records.append(
            HistoryRecord(
                invoked: now,
                returned: now,
                process: process,
                connection: state.connection,
                kind: kind,
                room: state.history.rooms.number(of: room),
                epoch: number,
                message: message,
                offset: offset
            )
        )
    }

    /// The number in `{"m":7}`.
    static func number(_ data: [UInt8]) -> UInt64 {
        UInt64(String(decoding: data.filter { (48...57).contains($0) }, as: UTF8.self)) ?? 0
    }

    /// Everything that `client`'s node returns of a room.
    func read(_ client: VencejoClient, room: String, replica: UInt64) async throws -> ReplicaLog {
        var position = RoomPosition(epoch: try await client.history(room, limit: 0).top.epoch, offset: 0)
        var entries: [ReplicaLog.Entry] = []
        while true {
            let page = try await client.history(room, since: position)
            for message in page.messages {
                entries.append(.init(offset: message.offset, message: Recorder.number(message.data)))
                position.offset = message.offset
            }
            if page.messages.isEmpty { break }
        }
        return state.withLock { state in
            ReplicaLog(
                room: state.history.rooms.number(of: room),
                replica: replica,
                epoch: state.history.epochs.number(of: String(position.epoch)),
                entries: entries
            )
        }
    }
}
