"""A Socket.IO server whose rooms reach other processes through python-socketio's own Redis manager.

    socketio_server.py HTTP-PORT REDIS-URL
"""

import asyncio
import sys

import socketio
from aiohttp import web

server = socketio.AsyncServer(async_mode="aiohttp", client_manager=socketio.AsyncRedisManager(sys.argv[2]))


@server.event
async def join(sid, room):
    await server.enter_room(sid, room)
    return "joined"


@server.event
async def say(sid, data):
    await server.emit("said", data, to=data.get("room"), skip_sid=sid if data.get("others") else None)
    return "sent"


async def main():
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    print("listening", flush=True)
    # Until whoever started it is gone.
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
