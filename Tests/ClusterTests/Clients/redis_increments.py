"""Increments through several nodes while their owner is killed: each acknowledged value is told once.

    redis_increments.py SECONDS PORT [PORT ...]

Prints one line of JSON: increments acknowledged, errors, the longest silence in seconds, and the counter at the end.
A client that saw an error reads the counter before it goes on, and never repeats a command blindly.
"""

import json
import sys
import threading
import time

import redis
from redis.retry import Retry
from redis.backoff import NoBackoff

seconds = float(sys.argv[1])
ports = [int(port) for port in sys.argv[2:]]
lock = threading.Lock()
values, errors, silences = [], [], []


def connect(port):
    return redis.Redis(port=port, socket_timeout=15, retry=Retry(NoBackoff(), 0))


def work(port):
    client = connect(port)
    last = time.monotonic()
    longest = 0.0
    end = last + seconds
    while time.monotonic() < end:
        try:
            value = client.incr("counter")
            with lock:
                values.append(value)
        except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError) as error:
            with lock:
                errors.append(str(error))
            client.close()
            client = connect(port)
        now = time.monotonic()
        longest = max(longest, now - last)
        last = now
    with lock:
        silences.append(longest)


threads = [threading.Thread(target=work, args=(port,)) for port in ports for _ in range(2)]
for thread in threads:
    thread.start()
print("started", flush=True)
for thread in threads:
    thread.join()
final = int(connect(ports[0]).get("counter"))
print(json.dumps({
    "acknowledged": len(values),
    "distinct": len(set(values)),
    "errors": len(errors),
    "first_error": errors[0] if errors else "",
    "silence": max(silences),
    "final": final,
}), flush=True)
