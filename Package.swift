// swift-tools-version: 6.2
import PackageDescription

// The manifest draws the architecture: `pure` targets are floors 0-2 (no NIO, no Foundation, no clock, no randomness),
// `shell` targets give a core its sockets, disks and clock. `Tests/TidyTests` checks the import rules.

let warningsAsErrors = Context.environment["VENCEJO_WARNINGS_AS_ERRORS"] != nil
// Leaves the Redis adapter out: the program then has cluster and standalone mode only.
let withoutRedis = Context.environment["VENCEJO_WITHOUT_REDIS"] != nil

let common: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        // Exclusivity is checked in debug builds, where the tests run; in release it costs 2 to 3 % of a publish.
        // Optimizing across modules saves a fifth of the time of GET and XADD.
        .unsafeFlags(["-enforce-exclusivity=unchecked", "-cross-module-optimization"], .when(configuration: .release)),
    ] + (warningsAsErrors ? [.treatAllWarnings(as: .error)] : [])

func pure(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(
        name: name,
        dependencies: dependencies + [
            .product(name: "DequeModule", package: "swift-collections"),
            .product(name: "OrderedCollections", package: "swift-collections"),
        ],
        swiftSettings: common
    )
}

func shell(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: common)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource] = []) -> Target {
    .testTarget(name: name, dependencies: dependencies, resources: resources, swiftSettings: common)
}

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let collections: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let histogram: Target.Dependency = .product(name: "Histogram", package: "hdrhistogram-swift")

