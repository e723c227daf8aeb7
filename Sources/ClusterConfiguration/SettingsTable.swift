extension ClusterConfiguration {
    /// Every setting that exists, in the order of the documentation: the same data reads the file.
    package static var settings: [SettingDescription] {
        SectionBinding.all[0].descriptions
            + Node.settings.flatMap { $0.descriptions(prefix: "node[].", section: Node()) }
            + Namespace.settings.flatMap { $0.descriptions(prefix: "namespace[].", section: Namespace()) }
            + HeartbeatProfile.settings.flatMap { $0.descriptions(prefix: "heartbeat.<name>.", section: .standard) }
            + SectionBinding.all.dropFirst().flatMap(\.descriptions)
    }

    /// The settings table as Markdown, for `docs/` and for the command line.
    package static var settingsReference: String {
        var text = "| Setting | Type | Allowed | Default | Meaning |\n|---|---|---|---|---|\n"
        for setting in settings {
            let cells = [
                "`\(setting.keyPath)`", setting.type, setting.allowed,
                setting.defaultValue.map { "`\($0)`" } ?? "required", setting.documentation,
            ]
            text += "| \(cells.map { $0.replacing("|", with: "\\|") }.joined(separator: " | ")) |\n"
        }
        return text
    }
}
