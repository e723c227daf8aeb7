"""redis-py's RedisCluster, sync and asyncio, unmodified, at the cluster ports of three nodes with several partitions.

    redis_cluster.py PORT PORT PORT PROTOCOL

Prints "good" at the end; anything else is a failure, with its reason.
"""

import asyncio
import sys

import redis
import redis.asyncio
from redis.cluster import ClusterNode, RedisCluster

ports = [int(port) for port in sys.argv[1:4]]
protocol = int(sys.argv[4])
options = {"protocol": protocol, "decode_responses": True}


def check(got, wanted, what):
    if got != wanted:
        print(f"{what}: got {got!r}, wanted {wanted!r}", flush=True)
        sys.exit(1)


def fails(call, error, start, what):
    try:
        got = call()
        print(f"{what}: got {got!r}, wanted {error.__name__}", flush=True)
        sys.exit(1)
    except error as raised:
        check(str(raised)[:len(start)], start, what)


# One node is enough to find the others.
cluster = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", ports[1])], **options)
check({node.port for node in cluster.get_nodes()}, set(ports), "the nodes found by asking one")
owners = {slot: cluster.nodes_manager.get_node_from_slot(slot).port for slot in range(16384)}
check(len(owners), 16384, "every slot has an owner")
check(len(set(owners.values())) > 1, True, "partitions have several owners")
check(cluster.cluster_keyslot("{user}1"), 5474, "KEYSLOT, as CRC16 of the hash tag")

cluster.flushall()
for number in range(200):
    check(cluster.set(f"key:{number}", number), True, "SET")
check([cluster.get(f"key:{number}") for number in range(200)], [str(number) for number in range(200)], "GET")
check(cluster.mget_nonatomic([f"key:{number}" for number in range(50)]), [str(number) for number in range(50)], "MGET")
with cluster.pipeline() as pipe:
    for number in range(200):
        pipe.incr(f"key:{number}")
    check(pipe.execute(), list(range(1, 201)), "a pipeline over all slots, in order")
check(sorted(cluster.scan_iter(count=50)), sorted(f"key:{number}" for number in range(200)), "SCAN of all owners")
check(cluster.dbsize(target_nodes=RedisCluster.PRIMARIES), 200, "DBSIZE summed over the owners")

# Raw connections: what a node says of a slot that is another's.
raw = {port: redis.Redis(port=port, retry=None, **options) for port in ports}
slot = cluster.keyslot("key:1")
other = next(port for port in ports if port != owners[slot])
fails(lambda: raw[other].get("key:1"), redis.exceptions.MovedError, f"{slot} 127.0.0.1:{owners[slot]}", "MOVED")
check(raw[owners[slot]].get("key:1"), "2", "the owner serves it")
fails(
    lambda: raw[owners[slot]].mget("key:1", "key:2"), redis.exceptions.ClusterCrossSlotError,
    "Keys in request don't hash to the same slot", "CROSSSLOT",
)
fails(lambda: cluster.mset({"a": 1, "b": 2}), redis.RedisClusterException, "", "MSET over two slots")
check(cluster.mset({"{tag}a": 1, "{tag}b": 2}), True, "MSET within one slot")
check(cluster.mget("{tag}a", "{tag}b"), ["1", "2"], "MGET within one slot")
info = raw[ports[0]].cluster("INFO")
check((info["cluster_state"], info["cluster_slots_ok"]), ("ok", "16384"), "CLUSTER INFO")

# Channels reach every node; a shard channel's subscribers and publishers are led to its owner.
pubsub = cluster.pubsub(node=ClusterNode("127.0.0.1", ports[0]))
pubsub.subscribe("news")
check(pubsub.get_message(timeout=10)["type"], "subscribe", "SUBSCRIBE")
raw[ports[2]].publish("news", "hello")
check(pubsub.get_message(timeout=10)["data"], "hello", "PUBLISH at another node")
pubsub.close()
shards = cluster.pubsub()
shards.ssubscribe("orders")
message = shards.get_sharded_message(timeout=10)
check((message["type"], message["channel"]), ("ssubscribe", "orders"), "SSUBSCRIBE")
check([cluster.spublish("orders", f"o{number}") for number in range(20)], [1] * 20, "SPUBLISH")
heard = []
while len(heard) < 20:
    message = shards.get_sharded_message(timeout=10)
    check(message is None, False, f"a shard message is missing after {heard}")
    heard.append(message["data"])
check(heard, [f"o{number}" for number in range(20)], "a shard channel, in order")
shards.close()


async def concurrent():
    nodes = [redis.asyncio.cluster.ClusterNode("127.0.0.1", port) for port in ports]
    client = redis.asyncio.RedisCluster(startup_nodes=nodes, **options)
    # Before the slots are known it sends tasks anywhere and closes connections in use, at Redis Cluster as well.
    await client.initialize()
    for _ in range(5):
        await asyncio.gather(*(client.incr(f"key:{number}") for number in range(60)))
    check(int(await client.get("key:0")), 6, "increments of many tasks")
    async with client.pipeline() as pipe:
        for number in range(60):
            pipe.get(f"key:{number}")
        check(await pipe.execute(), [str(number + 6) for number in range(60)], "an asyncio pipeline")
    await client.aclose()


asyncio.run(concurrent())
print("good", flush=True)
