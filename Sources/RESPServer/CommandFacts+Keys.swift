extension CommandFacts {
    /// Commands on keys. See `CommandFacts`.
    static let keys = """
        append|write denyoom fast|write string fast||RW insert;i 1;r 0 1 0
        bitcount|readonly|read bitmap slow||RO access;i 1;r 0 1 0
        bitfield|write denyoom|write bitmap slow||RW access update variable_flags;i 1;r 0 1 0;This command allows \
        both access and modification of the key
        bitfield_ro|readonly fast|read bitmap fast||RO access;i 1;r 0 1 0
        bitop|write denyoom|write bitmap slow||OW update;i 2;r 0 1 0#RO access;i 3;r -1 1 0
        bitpos|readonly|read bitmap slow||RO access;i 1;r 0 1 0
        blmove|write denyoom noscript blocking|write list slow blocking||RW access delete;i 1;r 0 1 0#RW insert;i \
        2;r 0 1 0
        blmpop|write blocking movablekeys|write list slow blocking||RW access delete;i 2;n 0 1 1
        blpop|write noscript blocking|write list slow blocking||RW access delete;i 1;r -2 1 0
        brpop|write noscript blocking|write list slow blocking||RW access delete;i 1;r -2 1 0
        brpoplpush|write denyoom noscript blocking|write list slow blocking||RW access delete;i 1;r 0 1 0#RW \
        insert;i 2;r 0 1 0
        bzmpop|write blocking movablekeys|write sortedset slow blocking||RW access delete;i 2;n 0 1 1
        bzpopmax|write noscript blocking fast|write sortedset fast blocking||RW access delete;i 1;r -2 1 0
        bzpopmin|write noscript blocking fast|write sortedset fast blocking||RW access delete;i 1;r -2 1 0
        copy|write denyoom|keyspace write slow||RO access;i 1;r 0 1 0#OW update;i 2;r 0 1 0
        decr|write denyoom fast|write string fast||RW access update;i 1;r 0 1 0
        decrby|write denyoom fast|write string fast||RW access update;i 1;r 0 1 0
        del|write|keyspace write slow|request_policy:multi_shard,response_policy:agg_sum|RM delete;i 1;r -1 1 0
        dump|readonly|keyspace read slow|nondeterministic_output|RO access;i 1;r 0 1 0
        exists|readonly fast|keyspace read fast|request_policy:multi_shard,response_policy:agg_sum|RO;i 1;r -1 1 0
        expire|write fast|keyspace write fast||RW update;i 1;r 0 1 0
        expireat|write fast|keyspace write fast||RW update;i 1;r 0 1 0
        expiretime|readonly fast|keyspace read fast||RO access;i 1;r 0 1 0
        geoadd|write denyoom|write geo slow||RW update;i 1;r 0 1 0
        geodist|readonly|read geo slow||RO access;i 1;r 0 1 0
        geohash|readonly|read geo slow||RO access;i 1;r 0 1 0
        geopos|readonly|read geo slow||RO access;i 1;r 0 1 0
        georadius|write denyoom movablekeys|write geo slow||RO access;i 1;r 0 1 0#OW update;k STORE 6;r 0 1 0#OW \
        update;k STOREDIST 6;r 0 1 0
        georadius_ro|readonly|read geo slow||RO access;i 1;r 0 1 0
        georadiusbymember|write denyoom movablekeys|write geo slow||RO access;i 1;r 0 1 0#OW update;k STORE 5;r 0 \
        1 0#OW update;k STOREDIST 5;r 0 1 0
        georadiusbymember_ro|readonly|read geo slow||RO access;i 1;r 0 1 0
        geosearch|readonly|read geo slow||RO access;i 1;r 0 1 0
        geosearchstore|write denyoom|write geo slow||OW update;i 1;r 0 1 0#RO access;i 2;r 0 1 0
        get|readonly fast|read string fast||RO access;i 1;r 0 1 0
        getbit|readonly fast|read bitmap fast||RO access;i 1;r 0 1 0
        getdel|write fast|write string fast||RW access delete;i 1;r 0 1 0
        getex|write fast|write string fast||RW access update;i 1;r 0 1 0;RW and UPDATE because it changes the TTL
        getrange|readonly|read string slow||RO access;i 1;r 0 1 0
        getset|write denyoom fast|write string fast||RW access update;i 1;r 0 1 0
        hdel|write fast|write hash fast||RW delete;i 1;r 0 1 0
        hexists|readonly fast|read hash fast||RO;i 1;r 0 1 0
        hget|readonly fast|read hash fast||RO access;i 1;r 0 1 0
        hgetall|readonly|read hash slow|nondeterministic_output_order|RO access;i 1;r 0 1 0
        hincrby|write denyoom fast|write hash fast||RW access update;i 1;r 0 1 0
        hincrbyfloat|write denyoom fast|write hash fast||RW access update;i 1;r 0 1 0
        hkeys|readonly|read hash slow|nondeterministic_output_order|RO access;i 1;r 0 1 0
        hlen|readonly fast|read hash fast||RO;i 1;r 0 1 0
        hmget|readonly fast|read hash fast||RO access;i 1;r 0 1 0
        hmset|write denyoom fast|write hash fast||RW update;i 1;r 0 1 0
        hrandfield|readonly|read hash slow|nondeterministic_output|RO access;i 1;r 0 1 0
        hscan|readonly|read hash slow|nondeterministic_output|RO access;i 1;r 0 1 0
        hset|write denyoom fast|write hash fast||RW update;i 1;r 0 1 0
        hsetnx|write denyoom fast|write hash fast||RW insert;i 1;r 0 1 0
        hstrlen|readonly fast|read hash fast||RO;i 1;r 0 1 0
        hvals|readonly|read hash slow|nondeterministic_output_order|RO access;i 1;r 0 1 0
        incr|write denyoom fast|write string fast||RW access update;i 1;r 0 1 0
        incrby|write denyoom fast|write string fast||RW access update;i 1;r 0 1 0
        incrbyfloat|write denyoom fast|write string fast||RW access update;i 1;r 0 1 0
        keys|readonly|keyspace read slow dangerous|request_policy:all_shards,nondeterministic_output_order|
        lcs|readonly|read string slow||RO access;i 1;r 1 1 0
        lindex|readonly|read list slow||RO access;i 1;r 0 1 0
        linsert|write denyoom|write list slow||RW insert;i 1;r 0 1 0
        llen|readonly fast|read list fast||RO;i 1;r 0 1 0
        lmove|write denyoom|write list slow||RW access delete;i 1;r 0 1 0#RW insert;i 2;r 0 1 0
        lmpop|write movablekeys|write list slow||RW access delete;i 1;n 0 1 1
        lpop|write fast|write list fast||RW access delete;i 1;r 0 1 0
        lpos|readonly|read list slow||RO access;i 1;r 0 1 0
        lpush|write denyoom fast|write list fast||RW insert;i 1;r 0 1 0
        lpushx|write denyoom fast|write list fast||RW insert;i 1;r 0 1 0
        lrange|readonly|read list slow||RO access;i 1;r 0 1 0
        lrem|write|write list slow||RW delete;i 1;r 0 1 0
        lset|write denyoom|write list slow||RW update;i 1;r 0 1 0
        ltrim|write|write list slow||RW delete;i 1;r 0 1 0
        mget|readonly fast|read string fast|request_policy:multi_shard|RO access;i 1;r -1 1 0
        move|write fast|keyspace write fast||RW access update;i 1;r 0 1 0
        mset|write denyoom|write string slow|request_policy:multi_shard,response_policy:all_succeeded|OW update;i \
        1;r -1 2 0
        msetnx|write denyoom|write string slow|request_policy:multi_shard,response_policy:agg_min|OW insert;i 1;r \
        -1 2 0
        object||slow||
        object:encoding|readonly|keyspace read slow|nondeterministic_output|RO;i 2;r 0 1 0|3|2 2 1|2.2.3|Inspect \
        the internal encoding of a Redis object
        object:freq|readonly|keyspace read slow|nondeterministic_output|RO;i 2;r 0 1 0|3|2 2 1|4.0.0|Get the \
        logarithmic access frequency counter of a Redis object
        object:help|loading stale|keyspace slow|||2|0 0 0|6.2.0|Show helpful text about the different subcommands
        object:idletime|readonly|keyspace read slow|nondeterministic_output|RO;i 2;r 0 1 0|3|2 2 1|2.2.3|Get the \
        time since a Redis object was last accessed
        object:refcount|readonly|keyspace read slow|nondeterministic_output|RO;i 2;r 0 1 0|3|2 2 1|2.2.3|Get the \
        number of references to the value of the key
        persist|write fast|keyspace write fast||RW update;i 1;r 0 1 0
        pexpire|write fast|keyspace write fast||RW update;i 1;r 0 1 0
        pexpireat|write fast|keyspace write fast||RW update;i 1;r 0 1 0
        pexpiretime|readonly fast|keyspace read fast||RO access;i 1;r 0 1 0
        pfadd|write denyoom fast|write hyperloglog fast||RW insert;i 1;r 0 1 0
        pfcount|readonly|read hyperloglog slow||RW access;i 1;r -1 1 0;RW because it may change the internal \
        representation of the key, and propagate to replicas
        pfmerge|write denyoom|write hyperloglog slow||RW access insert;i 1;r 0 1 0#RO access;i 2;r -1 1 0
        psetex|write denyoom|write string slow||OW update;i 1;r 0 1 0
        pttl|readonly fast|keyspace read fast|nondeterministic_output|RO access;i 1;r 0 1 0
        randomkey|readonly|keyspace read slow|request_policy:all_shards,nondeterministic_output|
        rename|write|keyspace write slow||RW access delete;i 1;r 0 1 0#OW update;i 2;r 0 1 0
        renamenx|write fast|keyspace write fast||RW access delete;i 1;r 0 1 0#OW insert;i 2;r 0 1 0
        restore|write denyoom|keyspace write slow dangerous||OW update;i 1;r 0 1 0
        rpop|write fast|write list fast||RW access delete;i 1;r 0 1 0
        rpoplpush|write denyoom|write list slow||RW access delete;i 1;r 0 1 0#RW insert;i 2;r 0 1 0
        rpush|write denyoom fast|write list fast||RW insert;i 1;r 0 1 0
        rpushx|write denyoom fast|write list fast||RW insert;i 1;r 0 1 0
        sadd|write denyoom fast|write set fast||RW insert;i 1;r 0 1 0
        scan|readonly|keyspace read slow|nondeterministic_output,request_policy:special|
        scard|readonly fast|read set fast||RO;i 1;r 0 1 0
        sdiff|readonly|read set slow|nondeterministic_output_order|RO access;i 1;r -1 1 0
        sdiffstore|write denyoom|write set slow||OW update;i 1;r 0 1 0#RO access;i 2;r -1 1 0
        set|write denyoom|write string slow||RW access update variable_flags;i 1;r 0 1 0;RW and ACCESS due to the \
        optional `GET` argument
        setbit|write denyoom|write bitmap slow||RW access update;i 1;r 0 1 0
        setex|write denyoom|write string slow||OW update;i 1;r 0 1 0
        setnx|write denyoom fast|write string fast||OW insert;i 1;r 0 1 0
        setrange|write denyoom|write string slow||RW update;i 1;r 0 1 0
        sinter|readonly|read set slow|nondeterministic_output_order|RO access;i 1;r -1 1 0
        sintercard|readonly movablekeys|read set slow||RO access;i 1;n 0 1 1
        sinterstore|write denyoom|write set slow||RW update;i 1;r 0 1 0#RO access;i 2;r -1 1 0
        sismember|readonly fast|read set fast||RO;i 1;r 0 1 0
        smembers|readonly|read set slow|nondeterministic_output_order|RO access;i 1;r 0 1 0
        smismember|readonly fast|read set fast||RO access;i 1;r 0 1 0
        smove|write fast|write set fast||RW access delete;i 1;r 0 1 0#RW insert;i 2;r 0 1 0
        sort|write denyoom movablekeys|write set sortedset list slow dangerous||RO access;i 1;r 0 1 0#RO \
        access;u;u;For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the \
        content of the key we sort#OW update;u;u;For the optional STORE keyword. It is marked 'unknown' because \
        the keyword can appear anywhere in the argument array
        sort_ro|readonly movablekeys|read set sortedset list slow dangerous||RO access;i 1;r 0 1 0#RO \
        access;u;u;For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the \
        content of the key we sort
        spop|write fast|write set fast|nondeterministic_output|RW access delete;i 1;r 0 1 0
        srandmember|readonly|read set slow|nondeterministic_output|RO access;i 1;r 0 1 0
        srem|write fast|write set fast||RW delete;i 1;r 0 1 0
        sscan|readonly|read set slow|nondeterministic_output|RO access;i 1;r 0 1 0
        strlen|readonly fast|read string fast||RO;i 1;r 0 1 0
        substr|readonly|read string slow||RO access;i 1;r 0 1 0
        sunion|readonly|read set slow|nondeterministic_output_order|RO access;i 1;r -1 1 0
        sunionstore|write denyoom|write set slow||OW update;i 1;r 0 1 0#RO access;i 2;r -1 1 0
        touch|readonly fast|keyspace read fast|request_policy:multi_shard,response_policy:agg_sum|RO;i 1;r -1 1 0
        ttl|readonly fast|keyspace read fast|nondeterministic_output|RO access;i 1;r 0 1 0
        type|readonly fast|keyspace read fast||RO;i 1;r 0 1 0
        unlink|write fast|keyspace write fast|request_policy:multi_shard,response_policy:agg_sum|RM delete;i 1;r \
        -1 1 0
        xack|write fast|write stream fast||RW update;i 1;r 0 1 0
        xadd|write denyoom fast|write stream fast|nondeterministic_output|RW update;i 1;r 0 1 0;UPDATE instead of \
        INSERT because of the optional trimming feature
        xautoclaim|write fast|write stream fast|nondeterministic_output|RW delete;i 1;r 0 1 0
        xclaim|write fast|write stream fast|nondeterministic_output|RW update;i 1;r 0 1 0
        xdel|write fast|write stream fast||RW delete;i 1;r 0 1 0
        xgroup||slow||
        xgroup:create|write denyoom|write stream slow||RW insert;i 2;r 0 1 0|-5|2 2 1|5.0.0|Create a consumer group.
        xgroup:createconsumer|write denyoom|write stream slow||RW insert;i 2;r 0 1 0|5|2 2 1|6.2.0|Create a \
        consumer in a consumer group.
        xgroup:delconsumer|write|write stream slow||RW delete;i 2;r 0 1 0|5|2 2 1|5.0.0|Delete a consumer from a \
        consumer group.
        xgroup:destroy|write|write stream slow||RW delete;i 2;r 0 1 0|4|2 2 1|5.0.0|Destroy a consumer group.
        xgroup:help|loading stale|stream slow|||2|0 0 0|5.0.0|Show helpful text about the different subcommands
        xgroup:setid|write|write stream slow||RW update;i 2;r 0 1 0|-5|2 2 1|5.0.0|Set a consumer group to an \
        arbitrary last delivered ID value.
        xinfo||slow||
        xinfo:consumers|readonly|read stream slow|nondeterministic_output|RO access;i 2;r 0 1 0|4|2 2 1|5.0.0|List \
        the consumers in a consumer group
        xinfo:groups|readonly|read stream slow||RO access;i 2;r 0 1 0|3|2 2 1|5.0.0|List the consumer groups of a \
        stream
        xinfo:help|loading stale|stream slow|||2|0 0 0|5.0.0|Show helpful text about the different subcommands
        xinfo:stream|readonly|read stream slow||RO access;i 2;r 0 1 0|-3|2 2 1|5.0.0|Get information about a stream
        xlen|readonly fast|read stream fast||RO;i 1;r 0 1 0
        xpending|readonly|read stream slow|nondeterministic_output|RO access;i 1;r 0 1 0
        xrange|readonly|read stream slow||RO access;i 1;r 0 1 0
        xread|readonly blocking movablekeys|read stream slow blocking||RO access;k STREAMS 1;r -1 1 2
        xreadgroup|write blocking movablekeys|write stream slow blocking||RO access;k STREAMS 4;r -1 1 2
        xrevrange|readonly|read stream slow||RO access;i 1;r 0 1 0
        xsetid|write denyoom fast|write stream fast||RW update;i 1;r 0 1 0
        xtrim|write|write stream slow|nondeterministic_output|RW delete;i 1;r 0 1 0
        zadd|write denyoom fast|write sortedset fast||RW update;i 1;r 0 1 0
        zcard|readonly fast|read sortedset fast||RO;i 1;r 0 1 0
        zcount|readonly fast|read sortedset fast||RO access;i 1;r 0 1 0
        zdiff|readonly movablekeys|read sortedset slow||RO access;i 1;n 0 1 1
        zdiffstore|write denyoom movablekeys|write sortedset slow||OW update;i 1;r 0 1 0#RO access;i 2;n 0 1 1
        zincrby|write denyoom fast|write sortedset fast||RW access update;i 1;r 0 1 0
        zinter|readonly movablekeys|read sortedset slow||RO access;i 1;n 0 1 1
        zintercard|readonly movablekeys|read sortedset slow||RO access;i 1;n 0 1 1
        zinterstore|write denyoom movablekeys|write sortedset slow||OW update;i 1;r 0 1 0#RO access;i 2;n 0 1 1
        zlexcount|readonly fast|read sortedset fast||RO access;i 1;r 0 1 0
        zmpop|write movablekeys|write sortedset slow||RW access delete;i 1;n 0 1 1
        zmscore|readonly fast|read sortedset fast||RO access;i 1;r 0 1 0
        zpopmax|write fast|write sortedset fast||RW access delete;i 1;r 0 1 0
        zpopmin|write fast|write sortedset fast||RW access delete;i 1;r 0 1 0
        zrandmember|readonly|read sortedset slow|nondeterministic_output|RO access;i 1;r 0 1 0
        zrange|readonly|read sortedset slow||RO access;i 1;r 0 1 0
        zrangebylex|readonly|read sortedset slow||RO access;i 1;r 0 1 0
        zrangebyscore|readonly|read sortedset slow||RO access;i 1;r 0 1 0
        zrangestore|write denyoom|write sortedset slow||OW update;i 1;r 0 1 0#RO access;i 2;r 0 1 0
        zrank|readonly fast|read sortedset fast||RO access;i 1;r 0 1 0
        zrem|write fast|write sortedset fast||RW delete;i 1;r 0 1 0
        zremrangebylex|write|write sortedset slow||RW delete;i 1;r 0 1 0
        zremrangebyrank|write|write sortedset slow||RW delete;i 1;r 0 1 0
        zremrangebyscore|write|write sortedset slow||RW delete;i 1;r 0 1 0
        zrevrange|readonly|read sortedset slow||RO access;i 1;r 0 1 0
        zrevrangebylex|readonly|read sortedset slow||RO access;i 1;r 0 1 0
        zrevrangebyscore|readonly|read sortedset slow||RO access;i 1;r 0 1 0
        zrevrank|readonly fast|read sortedset fast||RO access;i 1;r 0 1 0
        zscan|readonly|read sortedset slow|nondeterministic_output|RO access;i 1;r 0 1 0
        zscore|readonly fast|read sortedset fast||RO access;i 1;r 0 1 0
        zunion|readonly movablekeys|read sortedset slow||RO access;i 1;n 0 1 1
        zunionstore|write denyoom movablekeys|write sortedset slow||OW update;i 1;r 0 1 0#RO access;i 2;n 0 1 1
        """
}
