import Foundation
import Glibc
import Locks
import RESP

/// A connection of a Redis client that does nothing by itself. It speaks RESP3, where messages are apart from replies.
final class RedisSocket: Sendable {
    private struct State {
        var replies: [RESPValue] = []
        var messages: [Message] = []
        var asked = 0
        var isEnded = false
        var isReading = false
    }

    /// What a subscriber heard.
    struct Message: Equatable {
        /// `message`, `pmessage` or `smessage`.
        var kind: String
        var pattern: String
        var channel: String
        var payload: String
    }

    private let descriptor: Int32
    private let state = Lock(State())

    private init(_ descriptor: Int32) { self.descriptor = descriptor }

    deinit { Glibc.close(descriptor) }

    /// `receiveBuffer` of the kernel, for one that will not read.
    static func connect(_ port: Int, receiveBuffer: Int32 = 0) async throws -> RedisSocket {
        let descriptor = try PlainSocket.dial(port)
        if receiveBuffer > 0 {
            var size = receiveBuffer
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        let socket = RedisSocket(descriptor)
        if receiveBuffer == 0 {
            socket.read()
            _ = try await socket.call("HELLO", "3")
        }
        return socket
    }

    /// Reads from here on.
    func read() {
        let isFirst = state.withLock { state in
            defer { state.isReading = true }
            return !state.isReading
        }
        // It keeps itself alive until the connection ends.
        if isFirst { Thread.detachNewThread { self.readReplies() } }
    }

    private func readReplies() {
        var parser = RESPReplyParser()
        var buffer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        reading: while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EAGAIN || errno == EINTR { continue }
            guard count > 0 else { break }
            buffer += chunk[..<count]
            var position = 0
            let isGood = buffer.withUnsafeBytes { raw in
                do {
                    while let value = try parser.next(raw, from: &position) { take(value) }
                    return true
                } catch {
                    return false
                }
            }
            buffer.removeFirst(position)
            if !isGood { break reading }
        }
        state.withLock { $0.isEnded = true }
    }

    private func take(_ value: RESPValue) {
        let words = (value.elements ?? []).map { $0.text ?? "" }
        let message: Message? =
            switch words.first {
            case "message" where words.count == 3, "smessage" where words.count == 3:
                Message(kind: words[0], pattern: "", channel: words[1], payload: words[2])
            case "pmessage" where words.count == 4:
                Message(kind: words[0], pattern: words[1], channel: words[2], payload: words[3])
            default: nil
            }
        state.withLock { state in
            if let message { state.messages.append(message) } else { state.replies.append(value) }
        }
    }

    /// Writes commands; each is answered once, SUBSCRIBE and its like once for each name.
    func send(_ commands: [[String]]) {
        var bytes: [UInt8] = []
        for words in commands {
            bytes += Array("*\(words.count)\r\n".utf8)
            for word in words { bytes += Array("$\(word.utf8.count)\r\n\(word)\r\n".utf8) }
        }
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    /// One pipeline; the replies to it.
    func pipeline(_ commands: [[String]], within seconds: Double = 60) async throws -> [RESPValue] {
        let from = state.withLock { state in
            defer { state.asked += commands.count }
            return state.asked
        }
        // A sender that nobody reads from would block its thread: what is long goes out in parts.
        for start in stride(from: 0, to: commands.count, by: 100) {
            let part = Array(commands[start..<min(start + 100, commands.count)])
            send(part)
            let wanted = from + start + part.count
            let isAnswered = try await eventually(within: seconds) {
                state.withLock { $0.replies.count >= wanted || $0.isEnded }
            }
            guard isAnswered, state.withLock({ $0.replies.count >= wanted }) else {
                throw ClusterFailure("no answer to \(part.first ?? []) and \(part.count - 1) more")
            }
        }
        return state.withLock { Array($0.replies[from..<from + commands.count]) }
    }

    /// One command, one reply.
    @discardableResult
    func call(_ words: String...) async throws -> RESPValue { try await pipeline([words])[0] }

    var messages: [Message] { state.withLock { $0.messages } }
    var messageCount: Int { state.withLock { $0.messages.count } }
    var isEnded: Bool { state.withLock { $0.isEnded } }

    func close() { shutdown(descriptor, Int32(SHUT_RDWR)) }
}
