import HistoryChecker

/// The answer to a publish command.
struct PublishReply: Equatable {
    enum Outcome: Equatable {
        case acknowledged(offset: UInt64)
        /// May be repeated; may have happened.
        case temporary(code: UInt64)
        /// Definitely did not happen.
        case refused(code: UInt64)
    }

    var command: UInt64
    var outcome: Outcome

    /// Reads one line; nil for a line that answers no publish.
    init?(_ line: UnsafeRawBufferPointer) {
        guard line.count > 6, line[2] == UInt8(ascii: "i"),
            let command = Scan.number(after: "{\"id\":", in: line)
        else { return nil }
        self.command = command
        if Scan.contains("\"publish\":", in: line) {
            outcome = .acknowledged(offset: Scan.number(after: "\"offset\":", in: line) ?? 0)
        } else if Scan.contains("\"error\":", in: line) {
            let code = Scan.number(after: "\"code\":", in: line) ?? 0
            outcome = Scan.contains("\"temporary\":true", in: line) ? .temporary(code: code) : .refused(code: code)
        } else {
            return nil
        }
    }
}

/// The room's epoch in an acknowledgement, turned into the history's number without making a string each time.
struct EpochCache {
    private var hash: UInt64 = 0
    private var number: UInt32 = 0

    mutating func number(in line: UnsafeRawBufferPointer, _ epochs: inout SymbolTable) -> UInt32 {
        guard let found = Scan.position(of: "\"epoch\":\"", in: line, from: 0) else { return 0 }
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        var at = found + 9
        while at < line.count, line[at] != UInt8(ascii: "\"") {
            hash = (hash ^ UInt64(line[at])) &* 0x100_0000_01b3
            at += 1
        }
        if hash != self.hash || number == 0 {
            self.hash = hash
            number = epochs.number(of: String(decoding: line[(found + 9)..<at], as: UTF8.self))
        }
        return number
    }
}
