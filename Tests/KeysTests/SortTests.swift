import Primitives
import Testing

@Suite("SORT") struct SortTests {
    @Test("RS-12 by number, by text, by other keys, and into a list")
    func sorting() {
        var redis = KeyspaceSession()
        _ = redis("RPUSH l 10 9 2 30 2.5")
        #expect(redis("SORT l") == "[\"2\", \"2.5\", \"9\", \"10\", \"30\"]")
        #expect(redis("SORT l DESC LIMIT 1 2") == "[\"10\", \"9\"]")
        #expect(redis("SORT l ALPHA") == "[\"10\", \"2\", \"2.5\", \"30\", \"9\"]")
        #expect(redis("SORT l BY nosort DESC") == "[\"2.5\", \"30\", \"2\", \"9\", \"10\"]")
        _ = redis("MSET w_10 1 w_9 2 w_2 3 w_30 0")
        #expect(redis("SORT l BY w_* GET #") == "[\"2.5\", \"30\", \"10\", \"9\", \"2\"]")
        _ = redis("HSET h_9 name nine")
        #expect(redis("SORT l LIMIT 2 2 GET h_*->name GET #") == "[\"nine\", \"9\", nil, \"10\"]")
        #expect(redis("SORT l LIMIT 2 2 GET h_*->name STORE out") == "2")
        #expect(redis("LRANGE out 0 -1") == "[\"nine\", \"\"]")
        #expect(redis("SORT none STORE out") == "0")
        #expect(redis("EXISTS out") == "0")
        _ = redis("RPUSH l x")
        #expect(redis("SORT l") == "ERR One or more scores can't be converted into double")
        #expect(redis("SORT_RO l STORE out") == "ERR syntax error")
        #expect(redis("SORT l LIMIT -5 1000 ALPHA DESC") == "[\"x\", \"9\", \"30\", \"2.5\", \"2\", \"10\"]")
        #expect(redis("SORT l LIMIT 9223372036854775807 9223372036854775807 ALPHA") == "[]")
        #expect(redis("SORT w_9").hasPrefix("WRONGTYPE"))
    }

    @Test("RS-12 sets and sorted sets")
    func sets() {
        var redis = KeyspaceSession()
        _ = redis("SADD s 3 1 2 c")
        #expect(redis("SORT s ALPHA") == "[\"1\", \"2\", \"3\", \"c\"]")
        #expect(redis("SORT s BY nosort STORE out") == "4")
        #expect(redis("LRANGE out 0 -1") == "[\"1\", \"2\", \"3\", \"c\"]")
        _ = redis("ZADD z 3 a 1 b 2 c")
        #expect(redis("SORT z BY nosort LIMIT 0 2") == "[\"b\", \"c\"]")
        #expect(redis("SORT z BY nosort DESC") == "[\"a\", \"c\", \"b\"]")
        #expect(redis("SORT z ALPHA DESC") == "[\"c\", \"b\", \"a\"]")
    }
}
