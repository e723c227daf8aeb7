import TOMLKit

/// A TOML document as a plain value: the parser's own tree is a view of memory that it does not keep alive.
enum TOMLNode: Equatable, Sendable {
    case string(String)
    case integer(Int)
    case float(Double)
    case boolean(Bool)
    case array([TOMLNode])
    /// Keys in the parser's order, which is sorted.
    case table([TOMLMember])
    /// A date or time: valid TOML that no setting takes.
    case other(String)

    /// Parses a document.
    static func parse(_ text: String) throws(TOMLSyntaxError) -> TOMLNode {
        do {
            let root = try TOMLTable(string: text)
            return withExtendedLifetime(root) { copy(table: root) }
        } catch let error as TOMLParseError {
            let begin = error.source.begin
            throw TOMLSyntaxError(line: begin.line, column: begin.column, reason: error.description)
        } catch {
            throw TOMLSyntaxError(line: 0, column: 0, reason: String(describing: error))
        }
    }

    private static func copy(table: TOMLTable) -> TOMLNode {
        var members: [TOMLMember] = []
        for key in table.keys {
            if let value = table[key] { members.append(TOMLMember(key: key, value: copy(value))) }
        }
        return .table(members)
    }

    private static func copy(_ value: any TOMLValueConvertible) -> TOMLNode {
        if let table = value.table { return copy(table: table) }
        if let array = value.array { return .array(array.map { copy($0) }) }
        if let text = value.string { return .string(text) }
        if let number = value.int { return .integer(number) }
        if let number = value.double { return .float(number) }
        if let flag = value.bool { return .boolean(flag) }
        return .other(value.debugDescription)
    }

    /// The value as TOML, shortened: it goes into error messages.
    var rendered: String {
        switch self {
        case .string(let text): SettingText.quote(text.count > 80 ? String(text.prefix(80)) + "..." : text)
        case .integer(let number): String(number)
        case .float(let number): String(number)
        case .boolean(let flag): String(flag)
        case .array(let elements):
            elements.count > 4
                ? "an array of \(elements.count)" : "[\(elements.map(\.rendered).joined(separator: ", "))]"
        case .table: "a table"
        case .other(let text): text
        }
    }
}

/// One key of a table.
struct TOMLMember: Equatable, Sendable {
    let key: String
    let value: TOMLNode
}

/// Where a document stops being TOML. Line and column count from 1.
struct TOMLSyntaxError: Error, Equatable {
    let line: Int
    let column: Int
    let reason: String
}
