"""What a script can have the reference application do: a list of steps, each a list of a name and arguments.

The law of this module: a step does one thing, and what comes of it stands in the events of the call. Only what a script says to ``try`` is caught.
"""

from __future__ import annotations

import asyncio
import builtins
import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from .recording import LONGEST_WAIT, RECORDER, VARIABLE, Call, Message, Send, describe_error
from .values import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Runner", "ScriptError", "answer_json", "find_script"]


class ScriptError(ValueError):
    """A script is wrong: a mistake in a case, not of the server."""


class Runner:
    """Runs the steps of a script, in one task. The step ``["send-many", ...]`` is the method ``step_send_many``; its arguments are the method's.

    ``branch`` names the task in the events: "" is the call's own, "0" and "1" are those that it started, "1.0" the first that "1" did.
    """

    def __init__(self, call: Call, scope: Message, branch: str = "") -> None:
        self.call = call
        self.scope = scope
        self.branch = branch
        self.body = bytearray()
        self._pending: asyncio.Task[Message] | None = None
        self._files: list[Any] = []
        self._branches = 0

    async def run(self, steps: Iterable[Any]) -> bool:
        """Do ``steps``; False when one of them was ``["return"]``."""
        for step in steps:
            do = getattr(self, f"step_{step[0]}".replace("-", "_"), None) if isinstance(step, list) and step else None
            if do is None:
                raise ScriptError(f"no step: {step!r}"[:300])
            if await do(*step[1:]) is False:
                return False
        return True

    async def close(self) -> None:
        """End what waits, and close the files that were sent."""
        if self._pending is not None:
            self._pending.add_done_callback(_take_error)
            self._pending.cancel()
            await asyncio.wait([self._pending], timeout=1)
        for file in self._files:
            file.close()

    def _note(self, name: str, value: Any) -> None:
        self.call.event("note", self.branch, name=name, value=encode(value), end=self.call.now())

    async def _receive(self) -> Message:
        """The next message; the one of a call that ``receive-within`` left waiting, where there is one."""
        if (pending := self._pending) is None:
            return await self.call.receive(self.branch)
        message = await asyncio.shield(pending)
        self._pending = None
        return message

    async def _send(self, message: Any, count: int = 1) -> None:
        await self.call.send(self.branch, message, count)

    async def _run_branch(self, steps: Sequence[Any], branch: str) -> None:
        runner = Runner(self.call, self.scope, branch)
        try:
            await runner.run(steps)
        finally:
            await runner.close()

    def _start_branch(self, steps: Sequence[Any]) -> asyncio.Task[None]:
        branch = f"{self.branch}.{self._branches}".lstrip(".")
        self._branches += 1
        return asyncio.create_task(self._run_branch(steps, branch))

    # Receiving.

    async def step_receive(self) -> None:
        """Await receive() once."""
        await self._receive()

    async def step_receive_within(self, seconds: float) -> None:
        """Await receive() for so long, and note ``receive-within`` true or false.

        False: the same receive() goes on waiting, and the next step that receives takes what it brings.
        """
        if self._pending is None:
            self._pending = asyncio.create_task(self.call.receive(self.branch))
        done, _ = await asyncio.wait([self._pending], timeout=seconds)
        self._note("receive-within", bool(done))
        if done:
            pending, self._pending = self._pending, None
            pending.result()

    async def step_receive_all(self) -> None:
        """Receive the whole request body, or, of a WebSocket and of a body that breaks off, up to the disconnect."""
        while not (message := await self._receive())["type"].endswith(".disconnect"):
            self.body += message.get("body", b"")
            if message["type"] == "http.request" and not message.get("more_body", False):
                return

    async def step_wait_disconnect(self, seconds: float = LONGEST_WAIT) -> None:
        """Receive until http.disconnect or websocket.disconnect; TimeoutError when it does not come in time."""
        async with asyncio.timeout(seconds):
            while not (await self._receive())["type"].endswith(".disconnect"):
                pass

    # Sending.

    async def step_send(self, message: Any) -> None:
        """Send ``message``, whatever it is: any message of any type, wrong ones too. Its bytes and odd values are said as in `decode`."""
        await self.step_send_many(message, 1)

    async def step_send_many(self, message: Any, count: int) -> None:
        """Send the same message ``count`` times: one event, whose ``count`` is how often send() has returned, and ``last`` when it last did."""
        message = decode(message)
        if isinstance(message, dict) and hasattr(message.get("file"), "fileno"):
            self._files.append(message["file"])
        await self._send(message, count)

    async def step_start(self, status: Any = 200, headers: Any = (), more: Any = None) -> None:
        """Send http.response.start; ``headers`` are [name, value] as text; ``more`` is further keys, as {"trailers": true}."""
        await self._send({"type": "http.response.start", "status": status, "headers": _pairs(headers)} | decode(more or {}))

    async def step_body(self, body: Any = "", more_body: Any = None) -> None:
        """Send http.response.body; text is latin-1. Without ``more_body`` the key is not there."""
        message = {"type": "http.response.body", "body": body.encode("latin-1") if isinstance(body, str) else decode(body)}
        await self._send(message if more_body is None else message | {"more_body": more_body})

    async def step_respond(self, status: Any = 200, headers: Any = (), body: Any = "") -> None:
        """``start`` and ``body``: a whole response."""
        await self.step_start(status, headers)
        await self.step_body(body)

    async def step_answer(self) -> None:
        """Read the whole body; answer 200 with JSON of what was seen: ``number``, ``pid``, and ``scope`` and ``body`` as `encode` says them."""
        await self.step_receive_all()
        await answer_json(self._send, {"number": self.call.number, "pid": os.getpid(), "scope": self.call.scope, "body": encode(bytes(self.body))})

    async def step_echo_body(self) -> None:
        """Read the whole body, and answer with it and its Content-Length."""
        await self.step_receive_all()
        await self.step_respond(200, [["content-length", str(len(self.body))]], self.body.decode("latin-1"))

    async def step_accept(self, subprotocol: Any = None, headers: Any = ()) -> None:
        """Receive websocket.connect and send websocket.accept."""
        await self._receive()
        message = {"type": "websocket.accept", "headers": _pairs(headers)}
        await self._send(message if subprotocol is None else message | {"subprotocol": subprotocol})

    async def step_text(self, text: Any) -> None:
        """Send websocket.send with ``text``."""
        await self._send({"type": "websocket.send", "text": decode(text)})

    async def step_bytes(self, data: Any) -> None:
        """Send websocket.send with bytes; text is latin-1."""
        await self._send({"type": "websocket.send", "bytes": data.encode("latin-1") if isinstance(data, str) else decode(data)})

    async def step_echo(self) -> None:
        """Send every WebSocket message back, until the disconnect."""
        while (message := await self._receive())["type"] == "websocket.receive":
            kind = "bytes" if message.get("text") is None else "text"
            await self._send({"type": "websocket.send", kind: message[kind]})

    async def step_close(self, code: Any = None, reason: Any = None) -> None:
        """Send websocket.close; what is null is not in it."""
        given = {"code": code, "reason": decode(reason)}
        await self._send({"type": "websocket.close", **{key: value for key, value in given.items() if value is not None}})

    # The course of things.

    async def step_try(self, *steps: Any) -> bool:
        """Do ``steps``; an Exception out of them is noted as ``caught``, and the script goes on behind the ``try``."""
        try:
            return await self.run(steps)
        except ScriptError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the server raises is what is looked at
            self._note("caught", describe_error(error))
            return True

    async def step_repeat(self, count: int, *steps: Any) -> bool:
        """Do ``steps`` ``count`` times."""
        for _ in range(count):
            if not await self.run(steps):
                return False
        return True

    async def step_gather(self, *scripts: Any) -> None:
        """Do each of ``scripts`` in a task of its own, to their end. The first error is raised here, and ends the others."""
        tasks = [self._start_branch(script) for script in scripts]
        try:
            # No TaskGroup: the server is to see the error itself.
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def step_spawn(self, *steps: Any) -> None:
        """Do ``steps`` in a task that may outlive the call, up to lifespan.shutdown; what send() and receive() raise there is in their events."""
        task = self._start_branch(steps)
        RECORDER.background.add(task)
        task.add_done_callback(_take_error)

    async def step_set(self, name: str) -> None:
        """Set a flag, for ``await`` in another call and for ``/.asgi-conformance/await/NAME`` outside. It stays set."""
        RECORDER.set_flag(name)

    async def step_await(self, name: str, seconds: float = 30.0) -> None:
        """Wait until a flag is set, by ``set`` or by a request for ``/.asgi-conformance/set/NAME``; else TimeoutError."""
        if not await RECORDER.wait_for(lambda: name in RECORDER.flags, seconds):
            raise TimeoutError(f"nobody set {name!r} within {seconds:g} s")

    async def step_raise(self, name: str = "RuntimeError", text: str = "raised by the reference application") -> None:
        """Raise a built-in exception by its name; also CancelledError, and ReferenceBaseException: a BaseException that nobody knows."""
        if name == "CancelledError":
            raise asyncio.CancelledError
        kind = _ReferenceBaseException if name == "ReferenceBaseException" else getattr(builtins, name, None)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise ScriptError(f"no exception: {name!r}")
        raise kind(text)

    async def step_return(self) -> bool:
        """End the call (or the task of ``gather`` and ``spawn``) here."""
        return False

    async def step_sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)

    async def step_block(self, seconds: float) -> None:
        """Hold the whole event loop."""
        time.sleep(seconds)  # noqa: ASYNC251 - that is what it is for

    # Looking and touching.

    async def step_note(self, name: str = "", value: Any = None) -> None:
        """Put a note among the events, and into the journal."""
        self._note(name, decode(value))
        RECORDER.journal(event="note", number=self.call.number, name=name, value=value)

    async def step_note_tasks(self) -> None:
        """Note ``tasks``: how many there are on the loop."""
        self._note("tasks", len(asyncio.all_tasks()))

    async def step_note_scope(self) -> None:
        """Note ``scope`` as it is now."""
        self._note("scope", self.scope)

    async def step_note_files(self) -> None:
        """Note ``files``: of each that was sent whether it is ``closed``, and its ``position``."""
        self._note("files", [{"closed": file.closed, "position": None if file.closed else file.tell()} for file in self._files])

    async def step_set_scope(self, key: str, value: Any) -> None:
        """Change the scope."""
        self.scope[key] = decode(value)

    async def step_set_state(self, key: str, value: Any) -> None:
        """Change ``scope["state"]``, in which the lifespan put ``n`` = 1 and ``list`` = []."""
        self.scope["state"][key] = decode(value)

    async def step_append_state(self, key: str, value: Any) -> None:
        """Append to a list in ``scope["state"]``."""
        self.scope["state"][key].append(decode(value))

    async def step_set_var(self, value: Any) -> None:
        """Set a context variable; the ``variable`` of a record is what it was when the call began."""
        VARIABLE.set(value)

    async def step_get_var(self) -> None:
        """Note ``variable``: what the context variable is now."""
        self._note("variable", VARIABLE.get())


