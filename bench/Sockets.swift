import Glibc

/// Where servers under test listen, unless they have a network of their own.
let loopbackHost = "127.0.0.1"

/// A loopback address; the last byte chooses among 127.0.0.1 to 127.0.0.254.
func loopback(port: UInt16, last: UInt8 = 1) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = (UInt32(127) << 24 | UInt32(last)).bigEndian
    return address
}

/// An IPv4 address in digits and dots.
func socketAddress(host: String, port: UInt16) throws -> sockaddr_in {
    var address = loopback(port: port)
    guard inet_pton(AF_INET, host, &address.sin_addr) == 1 else { throw BenchError("\(host) is no IPv4 address") }
    return address
}

private func withSocketAddress<R>(_ address: sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    var address = address
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
}

/// Ports that nobody listens on now, all different.
func freePorts(count: Int) throws -> [UInt16] {
    var descriptors: [Int32] = []
    defer { for descriptor in descriptors { close(descriptor) } }
    var ports: [UInt16] = []
    for _ in 0..<count {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw BenchError("no socket: \(lastError())") }
        descriptors.append(descriptor)
        guard withSocketAddress(loopback(port: 0), { bind(descriptor, $0, $1) }) == 0 else {
            throw BenchError("no free port: \(lastError())")
        }
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
        }
        ports.append(UInt16(bigEndian: address.sin_port))
    }
    return ports
}

/// A connected blocking socket whose reads and writes give up after `timeoutMilliseconds`.
func connectBlocking(host: String = loopbackHost, port: UInt16, timeoutMilliseconds: Int) throws -> Int32 {
    let address = try socketAddress(host: host, port: port)
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw BenchError("no socket: \(lastError())") }
    var time = timeval(tv_sec: timeoutMilliseconds / 1000, tv_usec: (timeoutMilliseconds % 1000) * 1000)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    guard withSocketAddress(address, { connect(descriptor, $0, $1) }) == 0 else {
        let error = lastError()
        close(descriptor)
        throw BenchError("\(host):\(port): \(error)")
    }
    return descriptor
}

/// A non-blocking socket that is connected or connecting, from the loopback address `source` (1 to 254).
func connectNonBlocking(host: String = loopbackHost, port: UInt16, source: UInt8 = 1) throws -> Int32 {
    let address = try socketAddress(host: host, port: port)
    let descriptor = socket(
        AF_INET,
        Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue),
        0
    )
    guard descriptor >= 0 else { throw BenchError("no socket: \(lastError())") }
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    if source != 1 {
        // The port is chosen at connect, so that each source address has a port range of its own.
        let bindAddressNoPort: Int32 = 24
        setsockopt(descriptor, Int32(IPPROTO_IP), bindAddressNoPort, &on, socklen_t(MemoryLayout<Int32>.size))
        _ = withSocketAddress(loopback(port: 0, last: source)) { bind(descriptor, $0, $1) }
    }
    let outcome = withSocketAddress(address) { connect(descriptor, $0, $1) }
    guard outcome == 0 || errno == EINPROGRESS else {
        let error = lastError()
        close(descriptor)
        throw BenchError("\(host):\(port): \(error)")
    }
    return descriptor
}

func lastError() -> String { String(cString: strerror(errno)) }
