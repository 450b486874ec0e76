"""A plain ASGI application that needs nothing but Python: a page that shows what the server does.

asgiserve examples.hello:app
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["app"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PAGE = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>asgiserve</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }
  output, code { background: #8882; padding: .1rem .3rem; border-radius: .2rem }
</style>
<h1>It works.</h1>
<p>This page is <code>examples/hello.py</code>, a plain ASGI application, served by asgiserve.</p>
<ul>
  <li><a href="json">/json</a> &ndash; this request, as the application sees it
  <li><a href="stream">/stream</a> &ndash; server-sent events, one a second: <output id="tick">waiting</output>
  <li><code>/ws</code> &ndash; a WebSocket that sends back what it gets: <input id="text" placeholder="type here"> <output id="echo"></output>
  <li><code>POST /upload</code> &ndash; counts what you send: <input id="file" type="file"> <output id="size"></output>
</ul>
<p>Or from a terminal: <code>curl -N <span class="here"></span>stream</code>,
  <code>curl --data-binary @FILE <span class="here"></span>upload</code></p>
<script>
  const at = id => document.getElementById(id)
  const here = location.href.replace(/[^/]*$/, "")
  document.querySelectorAll(".here").forEach(span => { span.textContent = here })
  new EventSource("stream").onmessage = event => { at("tick").textContent = event.data }
  const ws = new WebSocket(here.replace(/^http/, "ws") + "ws")
  ws.onmessage = event => { at("echo").textContent = event.data }
  at("text").oninput = () => ws.send(at("text").value)
  at("file").onchange = async () => {
    const answer = await fetch("upload", { method: "POST", body: at("file").files[0] })
    at("size").textContent = (await answer.json()).bytes + " bytes"
  }
</script>
"""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The application."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await echo(scope, receive, send)
    else:
        method, endpoint = ROUTES.get(path_of(scope), ("", not_found))
        if method == "GET" and scope["method"] not in {"GET", "HEAD"}:
            await answer(send, {"error": "GET, please"}, status=405, allow=b"GET, HEAD")
        elif method == "POST" and scope["method"] != "POST":
            await answer(send, {"error": "POST, please"}, status=405, allow=b"POST")
        else:
            await endpoint(scope, receive, send)


def path_of(scope: Scope) -> str:
    """The path below what the application is mounted at (``--root-path``)."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """What happens once, before the first request and after the last; a real application opens its database here."""
    await receive()
    scope["state"]["greeting"] = "hello"  # each request gets a copy of this state
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def page(_scope: Scope, _receive: Receive, send: Send) -> None:
    """GET /: a page for a browser."""
    await respond(send, PAGE, b"text/html; charset=utf-8")


async def show_request(scope: Scope, _receive: Receive, send: Send) -> None:
    """GET /json: this request."""
    await answer(
        send,
        {
            "greeting": scope.get("state", {}).get("greeting"),
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "http_version": scope["http_version"],
            "scheme": scope.get("scheme", "http"),
            "client": scope.get("client"),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        },
    )


async def stream(_scope: Scope, receive: Receive, send: Send) -> None:
    """GET /stream: a server-sent event each second, until the client goes or the server stops."""
    await receive()  # the request's body, which is empty
    gone = asyncio.ensure_future(receive())  # the next message is http.disconnect
    try:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]}
        )
        count = 0
        while not gone.done():
            count += 1
            await send({"type": "http.response.body", "body": b"data: event %d\n\n" % count, "more_body": True})
            await asyncio.wait([gone], timeout=1)
    except OSError:
        return  # the client went while something was sent to it
    finally:
        gone.cancel()


async def upload(_scope: Scope, receive: Receive, send: Send) -> None:
    """POST /upload: how many bytes were sent. Each piece is forgotten at once, so the size does not matter."""
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, {"bytes": size})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket at /ws that sends back what it gets."""
    await receive()  # websocket.connect
    if path_of(scope) != "/ws":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


async def not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Anything else."""
    await answer(send, {"error": "not found"}, status=404)


async def answer(send: Send, value: object, *, status: int = 200, allow: bytes = b"") -> None:
    """A response that is JSON."""
    await respond(send, json.dumps(value, indent=2).encode() + b"\n", b"application/json", status=status, allow=allow)


async def respond(send: Send, body: bytes, content_type: bytes, *, status: int = 200, allow: bytes = b"") -> None:
    """A response that is whole."""
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    if allow:
        headers.append((b"allow", allow))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


ROUTES: dict[str, tuple[str, Callable[[Scope, Receive, Send], Awaitable[None]]]] = {
    "/": ("GET", page),
    "/json": ("GET", show_request),
    "/stream": ("GET", stream),
    "/upload": ("POST", upload),
}
