import Primitives
import RESP

/// Strings. Source: https://redis.io/docs/latest/commands/?group=string
enum StringCommands {
    static let table = """
        get|2|readonly fast|1 1 1|string|1.0.0|Returns the string value of a key.
        """

    static let handlers: [String: Handler] = [
        "get": { (keys, call, reply) throws(CommandError) in try keys.get(call, &reply) }
    ]
}

extension Keyspace {
    /// The string at a live key, as bytes; nil when the key is missing.
    mutating func lookUpString(_ database: Int, _ key: [UInt8]) throws(CommandError) -> [UInt8]? {
        switch lookUp(database, key) {
        case nil: return nil
        case .string(let bytes)?: return bytes
        case .integer(let value)?: return Decimal.bytes(of: value)
        default: throw .wrongType
        }
    }

    mutating func get(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        guard let bytes = try lookUpString(call.database, call[1]) else { return reply.null() }
        reply.bulk(bytes)
    }
}
