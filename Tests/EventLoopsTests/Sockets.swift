import Glibc

/// A blocking client socket straight from the kernel, so that a test's heap holds the server's side only.
final class RawSocket: Sendable {
    struct Refused: Error {}
    let descriptor: Int32

    /// Connects to 127.0.0.1.
    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Refused() }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let outcome = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard outcome == 0 else { throw Refused() }
    }

    var localPort: Int {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
        }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return false }
            sent += count
        }
        return true
    }

    /// Up to `limit` bytes; empty at the end of the stream, nil on an error.
    func receive(_ limit: Int = 65536) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress!, limit, 0) }
        return count < 0 ? nil : Array(bytes.prefix(count))
    }

    /// Exactly `count` bytes, or fewer at the end of the stream.
    func receiveExactly(_ count: Int) -> [UInt8] {
        var all: [UInt8] = []
        while all.count < count, let more = receive(count - all.count), !more.isEmpty { all += more }
        return all
    }

    /// Everything up to the end of the stream.
    func receiveAll() -> [UInt8] {
        var all: [UInt8] = []
        while let more = receive(), !more.isEmpty { all += more }
        return all
    }

    func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

    deinit { if descriptor >= 0 { Glibc.close(descriptor) } }
}

/// Bytes of the heap that are in use, over all arenas: what malloc_info(3) calls current, less what it calls rest.
func heapInUse() -> Int {
    typealias MallocInfo = @convention(c) (Int32, UnsafeMutablePointer<FILE>) -> Int32
    let mallocInfo = unsafeBitCast(dlsym(nil, "malloc_info")!, to: MallocInfo.self)
    var text: UnsafeMutablePointer<CChar>?
    var size = 0
    let stream = open_memstream(&text, &size)!
    _ = mallocInfo(0, stream)
    fclose(stream)
    defer { free(text) }
    let lines = String(cString: text!).split(separator: "\n")
    // The totals come after the last arena.
    func last(_ prefix: String) -> Int {
        guard let line = lines.last(where: { $0.hasPrefix(prefix) }) else { return 0 }
        return Int(line.split(separator: "\"").last { Int($0) != nil } ?? "0") ?? 0
    }
    return last("<system type=\"current\"") + last("<total type=\"mmap\"")
        - last("<total type=\"fast\"") - last("<total type=\"rest\"")
}

/// Binds a socket to a free port of 127.0.0.1 and returns it.
func boundPort(of descriptor: Int32) -> Int {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            precondition(bind(descriptor, $0, length) == 0)
            _ = getsockname(descriptor, $0, &length)
        }
    }
    return Int(UInt16(bigEndian: address.sin_port))
}

/// For the first line of a test that runs as a process of its own: such a process inherits the sockets of the tests
/// that run beside it (NIO's are not close-on-exec), and would keep their ports and connections alive.
func closeInheritedSockets() {
    for descriptor in Int32(3)..<4096 {
        var domain: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 else { continue }
        if domain == AF_INET || domain == AF_INET6 { close(descriptor) }
    }
}
