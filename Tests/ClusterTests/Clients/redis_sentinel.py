"""redis-py's Sentinel client, unmodified, at the Sentinel ports of three nodes.

    redis_sentinel.py PORT PORT PORT

Prints "following MASTER-PORT" when it has checked what Sentinel clients ask and hears +switch-master, and after the
owner's death, once master_for writes to another node, "good OLD-PORT NEW-PORT".
"""

import sys
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

ports = [int(port) for port in sys.argv[1:4]]
once = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0), "decode_responses": True}
sentinel = Sentinel([("127.0.0.1", port) for port in ports], sentinel_kwargs=once, min_other_sentinels=2)


def check(isGood, what):
    if not isGood:
        print(what, flush=True)
        sys.exit(1)


host, port = sentinel.discover_master("mymaster")
replicas = sentinel.discover_slaves("mymaster")
check(len(replicas) == 2 and (host, port) not in replicas, f"replicas {replicas} of {port}")
try:
    sentinel.discover_master("nobody")
    check(False, "a master that does not exist was found")
except MasterNotFoundError:
    pass
for asked in sentinel.sentinels:
    state = asked.sentinel_masters()["mymaster"]
    check((state["ip"], state["port"], state["is_master"]) == (host, port, True), f"SENTINEL MASTERS: {state}")
    check(len(asked.sentinel_sentinels("mymaster")) == 2, "SENTINEL SENTINELS names the two others")
    # Raises when there is no quorum; its value is of no use, not even with Redis.
    asked.sentinel_ckquorum("mymaster")

master = sentinel.master_for("mymaster", **once)
replica = sentinel.slave_for("mymaster", **once)
check(master.set("who", "before"), "SET at the master")
check(replica.get("who") == "before", "GET through slave_for")

# Whoever is killed, the other two tell of it.
pubsubs = []
for asked in sentinel.sentinels:
    pubsub = asked.pubsub()
    pubsub.psubscribe("+switch-master")
    check(pubsub.get_message(timeout=10)["type"] == "psubscribe", "PSUBSCRIBE at a Sentinel")
    pubsubs.append(pubsub)
print(f"following {port}", flush=True)

end = time.monotonic() + 60
told = None
while told is None and time.monotonic() < end:
    for pubsub in list(pubsubs):
        try:
            message = pubsub.get_message(timeout=0.05)
        except redis.ConnectionError:
            pubsubs.remove(pubsub)
            continue
        if message is not None and message["type"] == "pmessage":
            told = message["data"].split(" ")
check(told is not None, "no +switch-master came")
check(told[:3] == ["mymaster", host, str(port)], f"+switch-master {told}")
new = int(told[4])
check(new != port, f"+switch-master {told}")

while True:
    try:
        check(master.get("who") in ("before", "after"), "the value after the failover")
        check(master.set("who", "after"), "SET at the new master")
        break
    except redis.ConnectionError as error:
        check(time.monotonic() < end, f"master_for does not find the new master: {error}")
        time.sleep(0.02)
check(sentinel.discover_master("mymaster") == (host, new), "the Sentinels name the one that +switch-master named")
check(master.connection_pool.master_address == (host, new), f"master_for is at {master.connection_pool.master_address}")
check(master.get("who") == "after", "what was written at the new master")
print(f"good {port} {new}", flush=True)
