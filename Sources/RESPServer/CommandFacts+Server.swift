extension CommandFacts {
    /// Commands of the connection and the server. See `CommandFacts`.
    static let server = """
        acl||slow||
        acl:cat|noscript loading stale|slow|||-2|0 0 0|6.0.0|List the ACL categories or the commands inside a \
        category
        acl:getuser|admin noscript loading stale|admin slow dangerous|||3|0 0 0|6.0.0|Get the rules for a specific \
        ACL user
        acl:help|loading stale|slow|||2|0 0 0|6.0.0|Show helpful text about the different subcommands
        acl:list|admin noscript loading stale|admin slow dangerous|||2|0 0 0|6.0.0|List the current ACL rules in \
        ACL config file format
        acl:users|admin noscript loading stale|admin slow dangerous|||2|0 0 0|6.0.0|List the username of all the \
        configured ACL rules
        acl:whoami|noscript loading stale|slow|||2|0 0 0|6.0.0|Return the name of the user associated to the \
        current connection
        asking|fast|fast connection||
        auth|noscript loading stale fast no_auth allow_busy|fast connection||
        bgrewriteaof|admin noscript no_async_loading|admin slow dangerous||
        bgsave|admin noscript no_async_loading|admin slow dangerous||
        client||slow||
        client:getname|noscript loading stale|slow connection|||2|0 0 0|2.6.9|Get the current connection name
        client:getredir|noscript loading stale|slow connection|||2|0 0 0|6.0.0|Get tracking notifications \
        redirection client ID if any
        client:help|loading stale|slow connection|||2|0 0 0|5.0.0|Show helpful text about the different subcommands
        client:id|noscript loading stale|slow connection|||2|0 0 0|5.0.0|Returns the client ID for the current \
        connection
        client:info|noscript loading stale|slow connection|nondeterministic_output||2|0 0 0|6.2.0|Returns \
        information about the current client connection.
        client:kill|admin noscript loading stale|admin slow dangerous connection|||-3|0 0 0|2.4.0|Kill the \
        connection of a client
        client:list|admin noscript loading stale|admin slow dangerous connection|nondeterministic_output||-2|0 0 \
        0|2.4.0|Get the list of client connections
        client:no-evict|admin noscript loading stale|admin slow dangerous connection|||3|0 0 0|7.0.0|Set client \
        eviction mode for the current connection
        client:no-touch|noscript loading stale|slow connection|||3|0 0 0|7.2.0|Control whether commands alter the \
        time of a key's last use
        client:pause|admin noscript loading stale|admin slow dangerous connection|||-3|0 0 0|2.9.50|Stop \
        processing commands from clients for some time
        client:reply|noscript loading stale|slow connection|||3|0 0 0|3.2.0|Instruct the server whether to reply \
        to commands
        client:setinfo|noscript loading stale|slow connection|||4|0 0 0|7.2.0|Assign the client's library attributes
        client:setname|noscript loading stale|slow connection|||3|0 0 0|2.6.9|Set the current connection name
        client:tracking|noscript loading stale|slow connection|||-3|0 0 0|6.0.0|Enable or disable server assisted \
        client side caching support
        client:trackinginfo|noscript loading stale|slow connection|||2|0 0 0|6.2.0|Return information about server \
        assisted client side caching for the current connection
        client:unblock|admin noscript loading stale|admin slow dangerous connection|||-3|0 0 0|5.0.0|Unblock a \
        client blocked in a blocking command from a different connection
        client:unpause|admin noscript loading stale|admin slow dangerous connection|||2|0 0 0|6.2.0|Resume \
        processing of clients that were paused
        cluster||slow||
        cluster:countkeysinslot|stale|slow|||3|0 0 0|3.0.0|Return the number of local keys in the specified hash \
        slot
        cluster:failover|admin stale no_async_loading|admin slow dangerous|||-2|0 0 0|3.0.0|Forces a replica to \
        perform a manual failover of its master.
        cluster:getkeysinslot|stale|slow|nondeterministic_output||4|0 0 0|3.0.0|Return local key names in the \
        specified hash slot
        cluster:help|loading stale|slow|||2|0 0 0|5.0.0|Show helpful text about the different subcommands
        cluster:info|stale|slow|nondeterministic_output||2|0 0 0|3.0.0|Provides info about Redis Cluster node state
        cluster:keyslot|stale|slow|||3|0 0 0|3.0.0|Returns the hash slot of the specified key
        cluster:links|stale|slow|nondeterministic_output||2|0 0 0|7.0.0|Returns a list of all TCP links to and \
        from peer nodes in cluster
        cluster:myid|stale|slow|||2|0 0 0|3.0.0|Return the node id
        cluster:nodes|stale|slow|nondeterministic_output||2|0 0 0|3.0.0|Get Cluster config for the node
        cluster:replicas|admin stale|admin slow dangerous|nondeterministic_output||3|0 0 0|5.0.0|List replica \
        nodes of the specified master node
        cluster:shards|stale|slow|nondeterministic_output||2|0 0 0|7.0.0|Get array of cluster slots to node mappings
        cluster:slaves|admin stale|admin slow dangerous|nondeterministic_output||3|0 0 0|3.0.0|List replica nodes \
        of the specified master node
        cluster:slots|stale|slow|nondeterministic_output||2|0 0 0|3.0.0|Get array of Cluster slot to node mappings
        command|loading stale|slow connection|nondeterministic_output_order|
        command:count|loading stale|slow connection|||2|0 0 0|2.8.13|Get total number of Redis commands
        command:docs|loading stale|slow connection|nondeterministic_output_order||-2|0 0 0|7.0.0|Get array of \
        specific Redis command documentation
        command:getkeys|loading stale|slow connection|||-4|0 0 0|2.8.13|Extract keys given a full Redis command
        command:getkeysandflags|loading stale|slow connection|||-4|0 0 0|7.0.0|Extract keys and access flags given \
        a full Redis command
        command:help|loading stale|slow connection|||2|0 0 0|5.0.0|Show helpful text about the different subcommands
        command:info|loading stale|slow connection|nondeterministic_output_order||-2|0 0 0|2.8.13|Get array of \
        specific Redis command details, or all when no argument is given.
        command:list|loading stale|slow connection|nondeterministic_output_order||-2|0 0 0|7.0.0|Get an array of \
        Redis command names
        config||slow||
        config:get|admin noscript loading stale|admin slow dangerous|||-3|0 0 0|2.0.0|Get the values of \
        configuration parameters
        config:help|loading stale|slow|||2|0 0 0|5.0.0|Show helpful text about the different subcommands
        config:resetstat|admin noscript loading stale|admin slow dangerous|||2|0 0 0|2.0.0|Reset the stats \
        returned by INFO
        config:rewrite|admin noscript loading stale|admin slow dangerous|||2|0 0 0|2.8.0|Rewrite the configuration \
        file with the in memory configuration
        config:set|admin noscript loading stale|admin slow dangerous|request_policy:all_nodes,response_policy:all_s\
        ucceeded||-4|0 0 0|2.0.0|Set configuration parameters to the given values
        dbsize|readonly fast|keyspace read fast|request_policy:all_shards,response_policy:agg_sum|
        discard|noscript loading stale fast allow_busy|fast transaction||
        echo|loading stale fast|fast connection||
        exec|noscript loading stale skip_slowlog|slow transaction||
        flushall|write|keyspace write slow dangerous|request_policy:all_shards,response_policy:all_succeeded|
        flushdb|write|keyspace write slow dangerous|request_policy:all_shards,response_policy:all_succeeded|
        function||slow||
        function:flush|write noscript|write slow scripting|request_policy:all_shards,response_policy:all_succeeded|\
        |-2|0 0 0|7.0.0|Deleting all functions
        hello|noscript loading stale fast no_auth allow_busy|fast connection||
        info|loading stale|slow dangerous|nondeterministic_output,request_policy:all_shards,response_policy:special|
        lastsave|loading stale fast|admin fast dangerous|nondeterministic_output|
        latency||slow||
        latency:doctor|admin noscript loading stale|admin slow dangerous|nondeterministic_output,request_policy:all\
        _nodes,response_policy:special||2|0 0 0|2.8.13|Return a human readable latency analysis report.
        latency:help|loading stale|slow|||2|0 0 0|2.8.13|Show helpful text about the different subcommands.
        latency:history|admin noscript loading stale|admin slow dangerous|nondeterministic_output,request_policy:al\
        l_nodes,response_policy:special||3|0 0 0|2.8.13|Return timestamp-latency samples for the event.
        latency:latest|admin noscript loading stale|admin slow dangerous|nondeterministic_output,request_policy:all\
        _nodes,response_policy:special||2|0 0 0|2.8.13|Return the latest latency samples for all events.
        latency:reset|admin noscript loading stale|admin slow dangerous|request_policy:all_nodes,response_policy:al\
        l_succeeded||-2|0 0 0|2.8.13|Reset latency data for one or more events.
        lolwut|readonly fast|read fast||
        memory||slow||
        memory:doctor||slow|nondeterministic_output,request_policy:all_shards,response_policy:special||2|0 0 \
        0|4.0.0|Outputs memory problems report
        memory:help|loading stale|slow|||2|0 0 0|4.0.0|Show helpful text about the different subcommands
        memory:purge||slow|request_policy:all_shards,response_policy:all_succeeded||2|0 0 0|4.0.0|Ask the \
        allocator to release memory
        memory:stats||slow|nondeterministic_output,request_policy:all_shards,response_policy:special||2|0 0 \
        0|4.0.0|Show memory usage details
        memory:usage|readonly|read slow||RO;i 2;r 0 1 0|-3|2 2 1|4.0.0|Estimate the memory usage of a key
        monitor|admin noscript loading stale|admin slow dangerous||
        multi|noscript loading stale fast allow_busy|fast transaction||
        ping|fast|fast connection|request_policy:all_shards,response_policy:all_succeeded|
        psubscribe|pubsub noscript loading stale|pubsub slow||
        publish|pubsub loading stale fast|pubsub fast||
        pubsub||slow||
        pubsub:channels|pubsub loading stale|pubsub slow|||-2|0 0 0|2.8.0|List active channels
        pubsub:help|loading stale|slow|||2|0 0 0|6.2.0|Show helpful text about the different subcommands
        pubsub:numpat|pubsub loading stale|pubsub slow|||2|0 0 0|2.8.0|Get the count of unique patterns pattern \
        subscriptions
        pubsub:numsub|pubsub loading stale|pubsub slow|||-2|0 0 0|2.8.0|Get the count of subscribers for channels
        pubsub:shardchannels|pubsub loading stale|pubsub slow|||-2|0 0 0|7.0.0|List active shard channels
        pubsub:shardnumsub|pubsub loading stale|pubsub slow|||-2|0 0 0|7.0.0|Get the count of subscribers for \
        shard channels
        punsubscribe|pubsub noscript loading stale|pubsub slow||
        quit|noscript loading stale fast no_auth allow_busy|fast connection||
        readonly|loading stale fast|fast connection||
        readwrite|loading stale fast|fast connection||
        reset|noscript loading stale fast no_auth allow_busy|fast connection||
        role|noscript loading stale fast|admin fast dangerous||
        save|admin noscript no_async_loading no_multi|admin slow dangerous||
        script||slow||
        script:flush|noscript|slow scripting|request_policy:all_nodes,response_policy:all_succeeded||-2|0 0 \
        0|2.6.0|Remove all the scripts from the script cache.
        select|loading stale fast|fast connection||
        slowlog||slow||
        slowlog:get|admin loading stale|admin slow dangerous|request_policy:all_nodes,nondeterministic_output||-2|0\
         0 0|2.2.12|Get the slow log's entries
        slowlog:help|loading stale|slow|||2|0 0 0|6.2.0|Show helpful text about the different subcommands
        slowlog:len|admin loading stale|admin slow dangerous|request_policy:all_nodes,response_policy:agg_sum,nonde\
        terministic_output||2|0 0 0|2.2.12|Get the slow log's length
        slowlog:reset|admin loading stale|admin slow dangerous|request_policy:all_nodes,response_policy:all_succeed\
        ed||2|0 0 0|2.2.12|Clear all entries from the slow log
        spublish|pubsub loading stale fast|pubsub fast||not_key;i 1;r 0 1 0
        ssubscribe|pubsub noscript loading stale|pubsub slow||not_key;i 1;r -1 1 0
        subscribe|pubsub noscript loading stale|pubsub slow||
        sunsubscribe|pubsub noscript loading stale|pubsub slow||not_key;i 1;r -1 1 0
        swapdb|write fast|keyspace write fast dangerous||
        time|loading stale fast|fast|nondeterministic_output|
        unsubscribe|pubsub noscript loading stale|pubsub slow||
        unwatch|noscript loading stale fast allow_busy|fast transaction||
        wait|noscript|slow connection|request_policy:all_shards,response_policy:agg_min|
        watch|noscript loading stale fast allow_busy|fast transaction||RO;i 1;r -1 1 0
        """
}
