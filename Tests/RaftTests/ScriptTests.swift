import Foundation
import Primitives
import Raft
import Testing

/// Runs `Scripts/*.txt`: commands, `----`, then what they must print. `VENCEJO_REWRITE=1` writes what they do print
/// into the source folder, for review.
@Suite("Scripts")
struct ScriptTests {
    static let names: [String] = {
        guard let folder = Bundle.module.resourceURL?.appendingPathComponent("Scripts"),
            let files = try? FileManager.default.contentsOfDirectory(atPath: folder.path)
        else { return [] }
        return files.filter { $0.hasSuffix(".txt") }.map { String($0.dropLast(4)) }.sorted()
    }()

    @Test("the scripts are found")
    func found() { #expect(Self.names.count >= 15) }

    @Test("a script prints what it says", arguments: names)
    func script(name: String) throws {
        let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Scripts")
        let isRewriting = ProcessInfo.processInfo.environment["VENCEJO_REWRITE"] == "1"
        let folder = isRewriting ? sources : try #require(Bundle.module.resourceURL).appendingPathComponent("Scripts")
        let text = try String(contentsOf: folder.appendingPathComponent("\(name).txt"), encoding: .utf8)
        let run = ScriptRun(text)
        if isRewriting {
            try run.printed.write(
                to: sources.appendingPathComponent("\(name).txt"),
                atomically: true,
                encoding: .utf8
            )
        } else {
            for (actual, expected) in zip(run.blocks, run.expected) {
                #expect(actual.output == expected, "\(actual.input.joined(separator: "; "))")
            }
        }
        #expect(run.cluster?.violations.isEmpty ?? false)
    }
}

/// One run of a script.
final class ScriptRun {
    struct Block {
        var comments: [String]
        var input: [String]
        var output: [String]
    }

    private(set) var cluster: TestCluster!
    private(set) var blocks: [Block] = []
    private(set) var expected: [[String]] = []

    init(_ text: String) {
        var block = Block(comments: [], input: [], output: [])
        var wanted: [String] = []
        var isOutput = false
        func finish() {
            if !block.input.isEmpty || !block.comments.isEmpty {
                for command in block.input { block.output += run(command) }
                blocks.append(block)
                expected.append(wanted)
            }
            block = Block(comments: [], input: [], output: [])
            wanted = []
            isOutput = false
        }
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init) {
            if line.isEmpty {
                finish()
            } else if isOutput {
                wanted.append(line)
            } else if line == "----" {
                isOutput = true
            } else if line.hasPrefix("#") {
                block.comments.append(line)
            } else {
                block.input.append(line)
            }
        }
        finish()
    }

    var printed: String {
        blocks.map { block in
            var lines = block.comments + block.input
            if !block.input.isEmpty { lines += ["----"] + block.output }
            return lines.joined(separator: "\n") + "\n"
        }.joined(separator: "\n")
    }

    private func run(_ command: String) -> [String] {
        var words = command.split(separator: " ").map(String.init)
        let isQuiet = words.last == "quiet"
        if isQuiet { words.removeLast() }
        if words[0] == "cluster" {
            makeCluster(Array(words.dropFirst()))
            return []
        }
        cluster.trace.removeAll()
        cluster.isTracing = !isQuiet
        execute(words)
        let violations = cluster.violations.map { "VIOLATION \($0)" }
        return cluster.trace.map { String($0) } + violations
    }

    private func makeCluster(_ words: [String]) {
        var settings = RaftSettings(electionTicks: 10, heartbeatTicks: 2)
        var voters: [UInt64] = []
        var learners: [UInt64] = []
        var spares: [UInt64] = []
        for word in words {
            let parts = word.split(separator: "=").map(String.init)
            let list = parts[1].split(separator: ",").compactMap { UInt64($0) }
            switch parts[0] {
            case "voters": voters = list
            case "learners": learners = list
            case "spares": spares = list
            case "uncommitted": settings.maxUncommittedBytes = Int(list[0])
            case "inflight": settings.maxInflightMessages = Int(list[0])
            case "message": settings.maxEntriesBytesPerMessage = Int(list[0])
            case "autoleave": settings.leavesJointAutomatically = list[0] == 1
            default: preconditionFailure("unknown option \(word)")
            }
        }
        cluster = TestCluster(voters: voters, learners: learners, spares: spares, settings: settings)
    }

    private func id(_ word: String) -> NodeID { NodeID(UInt64(word)!) }

    private func ids(_ word: String) -> [NodeID] { word.split(separator: ",").map { id(String($0)) } }

    private func link(_ word: String) -> (from: NodeID, to: NodeID) {
        let parts = word.components(separatedBy: "->")
        return (id(parts[0]), id(parts[1]))
    }

