import Foundation
import Testing

@Suite struct DocumentTests {
    private func rows(_ text: String, after heading: String) -> [[String]] {
        guard let section = text.components(separatedBy: "\n## ").first(where: { $0.hasPrefix(heading) }) else {
            return []
        }
        return section.split(separator: "\n").filter { $0.hasPrefix("|") }.dropFirst(2).map { line in
            line.split(separator: "|", omittingEmptySubsequences: false).dropFirst().dropLast()
                .map { $0.trimmingCharacters(in: .whitespaces) }
        }
    }

    @Test("DL-20 docs/semantics.md says for every class and mode what is durable, ordered, lost, repeated and replayed")
    func semantics() throws {
        let text = try Repository.text("docs/semantics.md")
        let table = rows(text, after: "Durability, order, loss, duplicates, replay")
        #expect(table.allSatisfy { $0.count == 7 && $0.allSatisfy { !$0.isEmpty } })
        func has(_ deliveryClass: String, _ mode: String) -> Bool {
            table.contains { $0[0].contains("`\(deliveryClass)`") && $0[1].contains(mode) }
        }
        for deliveryClass in ["best_effort", "guaranteed", "retained"] {
            for mode in ["cluster", "standalone", "redis"] {
                #expect(has(deliveryClass, mode), "\(deliveryClass) in mode \(mode)")
            }
        }
        let shim = try #require(table.first { $0[0].contains("RESP") })
        #expect(shim[4].contains("at most once without retention"))
    }

    @Test("PS-12 docs/semantics.md lists what is not durable")
    func notDurable() throws {
        let text = try Repository.text("docs/semantics.md")
        let section = try #require(text.components(separatedBy: "\n## ").first { $0.hasPrefix("What is not durable") })
        for subject in ["best_effort", "sessions", "acknowledgements", "Metrics", "recomputed"] {
            #expect(section.contains(subject), "\(subject)")
        }
    }

    @Test("README's commands, files and subcommands are there")
    func readme() throws {
        let text = try Repository.text("README.md")
        for file in ["docs/semantics.md", "ARCHITECTURE.md", "cluster.toml"] {
            #expect(text.contains("(\(file))") && Repository.exists(file))
        }
        #expect(text.contains("swift run -c release vencejo cluster"))
        #expect(text.contains("&& swift test"))
    }
}
