"""redis-py, unmodified, at the shim of three nodes: strings, pipelines, transactions, waits, streams, Pub/Sub.

    redis_shim.py PORT PORT PORT PROTOCOL

Prints "good" at the end; anything else is a failure, with its reason.
"""

import sys
import threading
import time

import redis

ports = [int(port) for port in sys.argv[1:4]]
protocol = int(sys.argv[4])
nodes = [redis.Redis(port=port, protocol=protocol, decode_responses=True) for port in ports]
one, two, three = nodes


def check(got, wanted, what):
    if got != wanted:
        print(f"{what}: got {got!r}, wanted {wanted!r}")
        sys.exit(1)


for node in nodes:
    node.ping()
one.flushall()
one.set("key", "value", ex=100)
check(two.get("key"), "value", "a string on another node")
check(0 < three.ttl("key") <= 100, True, "its time to live")

with two.pipeline() as pipe:
    pipe.set("a", 1).incr("a").incrby("a", 10).get("a")
    check(pipe.execute(), [True, 2, 12, "12"], "a transaction")

with three.pipeline() as pipe:
    pipe.watch("a")
    one.set("a", 100)
    pipe.multi()
    pipe.incr("a")
    try:
        pipe.execute()
        print("a watched key changed and EXEC went on")
        sys.exit(1)
    except redis.WatchError:
        pass
check(three.get("a"), "100", "after the conflict")

for number in range(100):
    nodes[number % 3].rpush("list", number)
check([one.lpop("list") for _ in range(100)], [str(number) for number in range(100)], "a list, in order")

popped = []
waiter = threading.Thread(target=lambda: popped.append(two.blpop("jobs", timeout=20)))
waiter.start()
while int(two.info("clients")["blocked_clients"]) == 0:
    time.sleep(0.01)
three.rpush("jobs", "job")
waiter.join()
check(list(popped[0]), ["jobs", "job"], "a wait on another node")

one.hset("hash", mapping={"f": "1", "g": "2"})
check(two.hgetall("hash"), {"f": "1", "g": "2"}, "a hash")
one.zadd("scores", {"x": 1.5, "y": 2})
check(three.zrange("scores", 0, -1, withscores=True), [("x", 1.5), ("y", 2.0)] if protocol == 2 else [["x", 1.5], ["y", 2.0]], "scores")

ids = [nodes[number % 3].xadd("stream", {"n": number}) for number in range(30)]
check(sorted(ids, key=lambda text: [int(part) for part in text.split("-")]), ids, "a stream's IDs")
one.xgroup_create("stream", "group", id="0")
taken = two.xreadgroup("group", "worker", {"stream": ">"}, count=10)
entries = taken["stream"][0] if isinstance(taken, dict) else taken[0][1]
check([fields["n"] for _, fields in entries], [str(number) for number in range(10)], "a group's share")
three.xack("stream", "group", *[identifier for identifier, _ in entries[:4]])
check(one.xpending("stream", "group")["pending"], 6, "what was not acknowledged")
claimed = three.xautoclaim("stream", "group", "another", min_idle_time=0)
check(len(claimed[1]), 6, "taken over from a worker that is gone")

subscriber = one.pubsub()
subscriber.subscribe("news")
subscriber.psubscribe("ne*")
for _ in range(2):
    while subscriber.get_message(timeout=5) is None:
        pass
check(two.publish("news", "hello"), 2, "receivers on another node")
check(dict(three.pubsub_numsub("news")), {"news": 1}, "NUMSUB on a third")
got = []
while len(got) < 2:
    message = subscriber.get_message(timeout=5)
    if message is None:
        print(f"a message is missing, got {got}")
        sys.exit(1)
    got.append((message["type"], message["channel"], message["data"]))
check(got, [("message", "news", "hello"), ("pmessage", "news", "hello")], "one copy for each match, in order")
try:
    two.execute_command("NOSUCH", "thing")
    print("an unknown command was accepted")
    sys.exit(1)
except redis.ResponseError as error:
    check(str(error).startswith("unknown command 'NOSUCH'"), True, "an unknown command")
check(two.get("key"), "value", "the link stays")
print("good")
