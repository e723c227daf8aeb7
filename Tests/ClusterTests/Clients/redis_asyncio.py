"""redis-py's asyncio client, unmodified, at three nodes: many tasks, pipelines, waits, streams and groups, Pub/Sub.

    redis_asyncio.py PORT PORT PORT PROTOCOL

Prints "good" at the end; anything else is a failure, with its reason.
"""

import asyncio
import sys

import redis.asyncio as redis

ports = [int(port) for port in sys.argv[1:4]]
protocol = int(sys.argv[4])


def check(got, wanted, what):
    if got != wanted:
        print(f"{what}: got {got!r}, wanted {wanted!r}", flush=True)
        sys.exit(1)


def entries(reply):
    """The entries of one stream, in either protocol's form."""
    if isinstance(reply, dict):
        (found,) = reply.values()
        return found[0]
    return reply[0][1]


async def keys(one, two, three):
    await asyncio.gather(*(node.incr("hits") for node in (one, two, three) for _ in range(100)))
    check(await one.get("hits"), "300", "increments of many tasks")
    async with two.pipeline(transaction=True) as pipe:
        check(await pipe.set("a", 1).incr("a").get("a").execute(), [True, 2, "2"], "a transaction")
    async with two.pipeline(transaction=False) as pipe:
        for number in range(500):
            pipe.rpush("list", number)
        check(await pipe.execute(), list(range(1, 501)), "a pipeline, in order")

    wait = asyncio.create_task(two.blpop("jobs", timeout=30))
    while int((await two.info("clients"))["blocked_clients"]) == 0:
        await asyncio.sleep(0.01)
    await three.rpush("jobs", "job")
    check(list(await wait), ["jobs", "job"], "a wait on another node")


async def streams(one, two, three):
    await one.xgroup_create("stream", "workers", id="0", mkstream=True)
    done = []

    async def worker(name, node):
        while len(done) < 60:
            reply = await node.xreadgroup("workers", name, {"stream": ">"}, count=5, block=200)
            for identifier, fields in entries(reply) if reply else []:
                done.append(int(fields["n"]))
                check(await node.xack("stream", "workers", identifier), 1, "an acknowledgement")

    async def writer():
        for number in range(60):
            await (one, two, three)[number % 3].xadd("stream", {"n": number})

    await asyncio.wait_for(asyncio.gather(worker("w1", two), worker("w2", three), writer()), 60)
    check(sorted(done), list(range(60)), "two workers share a stream, each entry once")
    check((await one.xpending("stream", "workers"))["pending"], 0, "nothing is left unacknowledged")

    last = (await one.xrevrange("stream", count=1))[0][0]
    reader = asyncio.create_task(three.xread({"stream": last}, block=30_000))
    while int((await three.info("clients"))["blocked_clients"]) == 0:
        await asyncio.sleep(0.01)
    await two.xadd("stream", {"n": "new"})
    check([fields["n"] for _, fields in entries(await reader)], ["new"], "a read that waited")


async def channels(one, two, three):
    async with one.pubsub() as pubsub:
        await pubsub.subscribe("news")
        await pubsub.psubscribe("ne*")
        heard = []
        count = 100

        async def listen():
            confirmed = 0
            async for message in pubsub.listen():
                if message["type"] in ("subscribe", "psubscribe"):
                    confirmed += 1
                    if confirmed == 2:
                        ready.set()
                else:
                    heard.append((message["type"], message["data"]))
                    if len(heard) == 2 * count:
                        return

        ready = asyncio.Event()
        listening = asyncio.create_task(listen())
        await asyncio.wait_for(ready.wait(), 30)
        async with two.pipeline(transaction=False) as pipe:
            for number in range(count):
                pipe.publish("news", f"m{number}")
            check(await pipe.execute(), [2] * count, "receivers on another node")
        await asyncio.wait_for(listening, 30)
        for kind in ("message", "pmessage"):
            check([data for found, data in heard if found == kind], [f"m{n}" for n in range(count)], f"{kind} order")
        check(await three.pubsub_numpat(), 1, "NUMPAT on a third node")


async def main():
    nodes = [redis.Redis(port=port, protocol=protocol, decode_responses=True) for port in ports]
    await nodes[0].flushall()
    await keys(*nodes)
    await streams(*nodes)
    await channels(*nodes)
    for node in nodes:
        await node.aclose()
    print("good", flush=True)


asyncio.run(main())
