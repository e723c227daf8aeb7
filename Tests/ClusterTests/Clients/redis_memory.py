"""redis-py, unmodified, at nodes whose keys may take 1 MiB, allkeys-lru: keys leave, and the runbook's commands act.

    redis_memory.py PORT PORT PORT

Prints "good" at the end; anything else is a failure, with its reason.
"""

import sys
import time

import redis

nodes = [redis.Redis(port=int(port), decode_responses=True) for port in sys.argv[1:4]]
one, two, three = nodes
limit = 1 << 20


def check(is_right, what):
    if not is_right:
        print(what)
        sys.exit(1)


def fill(name, count):
    pipe = two.pipeline(transaction=False)
    for number in range(count):
        pipe.set(f"{name}{number}", "x" * 100)
    pipe.execute()


check(one.config_get("maxmemory*")["maxmemory"] == str(limit), "the file's limit")
check(two.info("memory")["maxmemory_policy"] == "allkeys-lru", "the file's policy")
one.config_set("maxmemory-samples", 64)
for number in range(50):
    one.set(f"kept{number}", "x" * 100)
pipe = three.pubsub()
one.config_set("notify-keyspace-events", "Ee")
pipe.subscribe("__keyevent@0__:evicted")
pipe.get_message(timeout=10)
fill("first", 2000)
check(three.info("stats")["evicted_keys"] == 0, "there was room")
# Seconds are what uses are told apart by.
time.sleep(2.1)
for number in range(50):
    check(three.get(f"kept{number}") is not None, "a key is there")
fill("second", 3500)
# The last write may have gone above the limit: then the owner makes room by itself, a moment later.
while True:
    stats = three.info("stats")
    size = one.dbsize()
    if three.info("stats")["evicted_keys"] == stats["evicted_keys"]:
        break
check(stats["evicted_keys"] > 1500, f"evicted: {stats['evicted_keys']}")
check(one.info("memory")["used_memory"] <= limit + 1000, "below the limit")
check(size + stats["evicted_keys"] == 5550, "each key is there or evicted")
kept = sum(one.exists(f"kept{number}") for number in range(50))
first = sum(one.exists(f"first{number}") for number in range(2000))
check(kept >= 45, f"read not long ago: {kept} of 50 are there")
check(first <= 400, f"not used for long: {first} of 2000 are there")
message = pipe.get_message(timeout=10)
check(message is not None and message["channel"] == "__keyevent@0__:evicted", "an event")

# docs/redis-compatibility.md and the guide: what operators type when memory is short.
two.config_set("maxmemory", "2mb")
two.config_set("maxmemory-policy", "noeviction")
before = three.info("stats")["evicted_keys"]
refused = 0
for number in range(20_000):
    try:
        one.set(f"third{number}", "x" * 100)
    except redis.exceptions.OutOfMemoryError:
        refused += 1
        if refused == 10:
            break
check(refused == 10, "noeviction refuses")
check(three.info("stats")["evicted_keys"] == before, "and evicts nothing")
check(two.get("third0") is not None, "reads go on")
two.config_set("maxmemory", "1gb")
check(one.set("third", "x"), "room again")
print("good")
