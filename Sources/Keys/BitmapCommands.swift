import Primitives
import RESP

/// See the table.
enum BitmapCommands {
    static let table = """
        """

    static let handlers: [String: Handler] = [:]
}
