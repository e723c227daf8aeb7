"""Two Socket.IO clients, each at another server process, and an emitter that is no server at all.

    socketio_clients.py HTTP-PORT HTTP-PORT REDIS-URL

Prints "good" when each has heard what the others emitted, once and in order.
"""

import asyncio
import sys

import socketio


def check(got, wanted, what):
    if got != wanted:
        print(f"{what}: got {got!r}, wanted {wanted!r}", flush=True)
        sys.exit(1)


async def main():
    clients = [socketio.AsyncClient(), socketio.AsyncClient()]
    heard = [[], []]
    for client, port, messages in zip(clients, sys.argv[1:3], heard):
        client.on("said", lambda data, messages=messages: messages.append(data["n"]))
        await client.connect(f"http://127.0.0.1:{port}", transports=["websocket"])

    async def until(condition, what):
        for _ in range(3000):
            if condition():
                return
            await asyncio.sleep(0.01)
        print(f"{what}: {heard}", flush=True)
        sys.exit(1)

    # A server hears the others from its subscription on, which it makes after it has begun to listen for clients.
    async def warm(sender, listener):
        for _ in range(600):
            await clients[sender].call("say", {"n": "warm-up"})
            await asyncio.sleep(0.05)
            if heard[listener]:
                return
        print("the servers never heard each other", flush=True)
        sys.exit(1)

    await warm(0, 1)
    heard[0].clear()
    await warm(1, 0)
    await clients[0].call("say", {"n": "end of warm-up"})
    await until(lambda: all(messages[-1:] == ["end of warm-up"] for messages in heard), "the end of the warm-up")
    for messages in heard:
        messages.clear()

    for number in range(50):
        await clients[0].call("say", {"n": number})
    await until(lambda: all(len(messages) >= 50 for messages in heard), "emitted at one, heard at both")
    for messages in heard:
        check(messages, list(range(50)), "in order, each once")
        messages.clear()

    check(await clients[1].call("join", "blue"), "joined", "a room at the second server")
    await clients[0].call("say", {"n": "to blue", "room": "blue"})
    await clients[1].call("say", {"n": "to others", "others": True})
    await until(lambda: heard == [["to others"], ["to blue"]], "a room, and all but the sender")

    emitter = socketio.RedisManager(sys.argv[3], write_only=True)
    await asyncio.to_thread(emitter.emit, "said", {"n": "from outside"})
    await until(lambda: heard == [["to others", "from outside"], ["to blue", "from outside"]], "an emitter elsewhere")
    for client in clients:
        await client.disconnect()
    print("good", flush=True)


asyncio.run(main())
