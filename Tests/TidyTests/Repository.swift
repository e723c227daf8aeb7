import Foundation
import Testing

/// The source tree that these tests belong to.
enum Repository {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    static func text(_ path: String) throws -> String {
        try String(contentsOf: root.appending(path: path), encoding: .utf8)
    }

    static func exists(_ path: String) -> Bool {
        FileManager.default.fileExists(atPath: root.appending(path: path).path())
    }

    /// Swift files of the given top-level folders, sorted; without an argument all of them and `Package.swift`.
    static func swiftFiles(_ folders: [String]? = nil) throws -> [SourceFile] {
        let files = try everything.get()
        guard let folders else { return files }
        return files.filter { file in folders.contains { file.path.hasPrefix($0 + "/") } }
    }

    /// Read once for all tests.
    private static let everything = Result {
        var paths = ["Package.swift"]
        for folder in ["Sources", "Tests", "bench"] {
            let walk = FileManager.default.enumerator(atPath: root.appending(path: folder).path())
            for case let path as String in try #require(walk) where path.hasSuffix(".swift") {
                paths.append("\(folder)/\(path)")
            }
        }
        return try paths.sorted().map { SourceFile(path: $0, text: try text($0)) }
    }
}

/// One Swift file.
struct SourceFile: Sendable {
    /// Relative to the package's root.
    let path: String
    let lines: [String]
    /// The lines without comments and without what stands in string literals.
    let code: [String]

    init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        code = SourceFile.code(of: text).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    /// `Sources/Raft/Raft.swift` -> `Raft`, `bench/main.swift` -> `bench`, `Tests/RaftTests/X.swift` -> `RaftTests`.
    var target: String {
        let parts = path.split(separator: "/")
        return parts[0] == "bench" || parts.count < 3 ? String(parts[0]) : String(parts[1])
    }

    /// Imported modules with their line numbers.
    var imports: [(module: String, line: Int)] {
        code.enumerated().compactMap { index, line in
            let words = line.split(separator: " ")
            guard let position = words.firstIndex(of: "import"), position + 1 < words.count,
                words[..<position].allSatisfy({ $0.hasPrefix("@") || ["public", "package", "internal"].contains($0) })
            else { return nil }
            let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
            let name = kinds.contains(words[position + 1]) ? words[position + 2] : words[position + 1]
            return (String(name.prefix { $0 != "." }), index + 1)
        }
    }

    /// Blanks comments and string contents, keeping the lines. Interpolations are blanked with their string.
    static func code(of text: String) -> String {
        var result = ""
        var rest = Substring(text)
        var blockDepth = 0
        while let character = rest.first {
            if blockDepth > 0 {
                if rest.hasPrefix("*/") || rest.hasPrefix("/*") {
                    blockDepth += rest.hasPrefix("/*") ? 1 : -1
                    rest = rest.dropFirst(2)
                } else {
                    if character == "\n" { result.append(character) }
                    rest = rest.dropFirst()
                }
            } else if rest.hasPrefix("//") {
                rest = rest.drop { $0 != "\n" }
            } else if rest.hasPrefix("/*") {
                blockDepth = 1
                rest = rest.dropFirst(2)
            } else if character == "\"" || (character == "#" && opensString(rest)) {
                rest = skipString(rest, into: &result)
            } else {
                result.append(character)
                rest = rest.dropFirst()
            }
        }
        return result
    }

    private static func opensString(_ text: Substring) -> Bool { text.drop { $0 == "#" }.first == "\"" }

    private static func skipString(_ text: Substring, into result: inout String) -> Substring {
        let hashes = String(text.prefix { $0 == "#" })
        var rest = text.dropFirst(hashes.count)
        let quote = rest.hasPrefix("\"\"\"") ? "\"\"\"" : "\""
        rest = rest.dropFirst(quote.count)
        let end = quote + hashes
        let escape = "\\" + hashes
        result += "\"\""
        while let character = rest.first {
            if rest.hasPrefix(escape) {
                rest = rest.dropFirst(escape.count)
                // An interpolation may hold a string of its own.
                if rest.first == "(" {
                    rest = skipInterpolation(rest)
                } else {
                    rest = rest.dropFirst()
                }
            } else if rest.hasPrefix(end) {
                return rest.dropFirst(end.count)
            } else {
                if character == "\n" {
                    if quote.count == 1 { return rest }
                    result.append(character)
                }
                rest = rest.dropFirst()
            }
        }
        return rest
    }

    private static func skipInterpolation(_ text: Substring) -> Substring {
        var rest = text.dropFirst()
        var depth = 1
        var ignored = ""
        while depth > 0, let character = rest.first {
            if character == "\"" {
                rest = skipString(rest, into: &ignored)
            } else {
                depth += character == "(" ? 1 : character == ")" ? -1 : 0
                rest = rest.dropFirst()
            }
        }
        return rest
    }
}
