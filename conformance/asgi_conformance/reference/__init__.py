"""The reference application: it does what a request's script says, and records what the server did to it.

The law of this package: it needs nothing but the standard library and its own folder, so that every server in every environment can host it, as
``reference:app`` or ``asgi_conformance.reference:app``; it judges nothing; and all that it keeps is bounded.

A script is a JSON list of steps (`Runner`), in the field ``x-script`` of the request (`dumps_script`), or in its query after ``script=``
(`dumps_query`), or posted before it to ``/.asgi-conformance/next``. A step is a list of its name and its arguments. Without a script a request gets
``answer``, and a WebSocket an echo. Environment variables:

- ``ASGI_CONFORMANCE_LIFESPAN``: one of `LIFESPANS`.
- ``ASGI_CONFORMANCE_TOKEN``: what ``facts`` says, so that whoever started the server knows that it is this one.
- ``ASGI_CONFORMANCE_JOURNAL``: a file that gets a line of JSON for each lifespan event, and for each begin, disconnect, note and end of a call. It
  is there when the process is gone.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote

from .lifespan import LIFESPANS, run_lifespan
from .recording import RECORDER, Call, Message, Receive, Send
from .scripts import Runner, answer_json, find_script
from .values import Foreign, Summary, decode, dumps_query, dumps_script, encode, pattern

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["CONTROL", "LIFESPANS", "Foreign", "Runner", "Summary", "app", "decode", "dumps_query", "dumps_script", "encode", "legacy_app", "pattern"]

CONTROL: Final = "/.asgi-conformance/"
"""Requests below this path ask the recorder; they never count as a call."""


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """The application."""
    if scope["type"] == "lifespan":
        await run_lifespan(scope, receive, send)
        return
    path = str(scope.get("path", ""))
    if scope["type"] == "http" and CONTROL in path:
        await answer_control(scope, path.partition(CONTROL)[2], receive, send)
        return
    call = Call(scope, receive, send)
    runner = Runner(call, scope)
    default = [["accept"], ["echo"]] if scope["type"] == "websocket" else [["answer"]]
    try:
        script = find_script(scope, call.headers)
        await runner.run(default if script is None else script)
    except asyncio.CancelledError as error:
        call.end("cancelled", error)
        raise
    except BaseException as error:
        call.end("raised", error)
        raise
    else:
        call.end("returned")
    finally:
        await runner.close()


def legacy_app(scope: Message) -> Callable[[Receive, Send], Awaitable[None]]:
    """The same application as ASGI 2 called it."""

    async def instance(receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return instance


async def answer_control(scope: Message, what: str, receive: Receive, send: Send) -> None:
    """A request to the recorder."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    query = {key: values[-1] for key, values in parse_qs(bytes(scope["query_string"]).decode("ascii")).items()}
    what, _, name = what.partition("/")
    name, timeout = unquote(name), float(query.get("timeout", "0"))
    if what == "facts":
        await answer_json(send, RECORDER.facts(scope))
    elif what == "mark":
        await answer_json(send, RECORDER.number)
    elif what == "records":
        since, count = int(query.get("since", "0")), int(query.get("count", "0"))
        await RECORDER.wait_for(lambda: RECORDER.number - since >= count and all(call.ended for call in RECORDER.since(since)), timeout)
        await answer_json(send, [call.as_json() for call in RECORDER.since(since)])
    elif what == "next":
        RECORDER.next_scripts.append(json.loads(body))
        await answer_json(send, len(RECORDER.next_scripts))
    elif what == "set":
        RECORDER.set_flag(name)
        await answer_json(send, True)
    elif what == "await":
        await answer_json(send, await RECORDER.wait_for(lambda: name in RECORDER.flags, timeout))
    else:
        await answer_json(send, f"there is no {what!r}", 404)
