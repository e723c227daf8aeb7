import ArgumentParser
import ClientProtocol
import VencejoClient

/// `vencejo publish`.
struct PublishCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "publish",
        abstract: "Publish one message and wait for its acknowledgement.",
        discussion: "TEXT is sent as it is when it is JSON, else as a JSON string."
    )

    @Argument(help: "The room.")
    var room: String

    @Argument(help: "The message.")
    var text: String

    @Option(name: .long, help: "Idempotency key: repeated with the same key the message takes effect once.")
    var key: String?

    @Flag(name: .long, help: "Print the outcome as JSON.")
    var json = false

    @OptionGroup var address: ClusterAddress

    func run() async throws {
        let client = try await address.connect()
        do {
            let receipt = try await client.publish(room, JSONPayload.encode(text), idempotencyKey: key ?? "")
            Output.line(json ? Self.json(receipt) : Self.text(receipt, room: room))
        } catch {
            Output.error("vencejo: not acknowledged: \(FailureText.describe(error))")
            await client.close()
            throw ExitCode.failure
        }
        await client.close()
    }

    private static func text(_ receipt: PublishReceipt, room: String) -> String {
        let repeated = receipt.isDuplicate ? " (it had been published before under this key)" : ""
        guard let position = receipt.position else { return "accepted by \(room)" + repeated }
        return "acknowledged: \(room) offset \(position.offset), epoch \(JSONPayload.epoch(position.epoch))" + repeated
    }

    private static func json(_ receipt: PublishReceipt) -> String {
        var members: [String] = []
        if let position = receipt.position {
            members.append("\"offset\":\(position.offset)")
            members.append("\"epoch\":\"\(JSONPayload.epoch(position.epoch))\"")
        }
        members.append("\"duplicate\":\(receipt.isDuplicate)")
        return "{\(members.joined(separator: ","))}"
    }
}

/// Message payloads of the command line.
enum JSONPayload {
    /// `text` itself when it is one JSON value, else as a JSON string.
    static func encode(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        if isValue(bytes) { return bytes }
        var quoted: [UInt8] = []
        JSONWriter.append(text: bytes[...], to: &quoted)
        return quoted
    }

    /// A text as a JSON string.
    static func quote(_ text: String) -> String {
        var quoted: [UInt8] = []
        JSONWriter.append(text: Array(text.utf8)[...], to: &quoted)
        return String(decoding: quoted, as: UTF8.self)
    }

    /// An epoch as the protocol writes it.
    static func epoch(_ epoch: UInt64) -> String { String(epoch, radix: 16) }

    private static func isValue(_ bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBytes { raw in (try? JSONScanner.validate(raw)) != nil }
    }
}
