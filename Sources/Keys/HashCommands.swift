import Primitives
import RESP

/// See the table.
enum HashCommands {
    static let table = """
        """

    static let handlers: [String: Handler] = [:]
}
