import Primitives
import RESP

/// See the table.
enum ListCommands {
    static let table = """
        """

    static let handlers: [String: Handler] = [:]
}