let package = Package(
    name: "vencejo",
    products: [
        .executable(name: "vencejo", targets: ["vencejo"]),
        .executable(name: "bench", targets: ["bench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    ],
    targets: [
        // System libraries and the C that Swift cannot say.
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .target(name: "CPosixShims"),

        // Floor 0.
        pure("Primitives", ["CPosixShims"]),
        shell("Locks", []),

        // Floor 1: codecs.
        pure("WebSocket", ["Primitives"]),
        pure("ClientProtocol", ["Primitives"]),
        pure("LogFormat", ["Primitives", "CLZ4"]),
        pure("RESP", ["Primitives"]),

        // Floor 2: protocols and state machines.
        pure("Raft", ["Primitives"]),
        pure("Placement", ["Primitives"]),
        pure("SWIM", ["Primitives"]),
        pure("Rooms", ["Primitives"]),
        pure("Keys", ["Primitives", "RESP"]),
        pure("PeerProtocol", ["Primitives", "Raft", "Placement", "Rooms", "Keys"]),
        pure("Broker", ["Primitives", "PeerProtocol", "Raft", "Placement", "Rooms", "Keys", "RESP"]),

        pure("RedisBackplane", ["Primitives", "RESP", "ClientProtocol", "PeerProtocol", "Rooms", "Broker"]),

        // Floor 3: I/O shells.
        shell("SystemOpenSSL", ["COpenSSL"]),
        shell("LogStorage", ["Locks", "Primitives", "LogFormat", "CPosixShims"]),
        shell("EventLoops", ["Locks", "Primitives", "CPosixShims", nioCore, nioPosix]),

        // Floor 4: services.
        shell("ClusterConfiguration", ["Primitives", "RESP", "SWIM", .product(name: "TOMLKit", package: "TOMLKit")]),
        shell(
            "Cluster",
            ["Primitives", "PeerProtocol", "SWIM", "EventLoops", "SystemOpenSSL", nioCore, nioPosix, logging]
        ),
        shell(
            "Gateway",
            [
                "Primitives", "WebSocket", "ClientProtocol", "Broker", "Rooms", "EventLoops", "SystemOpenSSL", nioCore,
                nioPosix, logging, collections,
            ]
        ),
        shell(
            "RedisAdapter",
            [
                "Primitives", "RESP", "RedisBackplane", "Broker", "EventLoops", "SystemOpenSSL", nioCore, collections,
            ]
        ),
        shell(
            "RESPServer",
            [
                "Locks", "Primitives", "ClientProtocol", "RESP", "Keys", "Broker", "Rooms", "EventLoops", nioCore,
                collections,
            ]
        ),
        shell(
            "Admin",
            [
                "Primitives", .product(name: "Hummingbird", package: "hummingbird"), logging, nioCore,
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ]
        ),
        shell(
            "VencejoClient",
            ["Primitives", "WebSocket", "ClientProtocol", "Rooms", "SystemOpenSSL", nioCore, nioPosix, collections]
        ),

        // Floor 5: composition.
        shell(
            "Node",
            [
                "Locks", "Primitives", "PeerProtocol", "SWIM", "LogFormat", "Raft", "Placement", "Rooms", "Broker",
                "LogStorage",
                "EventLoops", "ClusterConfiguration", "Cluster", "Gateway", "Admin", "SystemOpenSSL", "CPosixShims",
                "RESP", "Keys", "RESPServer", "RedisBackplane", "RedisAdapter",
                nioCore, nioPosix, logging, .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ]
        ),
        .executableTarget(
            name: "vencejo",
            dependencies: [
                "Locks", "CPosixShims", "Primitives", "Admin", "ClusterConfiguration", "ClientProtocol", "Broker",
                "Node", "VencejoClient", "LogStorage",
                nioCore, nioPosix, logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: common
        ),
        .executableTarget(
            name: "bench",
            dependencies: [
                "Locks", "Primitives", "WebSocket", "CPosixShims", "HistoryChecker", histogram,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "bench",
            swiftSettings: common
        ),

        // Proof.
        .target(name: "Certificates", path: "Tests/Certificates", swiftSettings: common),
        .target(name: "OwnThread", dependencies: ["Locks"], path: "Tests/OwnThread", swiftSettings: common),
        .target(name: "RedisProcess", dependencies: ["Locks"], path: "Tests/RedisProcess", swiftSettings: common),
        pure("HistoryChecker", ["Primitives"]),
        .target(
            name: "DiskSimulation",
            dependencies: ["Locks", "LogStorage", "Primitives"],
            path: "Tests/DiskSimulation",
            swiftSettings: common
        ),
        .target(
            name: "SimulationKit",
            dependencies: [
                "Primitives", "LogStorage", "LogFormat", "DiskSimulation", "PeerProtocol", "Placement", "Raft", "Rooms",
                "Keys", "Broker", "HistoryChecker", collections,
            ],
            path: "Tests/SimulationKit",
            swiftSettings: common
        ),
        .executableTarget(
            name: "simulate",
            dependencies: [
                "SimulationKit", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Tests/Simulate",
            swiftSettings: common
        ),
        .target(
            name: "LocalRESP",
            dependencies: ["Broker", "EventLoops", "Keys", "Primitives", "RESPServer", "Rooms", nioCore],
            path: "Tests/LocalRESP",
            swiftSettings: common
        ),
        .executableTarget(
            name: "resp-test-server",
            dependencies: ["LocalRESP", "RESPServer"],
            path: "Tests/RESPTestServer",
            swiftSettings: common
        ),
        tests("PrimitivesTests", ["Primitives"]),
        tests("RESPTests", ["RESP", "Primitives"]),
        tests("KeysTests", ["Keys", "RESP", "Primitives"]),
        tests("WebSocketTests", ["WebSocket", "Primitives"]),
        tests("ClientProtocolTests", ["ClientProtocol", "Primitives"]),
        tests("RaftTests", ["OwnThread", "Raft", "Primitives"], resources: [.copy("Scripts")]),
        tests("LogStorageTests", ["Locks", "OwnThread", "LogStorage", "LogFormat", "DiskSimulation", "Primitives"]),
        tests("PeerProtocolTests", ["PeerProtocol", "Raft", "Rooms", "Keys", "Primitives"]),
        tests(
            "MeshTests",
            [
                "Locks", "OwnThread", "Certificates", "Cluster", "EventLoops", "PeerProtocol", "Raft", "Rooms",
                "Primitives", "SystemOpenSSL", nioCore, nioPosix, logging,
            ]
        ),
        tests(
            "GossipTests",
            [
                "Locks", "OwnThread", "Admin", "Cluster", "ClusterConfiguration", "EventLoops", "Node", "Primitives",
                "SWIM", "vencejo", nioCore, logging,
            ]
        ),
        tests(
            "GatewayTests",
            [
                "OwnThread", "Gateway", "VencejoClient", "Broker", "Rooms", "ClientProtocol", "WebSocket", "EventLoops",
                "Primitives",
                nioCore, nioPosix,
            ]
        ),
        tests(
            "RedisAdapterTests",
            [
                "Locks", "OwnThread", "Certificates", "RedisProcess", "RedisAdapter", "RedisBackplane", "RESP",
                "Broker", "SystemOpenSSL", "PeerProtocol",
                "Rooms", "EventLoops", "Primitives", "vencejo", nioCore,
            ]
        ),
        tests(
            "RESPServerTests",
            ["Locks", "OwnThread", "LocalRESP", "RESPServer", "Broker", "Rooms", "Primitives"]
        ),
        tests("AdminTests", ["OwnThread", "Admin", logging]),
        tests("SystemOpenSSLTests", ["SystemOpenSSL"]),
        tests("BenchTests", ["bench", "HistoryChecker", "Primitives"]),
        tests("RoomsTests", ["Rooms", "Primitives"]),
        tests("PlacementTests", ["Placement", "Primitives"]),
        tests("SWIMTests", ["OwnThread", "SWIM", "Primitives"]),
        tests(
            "BrokerTests",
            ["OwnThread", "Broker", "Placement", "PeerProtocol", "Rooms", "Raft", "Keys", "Primitives"]
        ),
        tests(
            "RedisBackplaneTests",
            ["RedisBackplane", "RESP", "Broker", "PeerProtocol", "Rooms", "Primitives"]
        ),
        tests("EventLoopsTests", ["Locks", "EventLoops", "Primitives", nioCore, nioPosix]),
        tests("ClusterConfigurationTests", ["ClusterConfiguration", "SWIM", "Primitives"]),
        tests("HistoryCheckerTests", ["HistoryChecker", "Primitives"]),
        tests("SimulationTests", ["OwnThread", "SimulationKit", "HistoryChecker", "Broker", "Raft", "Primitives"]),
        tests(
            "ClusterTests",
            [
                "Locks", "OwnThread", "Certificates", "RedisProcess", "RESP", "VencejoClient", "WebSocket",
                "HistoryChecker",
                "ClusterConfiguration", "Admin",
                "Primitives", "Broker", "Node", "SWIM",
                "bench", "vencejo",
                nioCore, nioPosix,
            ],
            resources: [.copy("Clients")]
        ),
        tests("TidyTests", []),
    ]
)

let redisTargets = ["RedisBackplane", "RedisAdapter", "RedisBackplaneTests", "RedisAdapterTests"]
if withoutRedis { package.targets.removeAll { redisTargets.contains($0.name) } }
for target in package.targets where target.name == "Node" {
    target.exclude = [withoutRedis ? "Redis" : "WithoutRedis"]
    guard withoutRedis else { continue }
    target.dependencies.removeAll {
        if case .byNameItem(let name, _) = $0 { redisTargets.contains(name) } else { false }
    }
}
