import Primitives

/// What an operator may know about a setting: the row of the settings table that documentation and tests read.
package struct SettingDescription: Sendable, Equatable {
    /// `limits.max_size`; `node[].host` for elements of an array of tables, `heartbeat.<name>.ping_interval` for named
    /// tables.
    package let keyPath: String
    /// `integer`, `duration`, `size`, `string`, `boolean`, `number`, `choice` or `list`.
    package let type: String
    /// The allowed values, in words.
    package let allowed: String
    /// The default as TOML; nil when the key is required.
    package let defaultValue: String?
    /// What the setting does.
    package let documentation: String
}

/// One key of one section: how it is read, checked, written and explained. The section's own initial value is the
/// default, so that code and documentation cannot disagree.
struct Setting<Section: Sendable>: Sendable {
    let key: String
    let type: String
    let allowed: String
    var isRequired = false
    var isSecret = false
    let documentation: String
    /// The section's value of this key, as TOML.
    let render: @Sendable (Section) -> String
    /// Stores a value, or says why not.
    let assign: @Sendable (TOMLNode, inout Section) -> Refusal?
    /// The TOML value that an environment variable's text stands for.
    let parse: @Sendable (String) -> TOMLNode
    /// For an inline table: its keys, already prefixed with this one's.
    var members: [SettingDescription] = []

    /// Rows of the settings table; `prefix` is the section's path with its dot.
    func descriptions(prefix: String, section: Section) -> [SettingDescription] {
        if !members.isEmpty {
            return members.map {
                SettingDescription(
                    keyPath: prefix + $0.keyPath,
                    type: $0.type,
                    allowed: $0.allowed,
                    defaultValue: $0.defaultValue,
                    documentation: $0.documentation
                )
            }
        }
        return [
            SettingDescription(
                keyPath: prefix + key,
                type: type,
                allowed: allowed,
                defaultValue: isRequired ? nil : render(section),
                documentation: documentation
            )
        ]
    }
}

/// Why a value was not taken; `subpath` is empty, or the key inside an inline table.
struct Refusal: Sendable {
    var subpath = ""
    var value: TOMLNode?
    let reason: String
}

extension Setting {
    typealias Path<Value> = any WritableKeyPath<Section, Value> & Sendable

    static func integer(
        _ key: String,
        _ path: Path<Int>,
        _ range: ClosedRange<Int>,
        required: Bool = false,
        _ documentation: String
    ) -> Setting {
        let allowed = "\(range.lowerBound)...\(range.upperBound)"
        return Setting(
            key: key,
            type: "integer",
            allowed: allowed,
            isRequired: required,
            documentation: documentation,
            render: { String($0[keyPath: path]) },
            assign: { node, section in
                guard case .integer(let number) = node else { return Refusal(reason: "must be an integer, \(allowed)") }
                guard range.contains(number) else { return Refusal(reason: "must be \(allowed)") }
                section[keyPath: path] = number
                return nil
            },
            parse: { text in Int(text).map(TOMLNode.integer) ?? .string(text) }
        )
    }

    /// A whole number of milliseconds, for keys whose name ends in `_ms`.
    static func milliseconds(
        _ key: String,
        _ path: Path<Interval>,
        _ range: ClosedRange<Int>,
        _ documentation: String
    ) -> Setting {
        let allowed = "\(range.lowerBound)...\(range.upperBound) milliseconds"
        return Setting(
            key: key,
            type: "integer",
            allowed: allowed,
            documentation: documentation,
            render: { String($0[keyPath: path].milliseconds) },
            assign: { node, section in
                guard case .integer(let number) = node else { return Refusal(reason: "must be an integer, \(allowed)") }
                guard range.contains(number) else { return Refusal(reason: "must be \(allowed)") }
                section[keyPath: path] = .milliseconds(UInt64(number))
                return nil
            },
            parse: { text in Int(text).map(TOMLNode.integer) ?? .string(text) }
        )
    }

