import Glibc

/// epoll(7), which the Glibc module does not show: the functions are taken from the C library at run time.
struct Epoll {
    struct Interest: OptionSet {
        let rawValue: UInt32
        static let read = Interest(rawValue: 0x001)
        static let write = Interest(rawValue: 0x004)
    }

    private typealias Create = @convention(c) (Int32) -> Int32
    private typealias Control = @convention(c) (Int32, Int32, Int32, UnsafeMutableRawPointer?) -> Int32
    private typealias Wait = @convention(c) (Int32, UnsafeMutableRawPointer, Int32, Int32) -> Int32

    private let descriptor: Int32
    private let control: Control
    private let wait: Wait
    private let events: UnsafeMutableRawPointer
    private static let capacity = 512
    /// `struct epoll_event` is packed on x86-64 and only there.
    #if arch(x86_64)
        private static let stride = 12
        private static let dataOffset = 4
    #else
        private static let stride = 16
        private static let dataOffset = 8
    #endif

    init() throws {
        guard let create = dlsym(nil, "epoll_create1"), let control = dlsym(nil, "epoll_ctl"),
            let wait = dlsym(nil, "epoll_wait")
        else { throw BenchError("the C library has no epoll") }
        self.control = unsafeBitCast(control, to: Control.self)
        self.wait = unsafeBitCast(wait, to: Wait.self)
        descriptor = unsafeBitCast(create, to: Create.self)(0o2000000)
        guard descriptor >= 0 else { throw BenchError("no epoll: \(lastError())") }
        events = .allocate(byteCount: Self.stride * Self.capacity, alignment: 16)
    }

    func close() {
        Glibc.close(descriptor)
        events.deallocate()
    }

    func add(_ file: Int32, token: Int, _ interest: Interest) -> Bool { set(1, file, token, interest) }

    func modify(_ file: Int32, token: Int, _ interest: Interest) -> Bool { set(3, file, token, interest) }

    private func set(_ operation: Int32, _ file: Int32, _ token: Int, _ interest: Interest) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: Self.stride, alignment: 8) { event in
            event.storeBytes(of: interest.rawValue, toByteOffset: 0, as: UInt32.self)
            event.storeBytes(of: UInt64(token), toByteOffset: Self.dataOffset, as: UInt64.self)
            return control(descriptor, operation, file, event.baseAddress) == 0
        }
    }

    /// Waits at most `milliseconds`; returns how many events there are.
    func wait(milliseconds: Int32) -> Int { Int(max(0, wait(descriptor, events, Int32(Self.capacity), milliseconds))) }

    /// Event `index` of the last wait; an error or a hang-up counts as readable.
    @inline(__always)
    func event(_ index: Int) -> (token: Int, interest: Interest) {
        let event = events + index * Self.stride
        let bits = event.loadUnaligned(as: UInt32.self)
        let token = event.loadUnaligned(fromByteOffset: Self.dataOffset, as: UInt64.self)
        var interest: Interest = bits & ~Interest.write.rawValue != 0 ? .read : []
        if bits & Interest.write.rawValue != 0 { interest.insert(.write) }
        return (Int(token), interest)
    }
}
