/// Names numbered from 1 in order of appearance; 0 means none.
package struct SymbolTable: Equatable, Sendable {
    /// `names[n - 1]` is the name of number `n`.
    package private(set) var names: [String] = []
    private var numbers: [String: UInt32] = [:]

    package init() {}

    package var count: Int { names.count }

    /// The number of `name`, which is given one at its first appearance.
    package mutating func number(of name: String) -> UInt32 {
        if let known = numbers[name] { return known }
        names.append(name)
        let number = UInt32(names.count)
        numbers[name] = number
        return number
    }

    /// The name of `number`; the number itself in digits when it is not in the table.
    package func name(of number: UInt32) -> String {
        number >= 1 && Int(number) <= names.count ? names[Int(number) - 1] : "#\(number)"
    }
}

/// What a whole run did, in the order in which the harness saw it.
package struct History: Equatable, Sendable {
    package var rooms = SymbolTable()
    package var epochs = SymbolTable()
    /// Records of one session (process and room) must be in the order in which that session saw them; otherwise the
    /// order is free.
    package var records: [HistoryRecord] = []

    package init() {}
}
