import Primitives
import RESP

/// See the table.
enum StreamCommands {
    static let table = """
        """

    static let handlers: [String: Handler] = [:]
}
