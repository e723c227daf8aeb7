import CPosixShims
import Gateway
import Glibc
import Logging
import RESPServer

/// Refuses new connections while few descriptors are left, so that files, links and the admin port keep a share of
/// their own (GW-17).
struct DescriptorWatch {
    private let ceiling: Int32
    private let logger: Logger

    init(limit: UInt64, logger: Logger) {
        ceiling = Int32(clamping: limit - min(256, limit / 8))
        self.logger = logger
    }

    /// Descriptors are handed out from the lowest free number on, so a fresh one tells about how many are in use.
    func check(_ gateway: GatewayShard?, _ resp: RESPShard? = nil) {
        let probe = vencejo_open("/dev/null", O_RDONLY, 0)
        if probe >= 0 { close(probe) }
        let isShort = probe < 0 || probe >= ceiling
        resp?.isShortOfDescriptors = isShort
        guard let gateway, gateway.isShortOfDescriptors != isShort else { return }
        gateway.isShortOfDescriptors = isShort
        if isShort {
            logger.warning(
                "new connections are refused: few descriptors are left",
                metadata: ["in.use": "\(probe)", "advice": "raise ulimit -n"]
            )
        }
    }
}
