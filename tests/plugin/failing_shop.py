"""The application of tests about failures, as the text of ``shop.py`` for an inner run."""

from __future__ import annotations

__all__ = ["HEAD", "SHOP"]

# An application that fails in every way, in ASGI 3; its lifespan does nothing.
SHOP = """
import asyncio, logging, threading

log = logging.getLogger("shop")
released = threading.Event()

async def lifespan(receive, send):
    for kind in ("startup", "shutdown"):
        assert (await receive())["type"] == "lifespan." + kind
        await send({"type": f"lifespan.{kind}.complete"})

async def respond(send, body=b"ok", **more):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, **more})

async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refuse":
        raise RuntimeError("at the door")
    await send({"type": "websocket.accept"})
    if (await receive())["type"] == "websocket.receive":
        raise RuntimeError("in the middle")

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if scope["type"] == "websocket":
        return await websocket(scope, receive, send)
    path = scope["path"]
    if path == "/boom":
        raise ZeroDivisionError("division by zero")
    if path == "/key":
        raise KeyError("missing")
    if path == "/group":
        async def leaf():
            raise ZeroDivisionError("of a task")
        async with asyncio.TaskGroup() as group:
            group.create_task(leaf())
    if path == "/nothing":
        return
    if path == "/half":
        await respond(send, b"begin", more_body=True)
        raise KeyError("half")
    if path == "/stream":
        await respond(send, b"begin", more_body=True)
        while True:
            # ASGI 2.4: raises an OSError once the client has gone.
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    if path == "/wait":
        await receive()
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if path == "/hang":
        await asyncio.Event().wait()
    if path == "/block":
        released.wait(10)
    if path == "/log":
        log.warning("from the application")
    await respond(send)
    if path == "/after":
        raise LookupError("after the response")
    if path == "/background":
        await asyncio.sleep(0.05)
        raise LookupError("in the background")
"""
# The begin of a test file about it.
HEAD = "import httpx, pytest, unittest, warnings\nfrom shop import app\n"
