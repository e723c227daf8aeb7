import ArgumentParser

/// A kind of load that an operator asks about, and the command that runs it here.
struct Profile {
    var name: String
    var answers: String
    /// The words behind `bench`; nil: there is none yet.
    var commands: [[String]]
    /// Why there is no command.
    var absence = ""

    /// The profiles of the test plan that this project began with.
    static let all: [Profile] = [
        Profile(
            name: "connect surge",
            answers: "connections/s from handshake to subscribed",
            commands: [["idle", "--connections", "10000"]]
        ),
        Profile(
            name: "sustained",
            answers: "latency and loss over a minute of quorum publishes",
            commands: [["publish", "--seconds", "60"]]
        ),
        Profile(
            name: "flood",
            answers: "deliveries/s and CPU with 64 messages always in flight",
            commands: [["fanout", "--in-flight", "64"]]
        ),
        Profile(
            name: "burst",
            answers: "memory after 64 KiB to each of 10,000 connections at once",
            commands: [["idle", "--burst", "65536"]]
        ),
        Profile(
            name: "fan-out by room size",
            answers: "CPU per delivery as a room grows",
            commands: ["10", "100", "1000", "5000"].map { ["fanout", "--subscribers", $0] }
        ),
        Profile(
            name: "single channel vs partitioned",
            answers: "publishes/s to one room and to 64 rooms over all partitions",
            commands: [["publish", "--rooms", "1"], ["publish", "--rooms", "64"]]
        ),
        Profile(
            name: "batch vs single",
            answers: "Redis commands one by one and 16 in a packet",
            commands: [["redis", "--pipeline", "1,16"]]
        ),
        Profile(
            name: "compression on/off",
            answers: "bytes and CPU with permessage-deflate",
            commands: [],
            absence: "the gateway does not compress yet"
        ),
        Profile(
            name: "JSON vs binary",
            answers: "bytes and CPU with protobuf frames",
            commands: [],
            absence: "the gateway speaks JSON only yet"
        ),
        Profile(
            name: "sticky vs not",
            answers: "resuming at the node that a client was at, and at another",
            commands: [["scale"]]
        ),
        Profile(
            name: "failover",
            answers: "longest silence, nothing acknowledged lost",
            commands: [["failover"], ["faults"], ["compare", "--workloads", "failover"]]
        ),
        Profile(
            name: "resume storm",
            answers: "1,000 clients that come back at once and catch up",
            commands: [["compare", "--workloads", "resume-storm"]]
        ),
    ]
}

/// The benchmarks, and the profiles that they run.
struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Lists the benchmarks and the load profiles.")

    static func tables() -> [BenchmarkReport.Detail] {
        let benchmarks = BenchmarkReport.Detail(
            title: "Benchmarks",
            columns: ["benchmark", "load", "answers"],
            rows: [
                [
                    "fanout", "one room, N subscribers, k publishes in flight",
                    "CPU and latency per delivery, beside Redis",
                ],
                [
                    "propagation", "one room, subscribers on every node, publishers on each in turn",
                    "latency by node, and how far the nodes are apart",
                ],
                ["publish", "quorum publishes on 3 nodes", "acknowledgements/s, latency, nothing acknowledged lost"],
                [
                    "failover", "open-loop publishers, kill -9 of the owner",
                    "longest silence, nothing acknowledged lost",
                ],
                [
                    "faults", "nodes in network namespaces, faults one after the other",
                    "longest silences, one history, nothing lost",
                ],
                ["idle", "N idle connections, then a burst to each", "memory per connection, before and after"],
                ["redis", "Redis commands and Pub/Sub at one node's shim", "rate and CPU each, beside redis-server"],
                [
                    "scale", "resumes at the same node and elsewhere, an overloaded node, one partition and all",
                    "the scalability table: connections, msgs/s, p95/p99",
                ],
                [
                    "hot", "all rooms with traffic at one owner of three, auto_balance on",
                    "latency before and after leaderships moved",
                ],
                [
                    "compare", "fan-out, quorum publish, resume storm, kills",
                    "cluster mode, redis mode and Redis beside each other",
                ],
            ]
        )
        let profiles = BenchmarkReport.Detail(
            title: "Profiles",
            columns: ["profile", "answers", "run by"],
            rows: Profile.all.map { profile in
                let commands = profile.commands.map { "bench " + $0.joined(separator: " ") }.joined(separator: "; ")
                return [profile.name, profile.answers, commands.isEmpty ? "not there: \(profile.absence)" : commands]
            }
        )
        return [benchmarks, profiles]
    }

    func run() {
        for (index, table) in Self.tables().enumerated() {
            print((index > 0 ? "\n" : "") + table.title + "\n" + table.aligned(), terminator: "")
        }
    }
}
