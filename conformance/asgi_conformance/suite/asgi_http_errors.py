"""The ASGI contract: applications that raise, and such that leave a response undone (ASGI asgi, Error Handling)."""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.targets import TargetError
from pytest_asgiserve.raw import Truncated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawResponse

__all__ = ["HTTP_ERRORS"]

HTTP_ERRORS: Final = Topic("asgi/http-errors", "ASGI: applications that fail")

_TERMINATE: Final = (
    "Servers are free to surface errors that bubble up out of application instances they are running however they wish - log to console, send to "
    "syslog, or other options - but they must terminate the application instance and its associated connection if this happens."
)
_FOLLOWED: Final = "Sent by the application to start sending a response to the client. Needs to be followed by at least one response content message."
_ERRORS: Final = range(500, 600)
_OK: Final = 200
_WORDS: Final = "the-words-of-the-exception"
_HANG: Final = 4.0
"""Seconds of silence that are a hang; there are servers that look for ended applications once a second."""
_FINISHED: Final = {"type": "http.response.body", "body": b""}


def _answer(stage: Stage, script: Sequence[Any], *, method: str = "GET", body: bytes | None = None, timeout: float = _HANG) -> RawResponse | None:
    """The response to ``script``; None where the connection ends before it is whole.

    Raises:
        TimeoutError: neither comes.
    """
    connection = stage.connect(timeout=timeout)
    connection.send(stage.encode_request(script=script, method=method, body=body))
    try:
        return connection.read_response(method)
    except (Truncated, ConnectionResetError):
        return None