class _ReferenceBaseException(BaseException):
    """Nobody knows it: neither an Exception nor one of Python's own."""


def _take_error(task: asyncio.Task[Any]) -> None:
    RECORDER.background.discard(task)
    if not task.cancelled():
        # Taken, so that nobody complains that it never was.
        task.exception()


def _pairs(headers: Any) -> Any:
    """``[["name", "value"], ...]`` of a script as ASGI's list of pairs of bytes; text in it is latin-1."""
    return [[part.encode("latin-1") if isinstance(part, str) else decode(part) for part in pair] for pair in headers]


def find_script(scope: Mapping[str, Any], headers: Iterable[Any]) -> Any:
    """The script of a request, or None.

    Raises:
        ScriptError: it is no list of steps.
    """
    text = b"".join(value for name, value in headers if isinstance(name, bytes) and name.lower() == b"x-script")
    if not text:
        query = bytes(scope.get("query_string", b"")).split(b"&")
        text = next((unquote_to_bytes(part[7:]) for part in query if part.startswith(b"script=")), b"")
    if not text:
        return RECORDER.next_scripts.popleft() if RECORDER.next_scripts else None
    try:
        script = json.loads(text)
    except ValueError as error:
        raise ScriptError(f"the script is no JSON: {error}") from None
    if not isinstance(script, list):
        raise ScriptError(f"no list of steps: {script!r}"[:300])
    return script


async def answer_json(send: Send, value: Any, status: int = 200) -> None:
    """Send ``value`` as a whole response. The field ``x-asgi-conformance-pid`` says whose it is."""
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"x-asgi-conformance-pid", b"%d" % os.getpid())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
