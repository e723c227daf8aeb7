import Primitives
import Raft
import Testing

@Suite("Progress and Inflights")
struct ProgressTests {
    @Test("the window is bounded in messages")
    func count() {
        var window = Inflights(maxCount: 2, maxBytes: 1000)
        window.add(lastIndex: 3, bytes: 1)
        #expect(!window.isFull)
        window.add(lastIndex: 5, bytes: 1)
        #expect(window.isFull)
        window.free(through: 4)
        #expect(!window.isFull)
        #expect(window.count == 1)
        #expect(window.bytes == 1)
        window.free(through: 4)
        #expect(window.count == 1)
        window.free(through: 5)
        #expect(window.count == 0)
    }

    @Test("the window is bounded in bytes, and one message may cross the bound")
    func bytes() {
        var window = Inflights(maxCount: 100, maxBytes: 10)
        window.add(lastIndex: 1, bytes: 9)
        #expect(!window.isFull)
        window.add(lastIndex: 2, bytes: 50)
        #expect(window.isFull)
        window.free(through: 2)
        #expect(window.bytes == 0)
    }

    private var fresh: Progress { Progress(id: NodeID(2), next: 8, settings: RaftSettings()) }

    @Test("a probe steps back to the hint, and a stale refusal is ignored")
    func probe() {
        var progress = fresh
        progress.sent(count: 1, bytes: 1, commit: 0)
        #expect(progress.isProbeSent)
        expect(!progress.refused(5, hint: 3))
        expect(progress.refused(7, hint: 3))
        #expect(progress.next == 4)
        #expect(!progress.isProbeSent)
    }

    @Test("a refusal never goes below what is known to match")
    func refusedBelowMatch() {
        var progress = fresh
        expect(progress.acceptedThrough(5))
        progress.becomeReplicate()
        progress.sent(count: 10, bytes: 10, commit: 0)
        #expect(progress.next == 16)
        expect(!progress.refused(5, hint: 0))
        expect(progress.refused(15, hint: 0))
        #expect(progress.next == 6)
    }

    @Test("replicating is optimistic, and acceptance is remembered once")
    func replicate() {
        var progress = fresh
        expect(progress.acceptedThrough(7))
        progress.becomeReplicate()
        progress.sent(count: 3, bytes: 30, commit: 9)
        #expect(progress.next == 11)
        #expect(progress.sentCommit == 9)
        #expect(progress.inflights.count == 1)
        expect(progress.acceptedThrough(10))
        expect(!progress.acceptedThrough(10))
        expect(!progress.acceptedThrough(4))
        #expect(progress.match == 10)
    }

    @Test("a follower that lost its log starts over")
    func forget() {
        var progress = fresh
        expect(progress.acceptedThrough(20))
        progress.forgetAcknowledged(last: 3)
        #expect(progress.match == 0)
        #expect(progress.next == 4)
        #expect(progress.state == .probe)
    }
}
