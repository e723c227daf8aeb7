import Primitives
import RESP

/// See the table.
enum SetCommands {
    static let table = """
        """

    static let handlers: [String: Handler] = [:]
}
