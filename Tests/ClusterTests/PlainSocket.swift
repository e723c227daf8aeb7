import Foundation
import Glibc
import Locks
import Primitives
import WebSocket

@testable import vencejo

/// A WebSocket connection that does nothing by itself: the test says and hears every frame.
final class PlainSocket: Sendable {
    private struct State {
        var received: [String] = []
        var closeCode: UInt16?
        var isEnded = false
    }

    private let descriptor: Int32
    private let state: Lock<State>
    /// The status of the answer to the upgrade.
    let status: Int

    private init(descriptor: Int32, status: Int) {
        self.descriptor = descriptor
        self.status = status
        state = Lock(State())
    }

    /// Connects to `target` on loopback and upgrades. When the answer is not 101 the socket is closed and `status`
    /// says what it was; 0 for a connection that ended without an answer. With a `receiveBuffer` of the kernel, nothing
    /// is read until `read` is called.
    static func connect(
        _ port: Int,
        _ target: String,
        headers: [(name: String, value: String)] = [],
        receiveBuffer: Int32 = 0
    ) throws -> PlainSocket {
        let descriptor = try dial(port)
        if receiveBuffer > 0 {
            var size = receiveBuffer
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
        }
        var request: [UInt8] = []
        _ = ClientHandshake.appendRequest(
            host: "127.0.0.1:\(port)",
            target: target,
            nonce: Array(0..<16),
            headers: headers,
            to: &request
        )
        send(request, to: descriptor)
        var head: [UInt8] = []
        var byte: UInt8 = 0
        while !head.suffix(4).elementsEqual(Array("\r\n\r\n".utf8)), head.count < 16_384 {
            guard Glibc.read(descriptor, &byte, 1) == 1 else { break }
            head.append(byte)
        }
        let words = String(decoding: head, as: UTF8.self).split(separator: " ")
        let status = words.count > 1 ? Int(words[1]) ?? 0 : 0
        let socket = PlainSocket(descriptor: descriptor, status: status)
        if status == 101 {
            if receiveBuffer == 0 { socket.read() }
        } else {
            socket.state.withLock { $0.isEnded = true }
            shutdown(descriptor, Int32(SHUT_RDWR))
        }
        return socket
    }

    deinit { Glibc.close(descriptor) }

    /// A TCP connection to loopback that gives up reading after 20 s.
    static func dial(_ port: Int) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw ClusterFailure("no socket: \(String(cString: strerror(errno)))") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else {
            let reason = String(cString: strerror(errno))
            Glibc.close(descriptor)
            throw ClusterFailure("connect to \(port): \(reason)")
        }
        return descriptor
    }

    private static func send(_ bytes: [UInt8], to descriptor: Int32) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    /// Reads from here on.
    func read() { Thread.detachNewThread { self.readFrames() } }

    private func readFrames() {
        var parser = FrameParser(role: .client, maxMessageSize: 1 << 20)
        var buffer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EAGAIN || errno == EINTR { continue }
            guard count > 0 else { break }
            buffer += chunk[..<count]
            var consumed = 0
            var isClosed = false
            buffer.withUnsafeMutableBytes { raw in
                while let event = try? parser.next(raw, consumed: &consumed) {
                    switch event.kind {
                    case .text, .binary:
                        let text = String(decoding: event.payload(in: raw), as: UTF8.self)
                        state.withLock { $0.received.append(text) }
                    case .close:
                        isClosed = true
                        state.withLock { $0.closeCode = event.closeCode?.rawValue }
                    case .ping, .pong: break
                    }
                }
            }
            buffer.removeFirst(consumed)
            if isClosed { break }
        }
        state.withLock { $0.isEnded = true }
    }

    func send(_ text: String) {
        var frame: [UInt8] = []
        FrameWriter.append(.text, Array(text.utf8), mask: MaskingKey(rawValue: .random(in: .min ... .max)), to: &frame)
        PlainSocket.send(frame, to: descriptor)
    }

    /// All text frames so far.
    var received: [String] { state.withLock { $0.received } }
    var isEnded: Bool { state.withLock { $0.isEnded } }
    /// Of the server's close frame.
    var closeCode: UInt16? { state.withLock { $0.closeCode } }

    /// The same as JSON objects.
    var objects: [[String: Any]] {
        received.flatMap { $0.split(separator: "\n") }.compactMap {
            try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
        }
    }

    /// Waits for an object that fits.
    func await(within seconds: Double = 20, _ fits: ([String: Any]) -> Bool) async throws -> [String: Any] {
        var found: [String: Any]?
        _ = try await eventually(within: seconds) {
            found = objects.first(where: fits)
            return found != nil
        }
        guard let found else { throw ClusterFailure("did not come; received \(received.suffix(5))") }
        return found
    }

    func close() { shutdown(descriptor, Int32(SHUT_RDWR)) }
}
