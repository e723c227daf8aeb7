import Broker
import Primitives
import SWIM
import Testing

@testable import Node

/// What a node keeps of the members for its next start.
@Suite struct MemberListTests {
    private func list() -> MemberList {
        var list = MemberList(nodes: [
            ClusterNode(id: NodeID(1), name: "n1", host: "10.0.0.1", meshPort: 7946),
            ClusterNode(id: NodeID(2), name: "n2", host: "db.example", meshPort: 7956),
        ])
        list.gossip[NodeID(2)] = GossipAddress(host: "10.0.0.2", port: 7957)
        return list
    }

    @Test("what is written is read again, with the gossip's addresses where they are known")
    func roundTrip() throws {
        #expect(try MemberList(decoding: list().encoded) == list())
        let none = MemberList(nodes: [])
        #expect(try MemberList(decoding: none.encoded) == none)
    }

    @Test("the first format is still read; a later one, what is cut off and what is too long are refused")
    func formats() throws {
        var writer = ByteWriter()
        writer.writeVarint(2)
        for node in list().nodes {
            writer.writeString(node.name)
            writer.write(node.id.rawValue)
            writer.writeString(node.host)
            writer.write(node.meshPort)
        }
        #expect(try MemberList(decoding: writer.bytes) == MemberList(nodes: list().nodes))
        var later = list().encoded
        later[1] += 1
        #expect(throws: DecodeError.unknown(field: "members", value: 3)) { try MemberList(decoding: later) }
        let bytes = list().encoded
        for end in bytes.indices {
            #expect(throws: DecodeError.self) { try MemberList(decoding: Array(bytes[..<end])) }
        }
        #expect(throws: DecodeError.self) { try MemberList(decoding: bytes + [0]) }
    }
}
