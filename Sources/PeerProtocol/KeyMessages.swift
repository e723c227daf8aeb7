import Keys
import Primitives

/// The owner's results of a gateway's units.
package struct KeyResults: Equatable, Sendable {
    package var partition: PartitionID
    package var gateway: GatewayID
    package var results: [Result]

    package struct Result: Equatable, Sendable {
        package var sequence: UInt64
        package var outcome: KeyOutcome

        package init(sequence: UInt64, outcome: KeyOutcome) {
            self.sequence = sequence
            self.outcome = outcome
        }
    }

    package init(partition: PartitionID, gateway: GatewayID, results: [Result]) {
        self.partition = partition
        self.gateway = gateway
        self.results = results
    }
}

/// A unit that only reads, to the owner of a key partition.
package struct KeyRead: Equatable, Sendable {
    package var partition: PartitionID
    /// Echoed in the reply; unique per (sender, partition), whatever the sender's restarts.
    package var token: UInt64
    package var gateway: GatewayID
    /// An encoded `KeyUnit`.
    package var unit: ArraySlice<UInt8>

    package init(partition: PartitionID, token: UInt64, gateway: GatewayID, unit: ArraySlice<UInt8>) {
        self.partition = partition
        self.token = token
        self.gateway = gateway
        self.unit = unit
    }
}

package struct KeyReadReply: Equatable, Sendable {
    package enum Status: Equatable, Sendable {
        case ok(KeyOutcome)
        case notOwner(NodeID?)
        /// Too many reads at once.
        case busy
    }

    package var partition: PartitionID
    package var token: UInt64
    package var status: Status

    package init(partition: PartitionID, token: UInt64, status: Status) {
        self.partition = partition
        self.token = token
        self.status = status
    }
}

/// Waits that ended, to the gateway that serves them.
package struct KeyServed: Equatable, Sendable {
    package var partition: PartitionID
    package var gateway: GatewayID
    package var replies: [Reply]

    package struct Reply: Equatable, Sendable {
        package var ticket: UInt64
        package var bytes: [UInt8]

        package init(ticket: UInt64, bytes: [UInt8]) {
            self.ticket = ticket
            self.bytes = bytes
        }
    }

    package init(partition: PartitionID, gateway: GatewayID, replies: [Reply]) {
        self.partition = partition
        self.gateway = gateway
        self.replies = replies
    }
}

extension KeyResults {
    func encode(into writer: inout ByteWriter) {
        writer.write(partition)
        writer.write(gateway.rawValue)
        writer.writeVarint(UInt64(results.count))
        for result in results {
            writer.writeVarint(result.sequence)
            result.outcome.encode(into: &writer)
        }
    }
}

extension KeyRead {
    func encode(into writer: inout ByteWriter) {
        writer.write(partition)
        writer.writeVarint(token)
        writer.write(gateway.rawValue)
        writer.writeBytes(unit)
    }
}

extension KeyReadReply {
    func encode(into writer: inout ByteWriter) {
        writer.write(partition)
        writer.writeVarint(token)
        switch status {
        case .ok(let outcome):
            writer.write(UInt8(0))
            outcome.encode(into: &writer)
        case .notOwner(let owner):
            writer.write(UInt8(1))
            writer.write(owner)
        case .busy: writer.write(UInt8(2))
        }
    }
}

extension KeyServed {
    func encode(into writer: inout ByteWriter) {
        writer.write(partition)
        writer.write(gateway.rawValue)
        writer.writeVarint(UInt64(replies.count))
        for reply in replies {
            writer.writeVarint(reply.ticket)
            writer.writeBytes(reply.bytes)
        }
    }
}

extension PeerDecoder {
    mutating func keyResults() throws(DecodeError) -> KeyResults {
        let partition = try partition()
        let gateway = GatewayID(rawValue: try reader.read())
        var results: [KeyResults.Result] = []
        for _ in 0..<(try elements(atLeast: 2, "key results")) {
            let sequence = try reader.readVarint()
            results.append(KeyResults.Result(sequence: sequence, outcome: try KeyOutcome(from: &reader)))
        }
        return KeyResults(partition: partition, gateway: gateway, results: results)
    }

    mutating func keyRead() throws(DecodeError) -> KeyRead {
        let partition = try partition()
        let token = try reader.readVarint()
        let gateway = GatewayID(rawValue: try reader.read())
        return KeyRead(partition: partition, token: token, gateway: gateway, unit: try slice(limit: .max, "key unit"))
    }

    mutating func keyReadReply() throws(DecodeError) -> KeyReadReply {
        let partition = try partition()
        let token = try reader.readVarint()
        let status: KeyReadReply.Status
        switch try reader.readByte() {
        case 0: status = .ok(try KeyOutcome(from: &reader))
        case 1: status = .notOwner(try optionalNode())
        case 2: status = .busy
        case let other: throw .unknown(field: "key read status", value: UInt64(other))
        }
        return KeyReadReply(partition: partition, token: token, status: status)
    }

    mutating func keyServed() throws(DecodeError) -> KeyServed {
        let partition = try partition()
        let gateway = GatewayID(rawValue: try reader.read())
        var replies: [KeyServed.Reply] = []
        for _ in 0..<(try elements(atLeast: 2, "served waits")) {
            let ticket = try reader.readVarint()
            replies.append(KeyServed.Reply(ticket: ticket, bytes: try reader.readBytes(limit: .max, "reply")))
        }
        return KeyServed(partition: partition, gateway: gateway, replies: replies)
    }
}
