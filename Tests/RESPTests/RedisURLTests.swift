import RESP
import Testing

@Suite struct RedisURLTests {
    @Test("RA-02 the default, credentials, rediss, database and address forms")
    func parts() throws {
        let plain = try RedisURL("redis://localhost:6379/0")
        #expect(plain == RedisURL())
        #expect(try RedisURL("redis://") == RedisURL())
        let full = try RedisURL("rediss://ann:p%40ss%3a%2F@cache.example:7001/12")
        #expect(full.isTLS && full.host == "cache.example" && full.port == 7001 && full.database == 12)
        #expect(full.user == "ann" && full.password == "p@ss:/")
        let old = try RedisURL("redis://:secret@10.0.0.1")
        #expect(old.user.isEmpty && old.password == "secret" && old.host == "10.0.0.1" && old.port == 6379)
        let six = try RedisURL("redis://[::1]:7000/3")
        #expect(six.host == "::1" && six.port == 7000 && six.database == 3)
    }

    @Test(
        "RA-02 what is no URL is refused without repeating it",
        arguments: [
            "localhost:6379", "http://localhost", "redis://host:0", "redis://host:99999", "redis://host:x",
            "redis://host/one", "redis://host/-1", "redis://user@host", "redis://a:b:c", "redis://[::1",
            "redis://h?db=1",
            "redis://:%zz@h", "redis://:%ff@h", "redis://::1",
        ]
    )
    func refusals(_ text: String) {
        do {
            _ = try RedisURL(text)
            Issue.record("\(text) was taken")
        } catch {
            #expect(!error.reason.contains(text))
        }
    }
}
