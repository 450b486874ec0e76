"""The lifespan of the reference application, in all the ways in which one can go.

The law of this module: what the server sent and what came of each answer is recorded before anything else happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any, Final

from .recording import RECORDER, Message, Receive, Send, describe_error
from .values import class_name, encode

__all__ = ["LIFESPANS", "run_lifespan"]

LIFESPANS: Final = (
    *("ok", "slow-startup", "slow-shutdown", "hang-startup", "hang-shutdown", "fail-startup", "fail-shutdown", "raise", "raise-startup"),
    *("raise-shutdown", "return", "return-startup", "return-after-startup", "exit", "exit-shutdown", "wrong-message"),
)
"""What ``ASGI_CONFORMANCE_LIFESPAN`` may be. The slow ones take seconds after a colon: ``slow-shutdown:1.5``; by default 1."""


async def run_lifespan(scope: Message, receive: Receive, send: Send) -> None:
    """The lifespan, as ``ASGI_CONFORMANCE_LIFESPAN`` wants it."""

    def seen(do: str, **more: Any) -> None:
        entry = {"do": do, "time": time.time(), "loop": id(asyncio.get_running_loop()), **more}
        RECORDER.lifespan.append(entry)
        RECORDER.journal(event="lifespan", **entry)

    async def hear() -> Message:
        message = await receive()
        seen("receive", message=encode(message))
        return message

    async def say(message: Message) -> None:
        try:
            await send(message)
        except Exception as error:
            seen("send", message=encode(message), error=describe_error(error))
            raise
        seen("send", message=encode(message))

    seen("scope", scope=encode(scope), scope_class=class_name(type(scope)))
    try:
        await _lifespan(scope, hear, say)
    except BaseException as error:
        seen("raised", error=describe_error(error))
        raise
    seen("returned")


async def _lifespan(scope: Message, receive: Receive, send: Send) -> None:
    mode, _, seconds = os.environ.get("ASGI_CONFORMANCE_LIFESPAN", "ok").partition(":")
    if mode not in LIFESPANS:
        raise ValueError(f"ASGI_CONFORMANCE_LIFESPAN is {mode!r}, and must be one of {', '.join(LIFESPANS)}")
    if mode == "return":
        return
    _fall(mode, "")
    if "state" in scope:
        scope["state"].update({"n": 1, "list": []})
    for stage in ("startup", "shutdown"):
        await receive()
        _fall(mode, f"-{stage}")
        if mode == f"return-{stage}":
            return
        if mode == f"slow-{stage}":
            await asyncio.sleep(float(seconds or 1))
        elif mode == f"hang-{stage}":
            await asyncio.Event().wait()
        elif mode == "wrong-message" and stage == "startup":
            # Recorded; what matters is whether it raised.
            with contextlib.suppress(Exception):
                await send({"type": "http.response.start", "status": 200, "headers": []})
        if stage == "shutdown":
            for task in list(RECORDER.background):
                task.cancel()
        if mode == f"fail-{stage}":
            await send({"type": f"lifespan.{stage}.failed", "message": f"the reference application fails at {stage}"})
            return
        await send({"type": f"lifespan.{stage}.complete"})
        if mode == f"return-after-{stage}":
            return


def _fall(mode: str, stage: str) -> None:
    if mode == f"raise{stage}":
        raise RuntimeError(f"the reference application raises on lifespan{stage}")
    if mode == f"exit{stage}":
        raise SystemExit(3)
