import ArgumentParser
import ClientProtocol
import Glibc
import VencejoClient

/// `vencejo subscribe`.
struct SubscribeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "subscribe",
        abstract: "Print a room's messages as they come; survives the loss of nodes.",
        discussion: """
            Connects again by itself, to any node, and continues after the last message. Messages go to standard \
            output, everything else to standard error.
            """
    )

    @Argument(help: "The room.")
    var room: String

    @Option(name: .long, help: "Begin after this offset (0 with --epoch: from the beginning).")
    var from: UInt64?

    @Flag(name: .long, help: "Begin with the oldest message that is kept.")
    var fromStart = false

    @Option(name: .long, help: "The epoch that --from belongs to; default: the room's current one.")
    var epoch: String?

    @Option(name: .long, help: "Stop after so many messages.")
    var count: Int?

    @Flag(name: .long, help: "One JSON object a line.")
    var json = false

    @OptionGroup var address: ClusterAddress

    func validate() throws {
        if fromStart, from != nil { throw ValidationError("--from and --from-start exclude each other") }
        if epoch != nil, from == nil { throw ValidationError("--epoch needs --from") }
        if let epoch, EpochText.parse(Array(epoch.utf8)[...]) == nil {
            throw ValidationError("\"\(epoch)\" is not an epoch: hexadecimal digits, as publish and history print it")
        }
        if let count, count < 1 { throw ValidationError("--count must be at least 1") }
    }

    func run() async throws {
        let client = try await address.connect()
        var options = SubscriptionOptions()
        if fromStart { options.start = .beginning }
        if let from { options.start = .after(RoomPosition(epoch: try await startEpoch(client), offset: from)) }
        var left = count ?? .max
        for await event in client.subscribe(room, options) {
            switch event {
            case .message(let message):
                Output.line(json ? Self.json(message) : Self.text(message))
                left -= 1
                if left == 0 { return await client.close() }
            case .subscribed(let position, let wasRecovering, let recovered):
                let place = position.map { " after offset \($0.offset), epoch \(JSONPayload.epoch($0.epoch))" } ?? ""
                note("subscribed to \(room)\(place)")
                if wasRecovering, !recovered { note("something before that is no longer kept") }
            case .gap(let first, let last, let reason): note("offsets \(first)...\(last) are lost here: \(reason)")
            case .dropped(let number): note("\(number) messages were dropped: this reader is too slow")
            case .disconnected(let code, let reconnects):
                note("disconnected (\(code))" + (reconnects ? ", connecting again" : ""))
            case .ended(let failure):
                if let failure { Output.error("vencejo: \(FailureText.describe(failure))") }
                throw ExitCode.failure
            }
        }
        Output.error("vencejo: this reader fell too far behind; begin again with --from")
        throw ExitCode.failure
    }

    private func startEpoch(_ client: VencejoClient) async throws -> UInt64 {
        if let epoch { return EpochText.parse(Array(epoch.utf8)[...]) ?? 0 }
        do {
            return try await client.history(room, limit: 0).top.epoch
        } catch {
            Output.error("vencejo: \(room): \(FailureText.describe(error))")
            throw ExitCode.failure
        }
    }

    private func note(_ text: String) { if !json { Output.error("-- \(text)") } }

    /// One line of a message for a reader.
    static func text(_ message: ReceivedMessage) -> String {
        let data = String(decoding: message.data, as: UTF8.self)
        return message.offset == 0 ? data : "\(message.offset)\t\(data)"
    }

    /// One message as a JSON object.
    static func json(_ message: ReceivedMessage) -> String {
        var members = ["\"room\":\(JSONPayload.quote(message.room))"]
        if message.offset > 0 {
            members.append("\"offset\":\(message.offset)")
            members.append("\"epoch\":\"\(JSONPayload.epoch(message.epoch))\"")
        }
        if !message.id.isEmpty {
            members.append("\"id\":\(JSONPayload.quote(String(decoding: message.id, as: UTF8.self)))")
        }
        members.append("\"time\":\(message.time)")
        members.append("\"data\":\(String(decoding: message.data, as: UTF8.self))")
        return "{\(members.joined(separator: ","))}"
    }
}