    private func execute(_ words: [String]) {
        let arguments = Array(words.dropFirst())
        switch words[0] {
        case "campaign": cluster.with(id(arguments[0])) { $0.campaign() }
        case "tick":
            for _ in 0..<Int(arguments[1])! { cluster.with(id(arguments[0])) { $0.tick() } }
        case "propose": propose(arguments)
        case "membership": change(arguments)
        case "read":
            let accepted = cluster.with(id(arguments[0])) { $0.readIndex(context: UInt64(arguments[1])!) }
            cluster.note(accepted ? "accepted" : "refused")
        case "transfer": cluster.with(id(arguments[0])) { $0.transferLeadership(to: id(arguments[1])) }
        case "forget": cluster.with(id(arguments[0])) { $0.forgetLeader() }
        case "ready": cluster.processReady(cluster.position(id(arguments[0])))
        case "sync": sync(arguments)
        case "stabilize":
            if !cluster.stabilize(only: arguments.isEmpty ? nil : ids(arguments[0])) { cluster.note("never quiet") }
        case "status":
            let wanted = arguments.isEmpty ? cluster.replicas.map(\.id) : ids(arguments[0])
            for id in wanted { cluster.statusLines(cluster.position(id)).forEach { cluster.note($0) } }
        case "log": log(id(arguments[0]))
        default: disturb(words[0], arguments)
        }
    }

    private func disturb(_ command: String, _ arguments: [String]) {
        switch command {
        case "deliver", "drop", "duplicate", "reverse": network(command, arguments)
        case "cut": cluster.cuts += arguments.map { link($0) }
        case "isolate":
            for other in cluster.replicas.map(\.id) where other != id(arguments[0]) {
                cluster.cuts += [(id(arguments[0]), other), (other, id(arguments[0]))]
            }
        case "heal": cluster.cuts.removeAll()
        case "crash": cluster.crash(cluster.position(id(arguments[0])))
        case "restart":
            cluster.start(cluster.position(id(arguments[0])), isFaulty: arguments.count > 1 && arguments[1] == "faulty")
        case "lose": loseTail(id(arguments[0]), Int(arguments[1])!)
        case "repaired":
            let isRepaired = cluster.node(id(arguments[0]).rawValue).isRepaired
            if isRepaired { markRepaired(id(arguments[0])) }
            cluster.note(isRepaired ? "repaired" : "not yet")
        case "compact": cluster.compact(cluster.position(id(arguments[0])), upTo: UInt64(arguments[1])!)
        case "evict": cluster.with(id(arguments[0])) { $0.evictEntries(upTo: UInt64(arguments[1])!) }
        default: preconditionFailure("unknown command \(command)")
        }
    }

    private func propose(_ arguments: [String]) {
        let data =
            arguments[1] == "bytes"
            ? [UInt8](repeating: 120, count: Int(arguments[2])!) : Array(arguments[1].utf8)
        describe(cluster.with(id(arguments[0])) { $0.propose(data) })
    }

    private func change(_ arguments: [String]) {
        let change: MembershipChange
        switch arguments[1] {
        case "learners": change = .setLearners(arguments.count > 2 ? ids(arguments[2]) : [])
        case "joint":
            change = .enterJoint(voters: ids(arguments[2]), learners: arguments.count > 3 ? ids(arguments[3]) : [])
        default: change = .leaveJoint
        }
        describe(cluster.with(id(arguments[0])) { $0.proposeMembership(change) })
    }

    private func describe(_ outcome: ProposeOutcome) {
        switch outcome {
        case .accepted(let term, let index): cluster.note("accepted as \(index)/\(term)")
        case .notLeader(let leader): cluster.note("not leader\(leader.map { ", try \($0)" } ?? "")")
        case .busy: cluster.note("busy")
        }
    }

    private func sync(_ arguments: [String]) {
        let position = cluster.position(id(arguments[0]))
        for _ in 0..<(arguments.count > 1 ? Int(arguments[1])! : Int.max) where !cluster.sync(position) { return }
    }

    private func network(_ command: String, _ arguments: [String]) {
        let link = arguments.isEmpty ? nil : self.link(arguments[0])
        func matches(_ packet: TestCluster.Packet) -> Bool {
            link.map { $0.from == packet.from && $0.to == packet.to } ?? true
        }
        let chosen = cluster.packets.filter(matches)
        let others = cluster.packets.filter { !matches($0) }
        switch command {
        case "duplicate": cluster.packets += chosen
        case "reverse": cluster.packets = others + chosen.reversed()
        case "drop":
            cluster.packets = others
            chosen.forEach { cluster.drop($0) }
        default:
            cluster.packets = others
            chosen.forEach { cluster.deliver($0) }
        }
    }

    /// The disk of a stopped node loses its last entries.
    private func loseTail(_ id: NodeID, _ count: Int) {
        cluster.replicas[cluster.position(id)].disk.entries.removeLast(count)
    }

    private func markRepaired(_ id: NodeID) {
        cluster.with(id) { $0.markRepaired() }
        cluster.replicas[cluster.position(id)].isFaulty = false
    }

    private func log(_ id: NodeID) {
        let disk = cluster.replicas[cluster.position(id)].disk
        cluster.note(
            "\(id) disk \(cluster.describe(disk.entries)) \(cluster.describe(.init(hardState: disk.hardState)))"
        )
    }
}
