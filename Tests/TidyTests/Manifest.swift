import Foundation
import Testing

/// What `Package.swift` says about one target.
struct ManifestTarget {
    let name: String
    let isTest: Bool
    /// Names of targets and products that it depends on.
    let dependencies: [String]
}

/// Reads the parts of `Package.swift` that these tests need. It is text, not a parser: the manifest keeps to the few
/// forms that this knows.
enum Manifest {
    static func targets() throws -> [ManifestTarget] {
        let lines = try Repository.text("Package.swift")
        let list = try #require(lines.components(separatedBy: "\n    targets: [").last)
        var targets: [ManifestTarget] = []
        for (opening, isTest) in [
            ("pure(", false), ("shell(", false), ("tests(", true), (".target(", false), (".executableTarget(", false),
            (".testTarget(", true), (".systemLibrary(", false),
        ] {
            var rest = Substring(list)
            while let range = rest.range(of: opening) {
                let isWord = range.lowerBound > rest.startIndex && rest[rest.index(before: range.lowerBound)].isLetter
                let body = call(rest[range.upperBound...])
                rest = rest[range.upperBound...]
                if isWord { continue }
                var strings = quoted(String(body))
                guard !strings.isEmpty else { continue }
                let name = strings.removeFirst()
                targets.append(ManifestTarget(name: name, isTest: isTest, dependencies: strings))
            }
        }
        return targets
    }

    /// The text up to the parenthesis that closes a call.
    private static func call(_ text: Substring) -> Substring {
        var depth = 1
        for index in text.indices {
            if text[index] == "(" { depth += 1 }
            if text[index] == ")" { depth -= 1 }
            if depth == 0 { return text[..<index] }
        }
        return text
    }

    private static func quoted(_ text: String) -> [String] {
        text.components(separatedBy: "\"").enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
    }
}
