import Foundation
import RESPServer
import Testing

@Suite("The shim's document")
struct DocumentTests {
    @Test("RS-24 docs/redis-compatibility.md lists every command, and no other")
    func commands() throws {
        let root = URL(filePath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
            .appending(path: "../..").standardizedFileURL
        let text = try String(contentsOf: root.appending(path: "docs/redis-compatibility.md"), encoding: .utf8)
        let section = try #require(text.components(separatedBy: "\n## Commands\n").dropFirst().first)
        let table = try #require(section.components(separatedBy: "|---|---|\n").dropFirst().first)
        let rows = table.components(separatedBy: "\n\n")[0]
        let documented = Set(
            rows.components(separatedBy: "`").enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
        )
        let known = RESPMetrics.commandNames.filter { !$0.contains("|") && $0 != "sentinel" }.map { $0.uppercased() }
        #expect(documented == Set(known))
    }
}
