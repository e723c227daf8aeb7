import DequeModule
import Primitives

extension PartitionState {
    struct Mark: Equatable, Sendable {
        /// The first offset of the run.
        var offset: UInt64
        /// The log entry that holds that message, and its place among that entry's publishes.
        var index: LogIndex
        var ordinal: UInt32
        var timestamp: Timestamp
        /// Body bytes of all messages of the room before this one.
        var bytesBefore: UInt64
    }

    struct Cursor: Sendable {
        var consumer: [UInt8]
        var offset: UInt64
        var lastTime: Timestamp
        /// The room has begun a new epoch since the cursor last moved.
        var isOfFormerEpoch = false
    }

    /// One room of a partition.
    struct Room: Sendable {
        var name: RoomName
        var epoch: UInt64
        /// The first offset that is retained; `next` when none is.
        var first: UInt64 = 1
        /// The offset that the next message gets.
        var next: UInt64 = 1
        var bytes: UInt64 = 0
        var lastTime: Timestamp = 0
        var marks: Deque<Mark> = []
        var producers = ProducerTable()
        var cursors: [Cursor] = []
        var policy: NamespacePolicy
        /// The newest messages, contiguous up to `next - 1`; not part of the state.
        var tail: Deque<Publication> = []

        init(name: RoomName, epoch: UInt64, policy: NamespacePolicy) {
            self.name = name
            self.epoch = epoch
            self.policy = policy
        }

        mutating func append(
            _ command: PublishCommand,
            index: LogIndex,
            ordinal: UInt32,
            now: Timestamp,
            limits: RoomLimits
        ) -> Publication {
            let offset = next
            if marks.last.map({ offset >= $0.offset + PartitionState.markInterval }) ?? true {
                marks.append(
                    Mark(offset: offset, index: index, ordinal: ordinal, timestamp: now, bytesBefore: bytes)
                )
            }
            let publication = Publication(offset: offset, timestamp: now, body: command.body)
            next = offset + 1
            bytes += UInt64(command.body.count)
            lastTime = now
            if command.producer != nil || !command.idempotencyKey.isEmpty {
                producers.record(
                    producer: command.producer,
                    key: command.idempotencyKey,
                    offset: offset,
                    now: now,
                    limits: limits
                )
            }
            tail.append(publication)
            trim(now: now)
            return publication
        }

        /// Moves the retention floor: exact by count, at the grain of marks by time and size.
        mutating func trim(now: Timestamp) {
            var floor = first
            if policy.retentionCount > 0, next > policy.retentionCount {
                floor = max(floor, next - policy.retentionCount)
            }
            if policy.retentionBytes > 0 || policy.retentionMilliseconds > 0 {
                var keep = 0
                while keep + 1 < marks.count {
                    let tooBig =
                        policy.retentionBytes > 0 && bytes - marks[keep + 1].bytesBefore >= policy.retentionBytes
                    let tooOld =
                        policy.retentionMilliseconds > 0
                        && marks[keep + 1].timestamp + policy.retentionMilliseconds < now
                    guard tooBig || tooOld else { break }
                    keep += 1
                }
                if keep > 0 { floor = max(floor, marks[keep].offset) }
                if policy.retentionMilliseconds > 0, lastTime + policy.retentionMilliseconds < now { floor = next }
            }
            guard floor > first else { return }
            first = floor
            while marks.count > 1, marks[1].offset <= first { marks.removeFirst() }
            if first == next { marks.removeAll() }
        }
    }
}
