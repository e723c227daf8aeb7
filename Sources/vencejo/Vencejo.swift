import ArgumentParser

/// The command line: one file per subcommand.
@main
struct Vencejo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vencejo",
        abstract: "A clustered message broker for WebSocket fleets: no Redis beside it.",
        discussion: """
            Begin with `vencejo cluster`: it runs every node of cluster.toml on this machine. Exit codes: 0 done, \
            1 failed, 64 wrong arguments, 78 wrong configuration.
            """,
        version: "0.1.0",
        subcommands: [
            ServeCommand.self, ClusterCommand.self, PublishCommand.self, SubscribeCommand.self, HistoryCommand.self,
            StatusCommand.self, EventsCommand.self, HotCommand.self, DrainCommand.self, UndrainCommand.self,
            RebalanceCommand.self, MoveCommand.self, LeaveCommand.self, ForgetCommand.self, WeightCommand.self,
            KeysCommand.self, RecoverCommand.self, LogCommand.self, ConfigCommand.self,
        ]
    )
}
