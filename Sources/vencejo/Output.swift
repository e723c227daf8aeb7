import Glibc
import Locks

/// Lines on standard output and standard error, from any thread, whole.
package enum Output {
    private static let lock = Lock(())

    /// A line on standard output, at once.
    package static func line(_ text: String = "") { write(text + "\n", to: STDOUT_FILENO) }

    /// A line on standard error.
    package static func error(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    /// Bytes as they are. Whatever cannot be written is dropped: the reader went away.
    static func write(_ text: String, to descriptor: Int32) {
        var text = text
        lock.withLock { _ in
            text.withUTF8 { bytes in
                var rest = UnsafeRawBufferPointer(bytes)
                while !rest.isEmpty {
                    let count = Glibc.write(descriptor, rest.baseAddress, rest.count)
                    if count < 0, errno == EINTR { continue }
                    guard count > 0 else { return }
                    rest = UnsafeRawBufferPointer(rebasing: rest[count...])
                }
            }
        }
    }
}

/// Colours of a terminal (ECMA-48 SGR), where there is one and NO_COLOR is not set.
struct Style: Sendable {
    /// Foreground colours, one per node, and what has a meaning of its own.
    enum Ink: Int, Sendable {
        case red = 31
        case green = 32
        case yellow = 33
        case blue = 34
        case magenta = 35
        case cyan = 36
        case dim = 2
        case bold = 1
    }

    let isOn: Bool

    /// Colours for `descriptor`, as https://no-color.org has it.
    init(for descriptor: Int32) {
        let mute = ProcessEnvironment.all["NO_COLOR"].map { !$0.isEmpty } ?? false
        isOn = isatty(descriptor) == 1 && !mute
    }

    func paint(_ text: String, _ ink: Ink) -> String { isOn ? "\u{1b}[\(ink.rawValue)m\(text)\u{1b}[0m" : text }

    /// The colour of the `index`-th node.
    static func ink(ofNode index: Int) -> Ink { [.cyan, .magenta, .yellow, .green, .blue][index % 5] }
}
