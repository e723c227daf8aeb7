import ClusterConfiguration
import Primitives
import Testing

@Suite struct RedisTests {
    private func load(_ environment: [String: String] = [:], _ toml: String = "") throws -> ClusterConfiguration {
        try ClusterConfiguration.load(
            text: "cluster.replication_factor = 1\n" + toml + "\n[[node]]\nid = 'n1'\ndata_dir = 'd'\n",
            path: "r.toml",
            environment: environment
        )
    }

    @Test("RA-01 RA-03 RA-10 without a word nothing is on, and one switch does not turn the other on")
    func switches() throws {
        let off = try load()
        #expect(!off.redisEnabled && !off.redisPubSubEnabled && off.mode == .cluster)
        #expect(off.redisURL == "redis://localhost:6379/0")
        let only = try load(["REDIS_ENABLED": "true"])
        #expect(only.redisEnabled && !only.redisPubSubEnabled && only.mode == .standalone)
        let both = try load(["REDIS_ENABLED": "True", "REDIS_PUBSUB_ENABLED": "1"])
        #expect(both.redisEnabled && both.redisPubSubEnabled && both.mode == .redis)
        let pubsub = try load(["REDIS_PUBSUB_ENABLED": "true"])
        #expect(!pubsub.redisEnabled && !pubsub.redisPubSubEnabled && pubsub.mode == .cluster)
        let file = try load([:], "cluster.backplane = 'redis'")
        #expect(file.mode == .redis)
        let forbidden = try load(["REDIS_ENABLED": "false"], "cluster.backplane = 'redis'")
        #expect(!forbidden.redisEnabled && forbidden.mode == .standalone && forbidden.replicationFactor == 1)
    }

    @Test("RA-02 RA-04 RA-05 RA-06 RA-07 RA-08 RA-09 the guide's defaults")
    func defaults() {
        let redis = ClusterConfiguration.Redis()
        #expect(redis.url.text == "redis://localhost:6379/0")
        #expect(redis.poolSize == 10 && redis.maxConnections == 50 && redis.retryAttempts == 3 && redis.retryOnTimeout)
        #expect(redis.socketTimeout == .seconds(5) && redis.connectTimeout == .seconds(5))
        #expect(redis.channelPrefix == "chat_system" && redis.sentinelMaster == "mymaster")
    }

    @Test("RA-02 RA-04 RA-05 RA-06 RA-07 RA-08 RA-09 the guide's variables by their exact names")
    func variables() throws {
        let configuration = try load(
            [
                "REDIS_ENABLED": "true", "REDIS_PUBSUB_ENABLED": "true", "REDIS_URL": "redis://:pw@cache:7000/2",
                "REDIS_POOL_SIZE": "7", "REDIS_SOCKET_TIMEOUT": "1.5", "REDIS_MAX_CONNECTIONS": "20",
                "REDIS_CHANNEL_PREFIX": "other", "REDIS_RETRY_ON_TIMEOUT": "false", "REDIS_RETRY_ATTEMPTS": "9",
                "VENCEJO_REDIS_POOL_SIZE": "6",
            ],
            "[redis]\nretry_attempts = 1\n"
        )
        let redis = configuration.redis
        #expect(configuration.redisURL == "redis://:pw@cache:7000/2")
        #expect(redis.poolSize == 6, "the more particular variable wins")
        #expect(redis.socketTimeout == .milliseconds(1500) && redis.maxConnections == 20)
        #expect(redis.channelPrefix == "other" && !redis.retryOnTimeout && redis.retryAttempts == 9)
        #expect(!String(describing: configuration.redis).contains("pw"), "the password is not printed")
    }

    @Test(
        "RA-02 RA-23 what cannot work stops the start, without showing a password",
        arguments: [
            (["REDIS_ENABLED": "maybe"], "", "REDIS_ENABLED"),
            (["REDIS_ENABLED": "1", "REDIS_POOL_SIZE": "many"], "", "REDIS_POOL_SIZE"),
            (["REDIS_ENABLED": "1", "REDIS_URL": "http://:hunter2@x"], "", "redis.url"),
            (["REDIS_ENABLED": "1", "VENCEJO_REDIS_TLS_CA_FILE": "ca.pem"], "", "rediss://"),
            (["REDIS_ENABLED": "1", "VENCEJO_REDIS_TLS_CERT_FILE": "node.pem"], "", "redis.tls_cert_file"),
            (["REDIS_ENABLED": "1", "REDIS_MAX_CONNECTIONS": "5"], "", "redis.pool_size"),
            ([:], "cluster.backplane = 'redis'\nredis.sentinels = ['a']", "redis.sentinels"),
            ([:], "cluster.backplane = 'redis'\ncluster.mode = 'standalone'", "cluster.backplane"),
            ([:], "cluster.backplane = 'redis'\nredis.retry_max = '10ms'", "redis.retry_max"),
            ([:], "cluster.mode = 'redis'", "backplane"),
        ]
    )
    func refusals(_ environment: [String: String], _ toml: String, _ wanted: String) {
        do {
            _ = try load(environment, toml)
            Issue.record("it was taken")
        } catch let error as ConfigurationError {
            let text = error.problems.map(\.description).joined(separator: "\n")
            #expect(text.contains(wanted) && !text.contains("hunter2"), "\(text)")
        } catch {
            Issue.record(error)
        }
    }

    @Test("RA-23 fewer than three Sentinels, and RA-28 asynchronous replication, are warned of")
    func warnings() throws {
        let two = try load([:], "cluster.backplane = 'redis'\nredis.sentinels = ['a:26379', 'b:26379']")
        #expect(two.warnings.contains { $0.contains("redis.sentinels") })
        #expect(two.warnings.contains { $0.contains("asynchronous replication") })
        #expect(two.redis.sentinelAddresses?.map(\.port) == [26379, 26379])
        let three = try load(
            [:],
            "cluster.backplane = 'redis'\nredis.sentinels = ['a:1', 'b:2', 'c:3']\nredis.wait_replicas = 1"
        )
        #expect(three.warnings.isEmpty)
    }
}
