import Glibc
import Locks

/// Standard output with lines that scroll and, on a terminal, a footer that stays below them.
final class Terminal: Sendable {
    /// There is a terminal, and so a footer.
    let isInteractive: Bool
    let style: Style
    private let footer = Lock<[String]>([])

    init(interactive: Bool = true) {
        isInteractive = interactive && isatty(STDOUT_FILENO) == 1
        style = Style(for: STDOUT_FILENO)
    }

    /// A line above the footer.
    func line(_ text: String = "") {
        footer.withLock { lines in
            Output.write(Terminal.erase(lines.count) + text + "\n" + Terminal.draw(lines), to: STDOUT_FILENO)
        }
    }

    /// Replaces the footer; nothing happens without a terminal. Lines longer than the terminal is wide are cut, because
    /// a wrapped line could not be erased.
    func setFooter(_ lines: [String]) {
        guard isInteractive else { return }
        footer.withLock { current in
            Output.write(Terminal.erase(current.count) + Terminal.draw(lines), to: STDOUT_FILENO)
            current = lines
        }
    }

    private static func erase(_ count: Int) -> String { count == 0 ? "" : "\u{1b}[\(count)A\u{1b}[J" }

    private static func draw(_ lines: [String]) -> String { lines.map { $0 + "\n" }.joined() }

    /// Columns of the terminal; 100 when it does not say.
    static var columns: Int {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 100 }
        return Int(size.ws_col)
    }
}

/// Text in columns.
enum TextTable {
    /// Rows with their cells padded to the widest of the column; `right` says which columns are numbers.
    static func format(_ rows: [[String]], right: Set<Int> = []) -> [String] {
        var widths: [Int] = []
        for row in rows {
            for (column, cell) in row.enumerated() {
                if column == widths.count { widths.append(0) }
                widths[column] = max(widths[column], cell.count)
            }
        }
        return rows.map { row in
            let cells = row.enumerated().map { column, cell in
                let padding = String(repeating: " ", count: widths[column] - cell.count)
                return right.contains(column) ? padding + cell : cell + padding
            }
            let text = cells.joined(separator: "  ")
            let end = text.lastIndex { $0 != " " }.map { text.index(after: $0) } ?? text.startIndex
            return String(text[..<end])
        }
    }
}
