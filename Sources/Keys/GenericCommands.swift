import Primitives
import RESP

/// See the table.
enum GenericCommands {
    static let table = """
        """

    static let handlers: [String: Handler] = [:]
}
