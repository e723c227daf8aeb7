import Glibc

/// A bar on standard error, when that is a terminal.
struct Progress {
    private let isVisible = isatty(STDERR_FILENO) == 1
    private var lastShown: UInt64 = 0

    /// Shows `label` with a bar for `fraction` (0 to 1), at most ten times a second.
    mutating func show(_ label: String, _ fraction: Double) {
        guard isVisible else { return }
        let now = Clock.now()
        guard now &- lastShown > 100_000_000 || fraction >= 1 else { return }
        lastShown = now
        let width = 30
        let filled = Int(max(0, min(1, fraction)) * Double(width))
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
        write("\r\u{1b}[K[\(bar)] \(label)")
    }

    func finish() {
        guard isVisible else { return }
        write("\r\u{1b}[K")
    }

    private func write(_ text: String) {
        var text = text
        text.makeContiguousUTF8()
        _ = text.utf8.withContiguousStorageIfAvailable { Glibc.write(STDERR_FILENO, $0.baseAddress!, $0.count) }
    }
}
