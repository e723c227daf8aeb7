import Glibc

/// One client connection of the load generator.
final class Connection {
    enum State {
        /// Until the connection can be used: the HTTP upgrade, then the connect command.
        case opening
        case ready
        case closed
    }

    let descriptor: Int32
    /// Its place in the loop's table.
    let token: Int
    /// What it stands for, in the benchmark's own numbers.
    var tag: Int
    var framing: Framing
    var state = State.opening
    /// The number of the last command that was sent on it.
    var lastCommand: UInt64 = 0

    /// Bytes to be written; `sent` of them are.
    var output: [UInt8] = []
    var sent = 0
    /// The unfinished message of the last read.
    var carry: [UInt8] = []
    var waitsForWrite = false
    var isDirty = false

    init(descriptor: Int32, token: Int, tag: Int, framing: Framing) {
        self.descriptor = descriptor
        self.token = token
        self.tag = tag
        self.framing = framing
    }
}
