"""A redis-py subscriber that is left alone: whatever happens to its node, it is redis-py that comes back.

    redis_subscriber.py PORT CHANNEL PATTERN

Prints each confirmation and message as a line: type, channel, data.
"""

import sys

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

client = redis.Redis(port=int(sys.argv[1]), decode_responses=True, retry=Retry(ConstantBackoff(0.1), 600))
pubsub = client.pubsub()
pubsub.subscribe(sys.argv[2])
pubsub.psubscribe(sys.argv[3])
for message in pubsub.listen():
    print(message["type"], message["channel"], message["data"], flush=True)