    /// `zero` says what "0s" means; nil refuses it.
    static func duration(
        _ key: String,
        _ path: Path<Interval>,
        _ range: ClosedRange<Interval>,
        zero: String? = nil,
        _ documentation: String
    ) -> Setting {
        let bounds = "\(SettingText.duration(range.lowerBound))...\(SettingText.duration(range.upperBound))"
        let allowed = zero.map { "0s (\($0)) or \(bounds)" } ?? bounds
        return Setting(
            key: key,
            type: "duration",
            allowed: allowed,
            documentation: documentation,
            render: { SettingText.quote(SettingText.duration($0[keyPath: path])) },
            assign: { node, section in
                let interval: Interval?
                switch node {
                case .string(let text): interval = SettingText.duration(text)
                case .integer(0): interval = .zero
                default: interval = nil
                }
                guard let interval else {
                    return Refusal(reason: "must be a duration such as \"5s\", \"100ms\" or \"24h\", \(allowed)")
                }
                guard range.contains(interval) || (zero != nil && interval == .zero) else {
                    return Refusal(reason: "must be \(allowed)")
                }
                section[keyPath: path] = interval
                return nil
            },
            parse: { .string($0) }
        )
    }

    /// `zero` says what 0 means; nil refuses it. With `isRedisMemory` Redis's units are understood too (`1gb`).
    static func size(
        _ key: String,
        _ path: Path<Int>,
        _ range: ClosedRange<Int>,
        zero: String? = nil,
        isRedisMemory: Bool = false,
        _ documentation: String
    ) -> Setting {
        let bounds = "\(SettingText.size(range.lowerBound))...\(SettingText.size(range.upperBound))"
        let allowed = zero.map { "0 (\($0)) or \(bounds)" } ?? bounds
        return Setting(
            key: key,
            type: "size",
            allowed: allowed,
            documentation: documentation,
            render: {
                let bytes = $0[keyPath: path]
                return bytes == 0 ? "0" : SettingText.quote(SettingText.size(bytes))
            },
            assign: { node, section in
                let bytes: Int?
                switch node {
                case .string(let text):
                    let redis = isRedisMemory ? Decimal.memory(Array(text.utf8)) : nil
                    bytes = SettingText.size(text) ?? redis.map { Int($0) }
                case .integer(let number): bytes = number
                default: bytes = nil
                }
                guard let bytes else {
                    return Refusal(reason: "must be a size such as \"64KiB\", \"1MiB\" or 4096 (bytes), \(allowed)")
                }
                guard range.contains(bytes) || (zero != nil && bytes == 0) else {
                    return Refusal(reason: "must be \(allowed)")
                }
                section[keyPath: path] = bytes
                return nil
            },
            parse: { text in Int(text).map(TOMLNode.integer) ?? .string(text) }
        )
    }

    static func number(
        _ key: String,
        _ path: Path<Double>,
        _ range: ClosedRange<Double>,
        _ documentation: String
    ) -> Setting {
        let allowed = "\(range.lowerBound)...\(range.upperBound)"
        return Setting(
            key: key,
            type: "number",
            allowed: allowed,
            documentation: documentation,
            render: { String($0[keyPath: path]) },
            assign: { node, section in
                let number: Double
                switch node {
                case .float(let value): number = value
                case .integer(let value): number = Double(value)
                default: return Refusal(reason: "must be a number, \(allowed)")
                }
                guard range.contains(number) else { return Refusal(reason: "must be \(allowed)") }
                section[keyPath: path] = number
                return nil
            },
            parse: { text in Double(text).map(TOMLNode.float) ?? .string(text) }
        )
    }

    static func boolean(_ key: String, _ path: Path<Bool>, _ documentation: String) -> Setting {
        Setting(
            key: key,
            type: "boolean",
            allowed: "true or false",
            documentation: documentation,
            render: { String($0[keyPath: path]) },
            assign: { node, section in
                guard case .boolean(let flag) = node else { return Refusal(reason: "must be true or false") }
                section[keyPath: path] = flag
                return nil
            },
            parse: { text in Bool(text).map(TOMLNode.boolean) ?? .string(text) }
        )
    }

