import Keys
import Primitives

/// Counts of one shard of the shim since start. A plain value: the admin gets a copy.
package struct RESPMetrics: Sendable {
    /// What a connection is used for (RS-23).
    package enum Use: Int, CaseIterable, Sendable {
        /// Keys.
        case cache
        /// Channels and patterns.
        case pubsub
        /// Everything about the connection and the server.
        case other
    }

    package struct CommandCount: Sendable {
        package var calls: UInt64 = 0
        /// From dispatch to reply, waiting for the log included; commands of one unit share its time evenly.
        package var microseconds: UInt64 = 0
        /// Refused before they ran.
        package var rejected: UInt64 = 0
        /// Answered with an error.
        package var failed: UInt64 = 0
        /// Calls by duration: bucket `b` counts those of less than 2^b microseconds.
        package var durations = [UInt32](repeating: 0, count: 32)

        mutating func called(microseconds: UInt64, failed isFailed: Bool) {
            calls &+= 1
            self.microseconds &+= microseconds
            if isFailed { failed &+= 1 }
            durations[min(31, UInt64.bitWidth - microseconds.leadingZeroBitCount)] &+= 1
        }
    }

    /// Connections now.
    package var connections = 0
    /// Of them, those with a subscription.
    package var subscribers = 0
    /// Of them, those that wait for a key, or by CLIENT PAUSE.
    package var blocked = 0
    package var connectionsTotal: UInt64 = 0
    package var rejectedConnections: UInt64 = 0
    /// Connections that a drain closed when they were idle, and those that it cut off when its time was over.
    package var moved: UInt64 = 0
    package var cut: UInt64 = 0
    package var commandsTotal: UInt64 = 0
    /// Commands by use.
    package var commandsByUse = [UInt64](repeating: 0, count: Use.allCases.count)
    package var publishes: UInt64 = 0
    /// Messages written to subscribers.
    package var deliveries: UInt64 = 0
    package var units: UInt64 = 0
    package var unitsReadOnly: UInt64 = 0
    /// Connections that were closed because the outcome of a write is not known.
    package var unknownOutcomes: UInt64 = 0
    /// Connections that were closed because they read too slowly, by class.
    package var slowNormal: UInt64 = 0
    package var slowSubscribers: UInt64 = 0
    package var queryBufferOverflows: UInt64 = 0
    package var protocolErrors: UInt64 = 0
    /// PSUBSCRIBEs above the bound on different patterns.
    package var patternsRefused: UInt64 = 0
    package var bytesIn: UInt64 = 0
    package var bytesOut: UInt64 = 0
    package var largestInput = 0
    package var largestOutput = 0
    package var flushes: UInt64 = 0
    /// Commands in the last whole second.
    package var commandsPerSecond: UInt64 = 0
    /// By the command's place in the table.
    package var commands: [CommandCount] = []
    /// Error replies by code.
    package var errors: [String: UInt64] = [:]

    package init() {}

    package var errorsTotal: UInt64 { errors.values.reduce(0, &+) }

    /// Names of the commands, in the order of `commands`.
    package static var commandNames: [String] { ServerTable.all.table.commands.map(\.name) }

    /// CONFIG RESETSTAT.
    mutating func reset() {
        connectionsTotal = 0
        rejectedConnections = 0
        commandsTotal = 0
        bytesIn = 0
        bytesOut = 0
        errors = [:]
        for row in commands.indices { commands[row] = CommandCount() }
    }

    /// The sum of two shards' counts.
    package mutating func add(_ other: RESPMetrics) {
        connections += other.connections
        subscribers += other.subscribers
        blocked += other.blocked
        connectionsTotal &+= other.connectionsTotal
        rejectedConnections &+= other.rejectedConnections
        moved &+= other.moved
        cut &+= other.cut
        commandsTotal &+= other.commandsTotal
        for use in commandsByUse.indices { commandsByUse[use] &+= other.commandsByUse[use] }
        publishes &+= other.publishes
        deliveries &+= other.deliveries
        units &+= other.units
        unitsReadOnly &+= other.unitsReadOnly
        unknownOutcomes &+= other.unknownOutcomes
        slowNormal &+= other.slowNormal
        slowSubscribers &+= other.slowSubscribers
        queryBufferOverflows &+= other.queryBufferOverflows
        protocolErrors &+= other.protocolErrors
        patternsRefused &+= other.patternsRefused
        bytesIn &+= other.bytesIn
        bytesOut &+= other.bytesOut
        largestInput = max(largestInput, other.largestInput)
        largestOutput = max(largestOutput, other.largestOutput)
        flushes &+= other.flushes
        commandsPerSecond &+= other.commandsPerSecond
        errors.merge(other.errors) { $0 &+ $1 }
        for row in commands.indices where row < other.commands.count {
            commands[row].calls &+= other.commands[row].calls
            commands[row].microseconds &+= other.commands[row].microseconds
            commands[row].rejected &+= other.commands[row].rejected
            commands[row].failed &+= other.commands[row].failed
            for bucket in commands[row].durations.indices {
                commands[row].durations[bucket] &+= other.commands[row].durations[bucket]
            }
        }
    }
}
