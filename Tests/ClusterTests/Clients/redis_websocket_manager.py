"""A chat server with a WebSocket manager over Redis Pub/Sub, as the Redis guide describes one: RedisWebSocketManager.

    REDIS_URL=redis://HOST:PORT/0 REDIS_PUBSUB_ENABLED=true redis_websocket_manager.py HTTP-PORT [as-described]

The guide's contract: the prefix is "chat_system", a broadcast to everybody is JSON on the channel of that name, one to
a room on "chat_system:<room>", and what comes from Redis goes to every local connection. Its subscriber cannot work as
described (`as-described` behaves so): it gives the pattern "chat_system:*" to SUBSCRIBE, which takes it for a name, so
nothing is ever heard; the pattern would not match the channel of everybody either; and it is a coroutine that nobody
awaits. Here the channel is subscribed, the pattern goes to PSUBSCRIBE, whose messages are of type "pmessage", and the
subscriber runs as a task.
"""

import asyncio
import json
import os
import sys

import redis.asyncio as redis
from aiohttp import WSMsgType, web


class RedisWebSocketManager:
    def __init__(self, as_described):
        self.enabled = os.environ.get("REDIS_PUBSUB_ENABLED", "false") == "true"
        self.channel_prefix = "chat_system"
        self.local_connections = set()
        self.as_described = as_described
        self.redis_client = self.pubsub = None
        if self.enabled:
            url = os.environ["REDIS_URL"]
            self.redis_client = redis.from_url(url, encoding="utf-8", decode_responses=True)
            self.pubsub = self.redis_client.pubsub()
            self.subscriber = asyncio.create_task(self.listen())

    async def broadcast(self, message, room=None):
        channel = f"{self.channel_prefix}:{room}" if room else self.channel_prefix
        if self.redis_client:
            await self.redis_client.publish(channel, json.dumps(message))
        else:
            await self.broadcast_locally(message)

    async def broadcast_batch(self, messages):
        pipeline = self.redis_client.pipeline()
        for message in messages:
            pipeline.publish(self.channel_prefix, json.dumps(message))
        await pipeline.execute()

    async def broadcast_locally(self, message):
        for connection in list(self.local_connections):
            try:
                await connection.send_json(message)
            except ConnectionError:
                self.local_connections.discard(connection)

    async def listen(self):
        if self.as_described:
            await self.pubsub.subscribe(f"{self.channel_prefix}:*")
        else:
            await self.pubsub.subscribe(self.channel_prefix)
            await self.pubsub.psubscribe(f"{self.channel_prefix}:*")
        wanted = ("message",) if self.as_described else ("message", "pmessage")
        async for message in self.pubsub.listen():
            if message["type"] in wanted:
                await self.broadcast_locally(json.loads(message["data"]))
            else:
                print(message["type"], message["channel"], flush=True)

    async def health(self):
        if not self.enabled:
            message = "Redis is disabled, using single-instance mode"
            return {"status": "disabled", "fallback_mode": True, "message": message}
        try:
            await self.redis_client.ping()
            return {"status": "healthy"}
        except redis.RedisError as error:
            return {"status": "unhealthy", "error": str(error), "fallback_mode": True}

    async def stats(self):
        info = await self.redis_client.info()
        names = {
            "connected_clients": "connected_clients", "used_memory": "used_memory_human",
            "pubsub_channels": "pubsub_channels", "pubsub_patterns": "pubsub_patterns",
            "total_commands_processed": "total_commands_processed",
        }
        return {name: info[field] for name, field in names.items()}


async def chat(request):
    manager = request.app["manager"]
    connection = web.WebSocketResponse()
    await connection.prepare(request)
    manager.local_connections.add(connection)
    async for frame in connection:
        if frame.type != WSMsgType.TEXT:
            break
        data = json.loads(frame.data)
        if "batch" in data:
            messages = [{"type": "message", "content": number, "user": data["user"]} for number in range(data["batch"])]
            await manager.broadcast_batch(messages)
        else:
            message = {"type": "message", "content": data["content"], "user": data["user"]}
            await manager.broadcast(message, data.get("room"))
    manager.local_connections.discard(connection)
    return connection


async def main():
    app = web.Application()
    app["manager"] = manager = RedisWebSocketManager(sys.argv[2:] == ["as-described"])

    async def health(_):
        return web.json_response(await manager.health())

    async def stats(_):
        return web.json_response(await manager.stats())

    app.router.add_get("/ws", chat)
    app.router.add_get("/health/redis", health)
    app.router.add_get("/stats", stats)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    print("listening", flush=True)
    # Until whoever started it is gone.
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
