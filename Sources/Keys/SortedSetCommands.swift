import Primitives
import RESP

/// See the table.
enum SortedSetCommands {
    static let table = """
        """

    static let handlers: [String: Handler] = [:]
}