def _forgiving(app: Any) -> Any:
    """A server that ends with 200 what its application did not."""

    async def forgives(scope: Any, receive: Any, send: Any) -> None:
        started = False

        async def noticing(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        with contextlib.suppress(Exception):
            await app(scope, receive, noticing)
        if scope["type"] == "http":
            if not started:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            await send(_FINISHED)

    return forgives


@HTTP_ERRORS.scenario(
    "asgi.http.return-without-response",
    "ASGI www, Response Start",
    "ASGI, Error Handling",
    level=Level.HARD,
    says=_FOLLOWED,
    expects="500 at once, or the connection closed",
    bad=Distortion(app=_forgiving),
)
def return_without_response(stage: Stage) -> None:
    for name, method, body, script in (
        ("a GET", "GET", None, [["return"]]),
        ("a POST that was read", "POST", b"hello", [["receive-all"]]),
        ("a POST that was not read", "POST", b"hello", [["return"]]),
    ):
        response = _answer(stage, script, method=method, body=body)
        stage.check(response is None or response.status in _ERRORS, f"{response.status if response else ''} for {name}")
        if response is None:
            stage.tell(f"closed for {name}")


def _gossiping(app: Any) -> Any:
    """A server that shows the traceback to its client."""

    async def gossips(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except Exception:  # noqa: BLE001 - that is what it is for
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": traceback.format_exc().encode()})

    return gossips


@HTTP_ERRORS.scenario(
    "asgi.http.raise-before-start",
    "ASGI, Error Handling",
    "RFC 9110 §15.6.1",
    level=Level.MUST,
    says=_TERMINATE,
    expects="500 without what was raised in it, or the connection closed; and the next request served",
    bad=Distortion(app=_gossiping),
    # What another case broke in a server that cannot end an application which fails in its response is not this one's.
    own=True,
)
def raise_before_start(shared: Stage) -> None:
    stage = shared.own()
    for kind, method, body in (("RuntimeError", "GET", None), ("ConnectionResetError", "POST", b"hello")):
        response = _answer(stage, [["raise", kind, _WORDS]], method=method, body=body)
        if response is None:
            shared.tell(f"closed for {kind}")
            continue
        stage.check(response.status in _ERRORS, f"{response.status} for {kind}")
        shown = [word for word in ("Traceback", _WORDS, "scripts.py") if word.encode() in response.body]
        stage.check(not shown, f"{', '.join(shown)} in the body of the {response.status} for {kind}")
    after = stage.request()
    stage.check(after.status == _OK, f"{after.status} for the next request")


def _check_cut(stage: Stage, last: Sequence[Any]) -> None:
    """``last`` is what the application does in the middle of its response, which must not look whole then."""
    for name, headers in (("chunked", []), ("with a length", [["content-length", "10"]])):
        for parts in (1, 2):
            script = [["start", 200, headers], *[["body", "hel", True]] * parts, last]
            response = _answer(stage, script)
            if response is not None and response.status in _ERRORS:
                # "must flush any data passed to them into the send buffer": it had not.
                stage.warn(f"{response.status} for a response of which a part was sent ({name})")
                continue
            stage.check(
                response is None, f"a whole response, {response.status} {response.body!r}, of one that was not ended ({name})" if response else ""
            )


class _Padding:
    """A server that ends a response that was not ended, whatever its length."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        length = sent = 0
        started = ended = False

        async def counting(message: Any) -> None:
            nonlocal length, sent, started, ended
            if message["type"] == "http.response.start":
                started = True
                length = int(dict(message.get("headers", ())).get(b"content-length", b"0"))
            else:
                sent += len(message.get("body", b""))
                ended = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, counting)
        except Exception:
            if not started:
                raise
        if started and not ended:
            await send({"type": "http.response.body", "body": bytes(max(length - sent, 0))})


@HTTP_ERRORS.scenario(
    "asgi.http.raise-mid-response",
    "ASGI, Error Handling",
    "RFC 9112 §8",
    level=Level.MUST,
    says=_TERMINATE,
    expects="the connection closed within the response, without a last chunk",
    bad=Distortion(app=_Padding),
    # A server whose watch over its applications dies of one hangs with every other that raises.
    spoils=True,
)
def raise_mid_response(stage: Stage) -> None:
    _check_cut(stage, ["raise", "RuntimeError", _WORDS])


@HTTP_ERRORS.scenario(
    "asgi.http.return-mid-response",
    "ASGI www, Response Body",
    "ASGI, Error Handling",
    "RFC 9112 §8",
    level=Level.HARD,
    says="more_body (bool) -- Signifies if there is additional content to come (as part of a Response Body message).",
    expects="the connection closed within the response, without a last chunk",
    bad=Distortion(app=_Padding),
)
def return_mid_response(stage: Stage) -> None:
    _check_cut(stage, ["return"])


def _dying(app: Any) -> Any:
    """A server that does not survive what is no Exception."""

    async def dies(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except Exception:
            raise
        except BaseException:  # noqa: BLE001 - that is what it is for
            os._exit(3)

    return dies


@HTTP_ERRORS.scenario(
    "asgi.http.base-exception",
    "ASGI, Error Handling",
    # Whether they are "errors" can be argued; that a client waits for ever cannot.
    level=Level.HARD,
    says=_TERMINATE,
    expects="the request of an application that raises CancelledError, or a BaseException that nobody knows, ended, and the next one served by the "
    "same process (what SystemExit and KeyboardInterrupt do is reported)",
    bad=Distortion(app=_dying),
    own=True,
)
def base_exception(stage: Stage) -> None:
    own = stage.own()
    for kind in ("CancelledError", "ReferenceBaseException"):
        for when, script in (("before the start", [["raise", kind]]), ("in the response", [["start"], ["body", "x", True], ["raise", kind]])):
            try:
                response = _answer(own, script)
            except TimeoutError:
                stage.check(False, f"neither a response nor the end of the connection for {kind} {when}")
                return
            stage.check(response is None or response.status in _ERRORS, f"{response.status if response else ''} for {kind} {when}")
            try:
                # Of the same process: another one would not have the records.
                own.running.facts()
            except TargetError as error:
                stage.check(False, f"after {kind} {when} {error}")
    for kind in ("KeyboardInterrupt", "SystemExit"):
        stage.tell(f"{kind}: {_aftermath(own, kind)}")


def _aftermath(own: Stage, kind: str) -> str:
    """What becomes of the server whose application raises ``kind``."""
    try:
        response = _answer(own, [["raise", kind]], timeout=1.0)
        answer = "the connection closed" if response is None else f"{response.status}"
    except (OSError, AssertionError) as error:
        answer = type(error).__name__
    try:
        own.running.facts()
    except TargetError:
        return f"{answer}, and the process is gone"
    return f"{answer}, and it goes on"


@HTTP_ERRORS.scenario(
    "asgi.http.start-buffered",
    "ASGI www, Response Start",
    "ASGI, Error Handling",
    level=Level.MAY,
    says="Protocol servers need not flush the data generated by this event to the send buffer until the first Response Body event is processed. This "
    "may give them more leeway to replace the response with an error response in case internal errors occur while handling the request.",
    expects="500 in place of the response, or the connection closed without an end of it",
    bad=Distortion(app=_forgiving),
    # As above.
    spoils=True,
)
def start_buffered(stage: Stage) -> None:
    response = _answer(stage, [["start", 200, [["x-mine", "1"]]], ["raise", "RuntimeError", _WORDS]])
    if response is None:
        stage.tell("the connection closed")
        return
    stage.check(response.status in _ERRORS, f"{response.status} {response.body!r}")
    stage.check(not response.all(b"x-mine"), "a field of the response that it replaces")
    stage.tell(f"{response.status}")
