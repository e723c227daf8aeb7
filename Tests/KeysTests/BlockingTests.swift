import Primitives
import RESP
import Testing

@testable import Keys

/// Commands that wait, and who is served when.
@Suite struct BlockingTests {
    private var redis = KeyspaceSession()

    /// A client's command that must wait.
    private mutating func wait(_ client: UInt64, _ line: String) {
        redis.client = client
        #expect(redis(line) == "(blocked)")
        redis.client = nil
    }

    @Test("RS-13 first blocked, first served, once each")
    mutating func order() {
        for client in 1...3 { wait(UInt64(client), "BLPOP l 0") }
        #expect(redis.keys.waiterCount == 3)
        #expect(redis("RPUSH l a b") == "2")
        #expect(redis.served() == [#"1: ["l", "a"]"#, #"2: ["l", "b"]"#])
        #expect(redis("LLEN l") == "0")
        #expect(redis("RPUSH l c d") == "2")
        #expect(redis.served() == [#"3: ["l", "c"]"#])
        #expect(redis("LRANGE l 0 -1") == #"["d"]"#)
    }

    @Test("RS-13 what is there is taken at once, from the first key that has something")
    mutating func atOnce() {
        _ = redis("RPUSH b 1 2 3")
        redis.client = 1
        #expect(redis("BLPOP a b 0") == #"["b", "1"]"#)
        #expect(redis("BRPOP b 0") == #"["b", "3"]"#)
        #expect(redis("BLMPOP 0 2 a b LEFT COUNT 9") == #"["b", ["2"]]"#)
        #expect(redis.keys.waiterCount == 0)
    }

    @Test("RS-13 a client that waits at several keys is served once, and leaves all of them")
    mutating func severalKeys() {
        wait(1, "BRPOP a b a 0")
        wait(2, "BLPOP b 0")
        _ = redis("RPUSH b x")
        #expect(redis.served() == [#"1: ["b", "x"]"#])
        _ = redis("RPUSH a y")
        #expect(redis.served() == [])
        _ = redis("RPUSH b z")
        #expect(redis.served() == [#"2: ["b", "z"]"#])
        #expect(redis.keys.waiterCount == 0)
    }

    @Test("RS-13 BLMOVE chains: what one waiter moves serves the next")
    mutating func chain() {
        wait(1, "BLMOVE a b LEFT RIGHT 0")
        wait(2, "BRPOPLPUSH b c 0")
        wait(3, "BLPOP c 0")
        _ = redis("RPUSH a x")
        #expect(redis.served() == [#"1: "x""#, #"2: "x""#, #"3: ["c", "x"]"#])
        for key in ["a", "b", "c"] { #expect(redis("LLEN \(key)") == "0") }
    }

    @Test("RS-13 a circle of moves ends when nobody waits any more")
    mutating func circle() {
        wait(1, "BLMOVE a b LEFT LEFT 0")
        wait(2, "BLMOVE b a LEFT LEFT 0")
        _ = redis("RPUSH a x")
        #expect(redis.served() == [#"1: "x""#, #"2: "x""#])
        #expect(redis("LRANGE a 0 -1") == #"["x"]"#)
    }

    @Test("RS-13 a move to a key of another type fails, and the next waiter gets the element")
    mutating func wrongDestination() {
        _ = redis("HSET h f v")
        wait(1, "BRPOPLPUSH l h 0")
        wait(2, "BLPOP l 0")
        _ = redis("RPUSH l x")
        #expect(
            redis.served() == [
                "1: WRONGTYPE Operation against a key holding the wrong kind of value", #"2: ["l", "x"]"#,
            ]
        )
    }

    @Test("RS-13 a key that comes to hold another type wakes nobody")
    mutating func wrongSource() {
        wait(1, "BLPOP l 0")
        _ = redis("HSET l f v")
        #expect(redis.served() == [])
        _ = redis("HDEL l f")
        _ = redis("RPUSH l x")
        #expect(redis.served() == [#"1: ["l", "x"]"#])
    }

    @Test("RS-13 waiters are looked at after the whole transaction, which does not wait itself")
    mutating func transaction() {
        wait(1, "BLPOP l 0")
        var reply = RESPWriter()
        func run(_ line: String) {
            redis.keys.execute(Call(KeyspaceSession.split(line)), &reply)
        }
        run("RPUSH l x")
        run("LPOP l")
        run("BLPOP l 0")
        run("BLMOVE l m LEFT LEFT 0")
        #expect(KeyspaceSession.show(reply.bytes) == #"1 "x" nil nil"#)
        redis.keys.serveWaiters()
        #expect(redis.served() == [])
        reply = RESPWriter()
        run("RPUSH l y")
        run("LPUSH l z")
        redis.keys.serveWaiters()
        #expect(redis.served() == [#"1: ["l", "z"]"#])
    }

