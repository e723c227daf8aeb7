/// Values that the file's format allows and this build does not carry out, or not so: refused, because a setting that
/// is silently ignored is a lie. A line leaves this file when its part is built.
extension ClusterConfiguration {
    func refuseWhatIsNotBuilt(_ problems: inout ProblemList) {
        if cluster.mode == .redis {
            problems.add(
                "cluster.mode",
                value: .string("redis"),
                "say backplane = \"redis\" instead"
            )
        }
        if !auth.tokenSecret.isEmpty {
            problems.add(
                "auth.token_secret",
                "tokens are not verified by this version, and a key without a check would be a false promise; use \"\""
            )
        }
        for namespace in namespaces where namespace.compression {
            problems.add(
                "namespace[prefix \(SettingText.quote(namespace.prefix))].compression",
                value: .boolean(true),
                "not built in this version; use false"
            )
        }
    }
}
