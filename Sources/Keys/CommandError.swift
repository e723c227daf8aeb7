/// Why a command did nothing, in Redis's words.
package enum CommandError: Error, Equatable, Sendable {
    case wrongType
    case syntax
    case notAnInteger
    case notAFloat
    case noSuchKey
    /// The whole text, code first.
    case message(String)
    /// Not an error: nothing is there yet, and the command waits (see `Keyspace.block`).
    case blocked

    package var text: String {
        switch self {
        case .wrongType: "WRONGTYPE Operation against a key holding the wrong kind of value"
        case .syntax: "ERR syntax error"
        case .notAnInteger: "ERR value is not an integer or out of range"
        case .notAFloat: "ERR value is not a valid float"
        case .noSuchKey: "ERR no such key"
        case .message(let text): text
        case .blocked: "ERR the command waits"
        }
    }
}
