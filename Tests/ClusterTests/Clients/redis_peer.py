"""A foreign program at the Redis behind the nodes, as the guide's programs are: redis-py, plain JSON.

Usage: redis_peer.py URL listen PREFIX      prints every message as a JSON line, from PREFIX and PREFIX:*
       redis_peer.py URL publish CHANNEL JSON
       redis_peer.py URL batch CHANNEL COUNT      the guide's broadcast_batch: one pipeline
"""

import asyncio
import json
import sys

import redis.asyncio as redis


async def listen(client, prefix):
    pubsub = client.pubsub()
    await pubsub.subscribe(prefix)
    await pubsub.psubscribe(f"{prefix}:*")
    confirmed = 0
    async for message in pubsub.listen():
        if message["type"] in ("subscribe", "psubscribe"):
            confirmed += 1
            if confirmed == 2:
                print(json.dumps({"event": "listening"}), flush=True)
        elif message["type"] in ("message", "pmessage"):
            # As the guide does: whatever comes must be JSON.
            data = json.loads(message["data"])
            print(json.dumps({"event": "message", "channel": message["channel"], "data": data}), flush=True)


async def main():
    client = redis.from_url(sys.argv[1], encoding="utf-8", decode_responses=True)
    if sys.argv[2] == "listen":
        await listen(client, sys.argv[3])
    elif sys.argv[2] == "publish":
        print(await client.publish(sys.argv[3], json.dumps(json.loads(sys.argv[4]))), flush=True)
    else:
        pipeline = client.pipeline()
        for number in range(int(sys.argv[4])):
            pipeline.publish(sys.argv[3], json.dumps({"type": "message", "content": number, "user": "batch"}))
        await pipeline.execute()


asyncio.run(main())
