import ClientProtocol
import EventLoops
import Primitives
import WebSocket

/// How a drain sees a client off.
extension ClientConnection {
    /// Why a node that stops or is being emptied closes a session: both codes make clients come again, to another node.
    /// Centrifugo's close frame says all that its disconnect push would, which is for transports without close frames.
    var farewell: Disconnect {
        switch dialect {
        case .centrifugo: .shutdown
        case .plain: Disconnect(code: CloseCode.serviceRestart.rawValue, reason: "service restart")
        }
    }

    /// False when there is no session that would have to be waited for. HTTP connections that rest are closed; a
    /// request in hand is answered, and its connection closed after it.
    func beginLeaving() -> Bool {
        switch phase {
        case .webSocket:
            isLeaving = true
            // Nobody reads its pongs.
            nextPing = .distantFuture
            pongDeadline = .distantFuture
            updateReading()
            return true
        case .head where isResting || lastHeard == acceptedAt:
            closeSocket()
            return false
        default: return false
        }
    }

    /// Closes the session when all its requests are answered and everything that was queued for it has reached the
    /// kernel. True when it is gone.
    func leaveWhenDone() -> Bool {
        guard case .webSocket = phase else { return true }
        guard outstanding == 0, pausedFrame == nil, backlog == nil, stream.queuedBytes == 0 else { return false }
        shard.metrics.moved += 1
        close(farewell)
        return true
    }

    /// Closes at once. True when a client loses something by it: a session, or the answer to a request.
    func cutOff() -> Bool {
        switch phase {
        case .closing, .closed: return false
        case .webSocket:
            close(farewell, waitsForPeer: false)
            return true
        case .answering:
            closeSocket()
            return true
        case .head, .body:
            closeSocket()
            return false
        }
    }
}
