import Glibc

/// The JSON of a benchmark message: `{"m":"~0000000000000001~","p":"xxx"}`, of a wanted size. The tilde occurs nowhere
/// else in what a server sends, so that a receiver finds the number by one `memchr` and parses nothing.
enum Payload {
    static let marker = UInt8(ascii: "~")
    private static let head = Array("{\"m\":\"~".utf8)
    private static let middle = Array("~\",\"p\":\"".utf8)
    private static let tail = Array("\"}".utf8)
    /// Without any padding.
    static let minimumSize = head.count + 16 + middle.count + tail.count

    /// Appends the message `number` with `max(size, minimumSize)` bytes.
    static func append(_ number: UInt64, size: Int, to out: inout [UInt8]) {
        out.append(contentsOf: head)
        for shift in stride(from: 60, through: 0, by: -4) {
            let digit = UInt8(truncatingIfNeeded: number >> UInt64(shift)) & 0xf
            out.append(digit < 10 ? 0x30 + digit : 0x57 + digit)
        }
        out.append(contentsOf: middle)
        out.append(contentsOf: repeatElement(UInt8(ascii: "x"), count: max(0, size - minimumSize)))
        out.append(contentsOf: tail)
    }

    /// The next message number at or after `position`, which moves behind it; nil when there is none.
    @inline(__always)
    static func next(in bytes: UnsafeRawBufferPointer, _ position: inout Int) -> UInt64? {
        while position < bytes.count {
            guard let base = bytes.baseAddress,
                let found = memchr(base + position, Int32(marker), bytes.count - position)
            else {
                position = bytes.count
                return nil
            }
            let at = base.distance(to: UnsafeRawPointer(found))
            guard at + 17 < bytes.count else {
                position = bytes.count
                return nil
            }
            position = at + 18
            var number: UInt64 = 0
            for index in (at + 1)...(at + 16) {
                let byte = bytes[index]
                number = number << 4 | UInt64(byte <= 0x39 ? byte &- 0x30 : byte &- 0x57) & 0xf
            }
            return number
        }
        return nil
    }
}

/// Looks for what is needed in a JSON message, without parsing it.
enum Scan {
    static func contains(_ text: StaticString, in bytes: UnsafeRawBufferPointer) -> Bool {
        position(of: text, in: bytes, from: 0) != nil
    }

    /// Where `text` begins at or after `start`.
    static func position(of text: StaticString, in bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
        let length = text.utf8CodeUnitCount
        guard let base = bytes.baseAddress else { return nil }
        var at = start
        while bytes.count - at >= length {
            guard let found = memchr(base + at, Int32(text.utf8Start[0]), bytes.count - at - length + 1) else { break }
            at = base.distance(to: UnsafeRawPointer(found))
            if memcmp(base + at, text.utf8Start, length) == 0 { return at }
            at += 1
        }
        return nil
    }

    /// The digits right after `name`, which includes its quotes and colon, at or after `start`.
    static func number(after name: StaticString, in bytes: UnsafeRawBufferPointer, from start: Int = 0) -> UInt64? {
        guard let found = position(of: name, in: bytes, from: start) else { return nil }
        var at = found + name.utf8CodeUnitCount
        var number: UInt64 = 0
        var hasDigits = false
        while at < bytes.count, case let digit = bytes[at] &- 0x30, digit < 10 {
            number = number &* 10 &+ UInt64(digit)
            hasDigits = true
            at += 1
        }
        return hasDigits ? number : nil
    }

    /// The string right after `name`, which includes colon and opening quote; without escapes.
    static func text(after name: StaticString, in bytes: UnsafeRawBufferPointer, from start: Int = 0) -> String? {
        guard let found = position(of: name, in: bytes, from: start) else { return nil }
        let begin = found + name.utf8CodeUnitCount
        var end = begin
        while end < bytes.count, bytes[end] != UInt8(ascii: "\"") { end += 1 }
        return String(decoding: bytes[begin..<end], as: UTF8.self)
    }

    /// Calls `body` for each of the JSON objects that share a frame, one a line.
    static func forEachLine(_ bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Void) {
        guard let base = bytes.baseAddress else { return }
        var start = 0
        while start < bytes.count {
            var end = bytes.count
            if let found = memchr(base + start, 0x0a, bytes.count - start) {
                end = base.distance(to: UnsafeRawPointer(found))
            }
            if end > start { body(UnsafeRawBufferPointer(rebasing: bytes[start..<end])) }
            start = end + 1
        }
    }
}
