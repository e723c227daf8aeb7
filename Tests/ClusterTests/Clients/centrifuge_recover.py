"""An unmodified centrifuge-python client: subscribes with recovery and prints what happens as JSON lines.

Usage: centrifuge_recover.py URL CHANNEL json|protobuf
"""

import asyncio
import json
import sys

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler


def say(event, **members):
    print(json.dumps({"event": event, **members}), flush=True)


class Connection(ClientEventHandler):
    async def on_connected(self, ctx):
        say("connected")

    async def on_connecting(self, ctx):
        say("connecting", code=ctx.code, reason=ctx.reason)

    async def on_disconnected(self, ctx):
        say("disconnected", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx):
        say("error", error=str(ctx.error))


class Room(SubscriptionEventHandler):
    async def on_subscribed(self, ctx):
        say("subscribed", recovered=ctx.recovered, recovering=ctx.was_recovering)

    async def on_unsubscribed(self, ctx):
        say("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx):
        say("publication", offset=ctx.pub.offset, data=ctx.pub.data)

    async def on_error(self, ctx):
        say("error", error=str(ctx.error))


async def main():
    client = Client(sys.argv[1], events=Connection(), max_reconnect_delay=1.0)
    subscription = client.new_subscription(sys.argv[2], events=Room(), recoverable=True, positioned=True)
    await client.connect()
    await subscription.subscribe()
    loop = asyncio.get_running_loop()
    # Each line on standard input is a publication of this client's own; its end is ours.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        result = await subscription.publish(json.loads(line))
        say("published", result=str(result))
    await client.disconnect()


asyncio.run(main())
