import Glibc
import LocalRESP

/// A client with blocking calls on a socket of its own; shows replies as short text.
final class RESPClient: @unchecked Sendable {
    let descriptor: Int32
    private var input: [UInt8] = []
    private var position = 0

    struct Failure: Error {
        var code: Int32
    }

    init(_ port: Int, receiveBuffer: Int32 = 0) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if receiveBuffer > 0 {
            var size = receiveBuffer
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw Failure(code: errno) }
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var yes: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
    }

    convenience init(_ server: LocalRESPServer, receiveBuffer: Int32 = 0) throws {
        try self.init(server.port, receiveBuffer: receiveBuffer)
    }

    deinit { Glibc.close(descriptor) }

    // MARK: Sending

    func raw(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return }
            sent += count
        }
    }

    func raw(_ text: String) { raw(Array(text.utf8)) }

    static func encoded(_ arguments: [[UInt8]]) -> [UInt8] {
        var bytes = Array("*\(arguments.count)\r\n".utf8)
        for argument in arguments { bytes += Array("$\(argument.count)\r\n".utf8) + argument + [13, 10] }
        return bytes
    }

    /// Words, without quotes.
    func send(_ line: String) {
        raw(RESPClient.encoded(line.split(separator: " ").map { Array($0.utf8) }))
    }

    func send(_ arguments: [[UInt8]]) { raw(RESPClient.encoded(arguments)) }

    /// A command and its reply.
    func callAsFunction(_ line: String) -> String {
        send(line)
        return reply()
    }

    func call(_ arguments: [[UInt8]]) -> String {
        send(arguments)
        return reply()
    }

    // MARK: Receiving

    private func more() -> Bool {
        if position > 0 {
            input.removeFirst(position)
            position = 0
        }
        var buffer = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return false }
        input += buffer[..<count]
        return true
    }

    private func byte() -> UInt8? {
        while position >= input.count { if !more() { return nil } }
        defer { position += 1 }
        return input[position]
    }

    private func line() -> String? {
        var bytes: [UInt8] = []
        while let next = byte() {
            if next == 13 {
                _ = byte()
                return String(decoding: bytes, as: UTF8.self)
            }
            bytes.append(next)
        }
        return nil
    }

    private func bytes(_ count: Int) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            guard let next = byte() else { return nil }
            bytes.append(next)
        }
        _ = byte()
        _ = byte()
        return bytes
    }

    /// `OK`, `-ERR …`, `:1`, `text`, `nil`, `[a b]`, `{k v}`, `~[a]`, `>[a b]`, `,1.5`; `end` when the connection is.
    func reply() -> String {
        guard let kind = byte(), let head = line() else { return "end" }
        switch kind {
        case UInt8(ascii: "+"): return head
        case UInt8(ascii: "-"): return "-" + head
        case UInt8(ascii: ":"): return ":" + head
        case UInt8(ascii: ","): return "," + head
        case UInt8(ascii: "_"): return "nil"
        case UInt8(ascii: "#"): return "#" + head
        case UInt8(ascii: "$"), UInt8(ascii: "="):
            guard let count = Int(head), count >= 0 else { return "nil" }
            return bytes(count).map { String(decoding: $0, as: UTF8.self) } ?? "end"
        case UInt8(ascii: "*"): return aggregate(head, 1, "[", "]")
        case UInt8(ascii: "~"): return aggregate(head, 1, "~[", "]")
        case UInt8(ascii: ">"): return aggregate(head, 1, ">[", "]")
        case UInt8(ascii: "%"): return aggregate(head, 2, "{", "}")
        default: return "?\(kind)"
        }
    }

    private func aggregate(_ head: String, _ factor: Int, _ open: String, _ close: String) -> String {
        guard let count = Int(head), count >= 0 else { return "nil" }
        var parts: [String] = []
        for _ in 0..<(count * factor) { parts.append(reply()) }
        return open + parts.joined(separator: " ") + close
    }

    /// Nothing is to be read at this moment.
    var isSilent: Bool {
        guard position >= input.count else { return false }
        var one: UInt8 = 0
        return recv(descriptor, &one, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) < 0
    }
}

/// A value of an INFO reply.
func field(_ info: String, _ name: String) -> String? {
    info.split(whereSeparator: \.isNewline).first { $0.hasPrefix(name + ":") }.map {
        String($0.dropFirst(name.count + 1))
    }
}
