import ArgumentParser
import VencejoClient

/// `vencejo history`.
struct HistoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "history",
        abstract: "Print the newest messages that a room keeps, oldest first."
    )

    @Argument(help: "The room.")
    var room: String

    @Option(name: .long, help: "How many at most.")
    var limit = 20

    @Flag(name: .long, help: "One JSON object a line.")
    var json = false

    @OptionGroup var address: ClusterAddress

    func validate() throws {
        if limit < 1 { throw ValidationError("--limit must be at least 1") }
    }

    func run() async throws {
        let client = try await address.connect()
        do {
            let page = try await client.history(room, limit: limit, reverse: true)
            for message in page.messages.reversed() {
                Output.line(json ? SubscribeCommand.json(message) : SubscribeCommand.text(message))
            }
            if !json {
                Output.error("-- \(room): newest offset \(page.top.offset), epoch \(JSONPayload.epoch(page.top.epoch))")
            }
        } catch {
            Output.error("vencejo: \(room): \(FailureText.describe(error))")
            await client.close()
            throw ExitCode.failure
        }
        await client.close()
    }
}
