import Primitives
import RESP

extension Keyspace {
    /// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN], by the table of all prefixes, as Redis does it:
    /// so that of several subsequences of the same length it picks the same one.
    mutating func longestCommonSubsequence(_ call: Call, _ reply: inout RESPWriter) throws(CommandError) {
        let first = lookUp(call.database, call[1])
        let second = lookUp(call.database, call[2])
        guard let a = first == nil ? [] : first?.stringBytes, let b = second == nil ? [] : second?.stringBytes else {
            throw .message("ERR The specified keys must contain string values")
        }
        var wantsLength = false
        var wantsIndexes = false
        var withLengths = false
        var shortest: Int64 = 0
        var index = 3
        while index < call.count {
            if call.isWord(index, "idx") {
                wantsIndexes = true
            } else if call.isWord(index, "len") {
                wantsLength = true
            } else if call.isWord(index, "withmatchlen") {
                withLengths = true
            } else if call.isWord(index, "minmatchlen"), index + 1 < call.count {
                shortest = max(0, try call.integer(index + 1))
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
        if wantsLength, wantsIndexes {
            throw .message("ERR If you want both the length and indexes, please just use IDX.")
        }
        let (cells, overflow) = (a.count + 1).multipliedReportingOverflow(by: b.count + 1)
        guard !overflow, cells <= configuration.protoMaxBulkLength / 4, cells <= Int(UInt32.max) else {
            throw .message("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
        }
        let table = PrefixTable(a, b)
        if wantsLength { return reply.integer(table.length) }

        let walk = table.walk()
        guard wantsIndexes else { return reply.bulk(walk.text) }
        let ranges = walk.ranges.filter { shortest == 0 || $0.length >= shortest }
        reply.map(2)
        reply.bulk("matches")
        reply.array(ranges.count)
        for range in ranges {
            reply.array(withLengths ? 3 : 2)
            for start in [range.a, range.b] {
                reply.array(2)
                reply.integer(start)
                reply.integer(start + range.length - 1)
            }
            if withLengths { reply.integer(range.length) }
        }
        reply.bulk("len")
        reply.integer(table.length)
    }
}

/// The lengths of the longest common subsequences of all pairs of prefixes.
private struct PrefixTable {
    private let a: [UInt8]
    private let b: [UInt8]
    private var cells: [UInt32]
    private let width: Int

    init(_ a: [UInt8], _ b: [UInt8]) {
        self.a = a
        self.b = b
        width = b.count + 1
        cells = Array(repeating: 0, count: (a.count + 1) * width)
        cells.withUnsafeMutableBufferPointer { cells in
            for i in 0..<a.count {
                let row = i * width
                for j in 0..<b.count {
                    cells[row + width + j + 1] =
                        a[i] == b[j] ? cells[row + j] + 1 : max(cells[row + j + 1], cells[row + width + j])
                }
            }
        }
    }

    var length: Int { Int(cells[cells.count - 1]) }

    /// The subsequence, and the runs of it that are contiguous in both strings, from the last to the first.
    func walk() -> (text: [UInt8], ranges: [(a: Int, b: Int, length: Int)]) {
        var text: [UInt8] = []
        var ranges: [(a: Int, b: Int, length: Int)] = []
        var isOpen = false
        var i = a.count
        var j = b.count
        while i > 0, j > 0 {
            if a[i - 1] == b[j - 1] {
                i -= 1
                j -= 1
                text.append(a[i])
                if isOpen {
                    ranges[ranges.count - 1] = (i, j, ranges[ranges.count - 1].length + 1)
                } else {
                    ranges.append((i, j, 1))
                    isOpen = true
                }
            } else {
                isOpen = false
                if cells[(i - 1) * width + j] > cells[i * width + j - 1] { i -= 1 } else { j -= 1 }
            }
        }
        return (text.reversed(), ranges)
    }
}