    /// Text of at most `limit` UTF-8 bytes without control characters.
    static func text(
        _ key: String,
        _ path: Path<String>,
        limit: Int,
        mayBeEmpty: Bool = false,
        required: Bool = false,
        _ documentation: String
    ) -> Setting {
        let allowed = "\(mayBeEmpty ? 0 : 1)...\(limit) bytes of text without control characters"
        return Setting(
            key: key,
            type: "string",
            allowed: allowed,
            isRequired: required,
            documentation: documentation,
            render: { SettingText.quote($0[keyPath: path]) },
            assign: { node, section in
                guard case .string(let text) = node else { return Refusal(reason: "must be a string") }
                guard isPlain(text, limit: limit), mayBeEmpty || !text.isEmpty else {
                    return Refusal(reason: "must be \(allowed)")
                }
                section[keyPath: path] = text
                return nil
            },
            parse: { .string($0) }
        )
    }

    /// Text that no message, status or log may show.
    static func secret(_ key: String, _ path: Path<Secret>, _ documentation: String) -> Setting {
        Setting(
            key: key,
            type: "string",
            allowed: "at most 4096 bytes of text without control characters",
            isSecret: true,
            documentation: documentation,
            render: { SettingText.quote($0[keyPath: path].isEmpty ? "" : "...") },
            assign: { node, section in
                guard case .string(let text) = node else { return Refusal(reason: "must be a string") }
                guard isPlain(text, limit: 4096) else {
                    return Refusal(reason: "must be at most 4096 bytes of text without control characters")
                }
                section[keyPath: path] = Secret(text)
                return nil
            },
            parse: { .string($0) }
        )
    }

    /// At most 64 distinct non-empty strings; comma-separated in the environment.
    static func list(_ key: String, _ path: Path<[String]>, _ documentation: String) -> Setting {
        Setting(
            key: key,
            type: "list",
            allowed: "at most 64 different strings of 1...255 bytes",
            documentation: documentation,
            render: { "[\($0[keyPath: path].map(SettingText.quote).joined(separator: ", "))]" },
            assign: { node, section in
                guard case .array(let elements) = node else { return Refusal(reason: "must be a list of strings") }
                var texts: [String] = []
                for element in elements {
                    guard case .string(let text) = element, !text.isEmpty, isPlain(text, limit: 255),
                        !texts.contains(text), texts.count < 64
                    else {
                        return Refusal(reason: "must be at most 64 different strings of 1...255 bytes")
                    }
                    texts.append(text)
                }
                section[keyPath: path] = texts
                return nil
            },
            parse: { .array($0.split(separator: ",").map { .string(String($0)) }) }
        )
    }

    static func choice<Value>(_ key: String, _ path: Path<Value>, _ documentation: String) -> Setting
    where Value: RawRepresentable<String> & CaseIterable & Sendable {
        let allowed = Value.allCases.map { SettingText.quote($0.rawValue) }.joined(separator: ", ")
        return Setting(
            key: key,
            type: "choice",
            allowed: allowed,
            documentation: documentation,
            render: { SettingText.quote($0[keyPath: path].rawValue) },
            assign: { node, section in
                guard case .string(let text) = node, let value = Value(rawValue: text) else {
                    return Refusal(reason: "must be one of \(allowed)")
                }
                section[keyPath: path] = value
                return nil
            },
            parse: { .string($0) }
        )
    }

    /// An inline table whose keys are settings of their own.
    static func group<Inner>(
        _ key: String,
        _ path: Path<Inner>,
        default section: Inner,
        _ settings: [Setting<Inner>],
        _ documentation: String
    ) -> Setting {
        let keys = settings.map(\.key).joined(separator: ", ")
        return Setting(
            key: key,
            type: "table",
            allowed: "a table of \(keys)",
            documentation: documentation,
            render: { _ in "{}" },
            assign: { node, section in
                guard case .table(let members) = node else { return Refusal(reason: "must be a table of \(keys)") }
                for member in members {
                    guard let setting = settings.first(where: { $0.key == member.key }) else {
                        return Refusal(
                            subpath: member.key,
                            value: member.value,
                            reason: "unknown key; this table has \(keys)"
                        )
                    }
                    if let refusal = setting.assign(member.value, &section[keyPath: path]) {
                        return Refusal(subpath: member.key, value: member.value, reason: refusal.reason)
                    }
                }
                return nil
            },
            parse: { .string($0) },
            members: settings.flatMap { $0.descriptions(prefix: key + ".", section: section) }
        )
    }

    private static func isPlain(_ text: String, limit: Int) -> Bool {
        text.utf8.count <= limit && !text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7f }
    }
}