    @Test("RS-13 a client whose time is up gets nothing, in order of the deadlines, and not a moment earlier")
    mutating func timeouts() {
        wait(1, "BLPOP l 2")
        wait(2, "BLMOVE l m LEFT LEFT 0.5")
        wait(3, "BLMPOP 0.5 1 l LEFT")
        wait(4, "BRPOP l 0")
        let start = redis.keys.now
        #expect(redis.keys.nextTimeout == start + 500)
        redis.keys.now = start + 499
        redis.keys.timeOutWaiters()
        #expect(redis.served() == [])
        redis.keys.now = start + 2000
        redis.keys.timeOutWaiters()
        #expect(redis.served() == ["2: nil", "3: nil", "1: nil"])
        #expect(redis.keys.nextTimeout == nil)
        _ = redis("RPUSH l x")
        #expect(redis.served() == [#"4: ["l", "x"]"#])
    }

    @Test("RS-13 looking again and finding nothing costs a waiter neither its place nor its deadline")
    mutating func retry() {
        wait(1, "BLPOP l 1")
        wait(2, "BLPOP l 1")
        redis.keys.now += 900
        let again = Call(KeyspaceSession.split("BLPOP l 1"), waiter: WaiterID(gateway: 1, session: 1))
        var reply = RESPWriter()
        #expect(redis.keys.execute(again, &reply) == .blocked)
        #expect(redis.keys.nextTimeout == redis.keys.now + 100)
        _ = redis("RPUSH l x")
        #expect(redis.served() == [#"1: ["l", "x"]"#])
    }

    @Test("RS-13 a client that is gone, or is unblocked, takes no element")
    mutating func leaving() {
        for client in 1...3 { wait(UInt64(client), "BLPOP l k 0") }
        redis.keys.forget(WaiterID(gateway: 1, session: 2))
        let first = WaiterID(gateway: 1, session: 1)
        let wasWaiting = redis.keys.unblock(first, error: "UNBLOCKED client unblocked")
        let waitsStill = redis.keys.unblock(first)
        #expect(wasWaiting && !waitsStill)
        #expect(redis.served() == ["1: UNBLOCKED client unblocked"])
        _ = redis("RPUSH l x y")
        #expect(redis.served() == [#"3: ["l", "x"]"#])
        wait(4, "BLPOP k 0")
        redis.keys.forget(gateway: 1)
        #expect(redis.keys.waiterCount == 0)
        #expect(redis("RPUSH k x") == "1")
        #expect(redis.served() == [])
    }

    @Test("RS-13 a waiter gets its reply in the version of the protocol that it speaks")
    mutating func versions() {
        redis.version = 3
        wait(1, "BLPOP l 0")
        redis.version = 2
        wait(2, "BLPOP l 0")
        redis.keys.unblock(WaiterID(gateway: 1, session: 1))
        redis.keys.unblock(WaiterID(gateway: 1, session: 2))
        #expect(redis.keys.served.map(\.reply) == [Array("_\r\n".utf8), Array("*-1\r\n".utf8)])
    }

    @Test("RS-13 timeouts that are none")
    mutating func badTimeouts() {
        redis.client = 1
        #expect(redis("BLPOP l -1") == "ERR timeout is negative")
        #expect(redis("BLPOP l x") == "ERR timeout is not a float or out of range")
        #expect(redis("BLPOP l inf") == "ERR timeout is out of range")
        #expect(redis("BLPOP l 9223372036854775807") == "ERR timeout is out of range")
        #expect(redis("BLMOVE a b LEFT LEFT nan") == "ERR timeout is not a float or out of range")
        #expect(redis.keys.waiterCount == 0)
    }

    @Test("RS-13 fifty thousand waiters at one key are served, and half of them leave, without walking through all")
    mutating func many() {
        for client in 0..<50_000 { wait(UInt64(client), "BLPOP l \(client % 2 == 0 ? 0 : 60 + client % 100)") }
        for client in stride(from: 0, to: 50_000, by: 4) {
            redis.keys.forget(WaiterID(gateway: 1, session: UInt64(client)))
        }
        for _ in 0..<10_000 { _ = redis("RPUSH l x") }
        #expect(redis.keys.waiterCount == 27_500)
        redis.keys.now += 200_000
        redis.keys.timeOutWaiters()
        #expect(redis.keys.waiters.nextDeadline == nil)
        #expect(redis.keys.served.count + redis.keys.waiterCount == 37_500)
    }
}
