"""Increments through several nodes while one of them is killed: each acknowledged value is told once.

    redis_increments.py SECONDS direct|sentinel|cluster PORT [PORT ...]

Ends after SECONDS, or sooner at SIGTERM. Prints one line of JSON: increments acknowledged, errors, the longest silence
in seconds, and the sum of the counters at the end. A client that saw an error goes on with the next increment and never
repeats one blindly, so redis-py's own retries are switched off. Which node an increment goes to is up to redis-py:
`direct` keeps to its port, `sentinel` asks the Sentinels at the ports for the master, `cluster` follows the slots, and
has a counter in many of them.
"""

import json
import signal
import sys
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

seconds = float(sys.argv[1])
kind = sys.argv[2]
ports = [int(port) for port in sys.argv[3:]]
counters = [f"counter:{number}" for number in range(16)] if kind == "cluster" else ["counter"]
lock = threading.Lock()
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
values, errors, silences = [], [], []


def connect(port):
    options = {"socket_timeout": 15, "retry": Retry(NoBackoff(), 0)}
    if kind == "sentinel":
        # A Sentinel that is gone is passed over at once; redis-py's default tries it again for seconds.
        once = {"socket_timeout": 5, "retry": Retry(NoBackoff(), 0)}
        sentinel = Sentinel([("127.0.0.1", port) for port in ports], sentinel_kwargs=once)
        return sentinel.master_for("mymaster", **options)
    if kind == "cluster":
        return RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in ports], **options)
    return redis.Redis(port=port, **options)


def work(port):
    client = connect(port)
    last = time.monotonic()
    longest = 0.0
    end = last + seconds
    number = 0
    while time.monotonic() < end and not stopped.is_set():
        key = counters[number % len(counters)]
        number += 1
        try:
            value = client.incr(key)
            with lock:
                values.append((key, value))
            now = time.monotonic()
            longest = max(longest, now - last)
            last = now
        except (redis.RedisError, redis.RedisClusterException) as error:
            with lock:
                errors.append(f"{type(error).__name__}: {error}")
            time.sleep(0.02)
            if kind == "direct":
                client.close()
                client = connect(port)
    with lock:
        silences.append(max(longest, time.monotonic() - last))


threads = [threading.Thread(target=work, args=(port,)) for port in ports for _ in range(2)]
for thread in threads:
    thread.start()
print("started", flush=True)
for thread in threads:
    thread.join()
client = connect(ports[0])
print(json.dumps({
    "acknowledged": len(values),
    "distinct": len(set(values)),
    "errors": len(errors),
    "first_error": errors[0] if errors else "",
    "silence": max(silences),
    "final": sum(int(client.get(counter) or 0) for counter in counters),
}), flush=True)
