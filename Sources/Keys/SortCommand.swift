import Primitives
import RESP

/// SORT and SORT_RO. Source: https://redis.io/docs/latest/commands/sort/
///
/// Where Redis's order is open (equal keys of ALPHA with BY), elements stay in the order in which they were. ALPHA
/// compares bytes, as Redis does in the C locale.
extension Keyspace {
    mutating func sort(_ call: Call, isReadOnly: Bool, _ reply: inout RESPWriter) throws(CommandError) {
        var options = try SortOptions(call, isReadOnly: isReadOnly)
        let value = lookUp(call.database, call[1])
        guard var elements = value == nil ? [] : value?.sortable else { throw .wrongType }
        if case .set? = value, !options.isSorting, options.target != nil {
            // What is stored must not depend on the order of a hash table.
            options.isSorting = true
            options.isAlpha = true
            options.by = nil
        }
        if options.isSorting {
            elements = try sorted(elements, options, call.database)
        } else if options.isDescending, !(value?.typeName == "set") {
            elements.reverse()
        }

        let start = Int(max(0, min(options.start, Int64(elements.count))))
        let count = options.count < 0 ? Int64(elements.count) : min(options.count, Int64(elements.count))
        let picked = elements[start..<min(elements.count, start + Int(count))]
        var rows: [[UInt8]?] = []
        rows.reserveCapacity(picked.count * max(1, options.get.count))
        for element in picked {
            if options.get.isEmpty { rows.append(element) }
            for pattern in options.get { rows.append(lookUp(pattern, element, call.database)) }
        }
        guard let target = options.target else {
            reply.array(rows.count)
            for row in rows { if let row { reply.bulk(row) } else { reply.null() } }
            return
        }
        if rows.isEmpty {
            deleteIfLive(call.database, target)
        } else {
            var list = ListValue(seed: SplitMix64.mix(seed ^ version &+ 1))
            for row in rows { list.push(row ?? [], .tail) }
            store(call.database, target, list.wrapped)
            notify(.list, "sortstore", call.database, target)
        }
        reply.integer(rows.count)
    }

    private mutating func sorted(
        _ elements: [[UInt8]],
        _ options: SortOptions,
        _ database: Int
    ) throws(CommandError) -> [[UInt8]] {
        var rows: [SortRow] = []
        rows.reserveCapacity(elements.count)
        for (place, element) in elements.enumerated() {
            var row = SortRow(element: element, place: place)
            let key = options.by.map { lookUp($0, element, database) } ?? element
            if options.isAlpha {
                row.text = key
            } else if let key {
                guard let score = SortRow.score(key) else {
                    throw .message("ERR One or more scores can't be converted into double")
                }
                row.score = score
            }
            rows.append(row)
        }
        let (isAlpha, isDescending) = (options.isAlpha, options.isDescending)
        rows.sort { a, b in
            let order = isAlpha ? SortRow.compare(a.text, b.text) : SortRow.compareScores(a, b)
            return order == 0 ? a.place < b.place : (order < 0) != isDescending
        }
        return rows.map(\.element)
    }

    /// What BY or GET names for an element: `#` is the element itself, `key_*` a string, `key_*->field` a hash's field.
    private mutating func lookUp(_ pattern: [UInt8], _ element: [UInt8], _ database: Int) -> [UInt8]? {
        if pattern == [UInt8(ascii: "#")] { return element }
        guard let star = pattern.firstIndex(of: UInt8(ascii: "*")) else { return nil }
        var suffix = pattern[(star + 1)...]
        var field: ArraySlice<UInt8>?
        let arrow = suffix.indices.first {
            suffix[$0] == UInt8(ascii: "-") && $0 + 1 < suffix.endIndex && suffix[$0 + 1] == UInt8(ascii: ">")
        }
        if let arrow, arrow + 2 < suffix.endIndex {
            field = suffix[(arrow + 2)...]
            suffix = suffix[..<arrow]
        }
        let value = lookUp(database, pattern[..<star] + element + suffix)
        guard let field else { return value?.stringBytes }
        guard case .hash(let hash)? = value else { return nil }
        return hash[Array(field)]
    }
}

extension Value {
    /// The elements that SORT sorts, in their own order; nil for other types.
    fileprivate var sortable: [[UInt8]]? {
        switch self {
        case .list(let list): Array(list.elements)
        case .set(let set): set.all
        case .sortedSet(let set): set.all.map(\.member)
        default: nil
        }
    }
}

private struct SortRow {
    var element: [UInt8]
    var place: Int
    var score = 0.0
    /// Nil: BY names a key that is not there.
    var text: [UInt8]?

    /// What strtod reads: nothing is 0, and blanks in front are passed over.
    static func score(_ text: [UInt8]) -> Double? {
        let number = text.drop { $0 == 32 || ($0 >= 9 && $0 <= 13) }
        return text.isEmpty ? 0 : Decimal.double(number)
    }

    static func compareScores(_ a: SortRow, _ b: SortRow) -> Int {
        if a.score != b.score { return a.score < b.score ? -1 : 1 }
        return compare(a.element, b.element)
    }

    static func compare(_ a: [UInt8]?, _ b: [UInt8]?) -> Int {
        guard let a, let b else { return a == b ? 0 : a == nil ? -1 : 1 }
        return a == b ? 0 : a.lexicographicallyPrecedes(b) ? -1 : 1
    }
}

private struct SortOptions {
    var isDescending = false
    var isAlpha = false
    var start: Int64 = 0
    /// Negative: all.
    var count: Int64 = -1
    var target: [UInt8]?
    var by: [UInt8]?
    /// False: BY names no key of the element, and the elements stay in their own order.
    var isSorting = true
    var get: [[UInt8]] = []

    init(_ call: Call, isReadOnly: Bool) throws(CommandError) {
        var index = 2
        while index < call.count {
            let left = call.count - index - 1
            if call.isWord(index, "asc") {
                isDescending = false
            } else if call.isWord(index, "desc") {
                isDescending = true
            } else if call.isWord(index, "alpha") {
                isAlpha = true
            } else if call.isWord(index, "limit"), left >= 2 {
                start = try call.integer(index + 1)
                count = try call.integer(index + 2)
                index += 2
            } else if !isReadOnly, call.isWord(index, "store"), left >= 1 {
                target = call[index + 1]
                index += 1
            } else if call.isWord(index, "by"), left >= 1 {
                by = call[index + 1]
                if !call[index + 1].contains(UInt8(ascii: "*")) { isSorting = false }
                index += 1
            } else if call.isWord(index, "get"), left >= 1 {
                get.append(call[index + 1])
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
    }
}
