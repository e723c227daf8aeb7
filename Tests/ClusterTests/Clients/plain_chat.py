"""Two clients of the `websockets` library on two nodes speak the plain JSON protocol of /ws with each other.

Usage: plain_chat.py URL1 URL2
"""

import asyncio
import json
import sys

import websockets


async def receive(socket, content):
    while True:
        message = json.loads(await asyncio.wait_for(socket.recv(), 20))
        if message.get("content") == content:
            return message


async def main():
    async with websockets.connect(sys.argv[1]) as one, websockets.connect(sys.argv[2]) as two:
        # The room of everyone is joined in the background: speak until the other hears.
        for attempt in range(100):
            await one.send(json.dumps({"content": f"hello {attempt}", "user": "ana"}))
            try:
                message = json.loads(await asyncio.wait_for(two.recv(), 0.2))
                break
            except asyncio.TimeoutError:
                continue
        else:
            sys.exit("nothing came")
        assert set(message) == {"type", "content", "user"}, message
        await two.send(json.dumps({"content": "answer", "user": "eva"}))
        message = await receive(one, "answer")
        assert message == {"type": "message", "content": "answer", "user": "eva"}, message
        await one.ping()
    print("good", flush=True)


asyncio.run(main())
