"""The ASGI contract: messages of HTTP that the application sends (ASGI www)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.suite.dialogue import sending, swallowing
from pytest_asgiserve.raw import FramingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.observed import Record
    from asgi_conformance.stage import Stage

__all__ = ["HTTP_MESSAGES"]

HTTP_MESSAGES: Final = Topic("asgi/http-messages", "ASGI: the messages of a response")

_INVALID: Final = (
    "If a server receives an invalid event dictionary - for example, having an unknown type, missing keys an event type should have, or with wrong "
    "Python types for objects (e.g. Unicode strings for HTTP headers) - it should raise an exception out of the send awaitable back to the "
    "application."
)
_EMPTY: Final = [["content-length", "0"]]
_OK: Final = 200


def _aftermath(stage: Stage, script: Sequence[Any]) -> Record:
    """The call that followed ``script``, whatever becomes of its response, which need not come."""
    stage.mark()
    connection = stage.connect()
    connection.send(stage.encode_request(script=script))
    record = stage.record()
    connection.close()
    return record


@HTTP_MESSAGES.scenario(
    "asgi.http.unknown-type",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says=_INVALID,
    expects="an exception out of send() for a message of an unknown type, and the response served",
    bad=Distortion(app=swallowing),
)
def unknown_type(stage: Stage) -> None:
    for kind in ("http.nonsense", "websocket.send", ""):
        bad = ["try", ["send", {"type": kind}]]
        for when, script in (
            ("before the start", [bad, ["respond", 200, _EMPTY]]),
            ("after the start", [["start", 200, [["content-length", "1"]]], bad, ["body", "x"]]),
        ):
            stage.mark()
            response = stage.request(script=script)
            stage.check(stage.record().send_errors, f"send() took the type {kind!r} {when}")
            stage.check(response.status == _OK, f"{response.status} for a valid response with the type {kind!r} tried {when}")


_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
_WRONG_STARTS: Final[Sequence[tuple[str, Any]]] = (
    ("header names and values that are str", {"type": _START, "status": 200, "headers": [["x-a", "1"]]}),
    ("a header value that is an int", {"type": _START, "status": 200, "headers": [[b"x-a", 1]]}),
    ("a header of three items", {"type": _START, "status": 200, "headers": [[b"x-a", b"1", b"2"]]}),
    ("headers that are an int", {"type": _START, "status": 200, "headers": 1}),
    ("a status that is a str", {"type": _START, "status": "200", "headers": []}),
    ("no status", {"type": _START, "headers": []}),
    ("a status that is None", {"type": _START, "status": None, "headers": []}),
    ("no type", {"status": 200, "headers": []}),
    ("a list", ["http.response.start"]),
    ("None", None),
)
_WRONG_BODIES: Final[Sequence[tuple[str, Any]]] = (
    ("a body that is a str", {"type": _BODY, "body": "text"}),
    ("a body that is an int", {"type": _BODY, "body": 7}),
    ("a body that is a list", {"type": _BODY, "body": [b"x"]}),
)


@HTTP_MESSAGES.scenario(
    "asgi.http.wrong-types",
    "ASGI, Error Handling",
    "ASGI www, Response Start",
    "ASGI www, Response Body",
    level=Level.SHOULD,
    says=_INVALID,
    expects="an exception out of send() for each message that has a wrong type in it, or lacks what it must have",
    # Daphne answers no later failing application with 500 after such a header list.
    spoils=True,
    bad=Distortion(app=swallowing),
)
def wrong_types(stage: Stage) -> None:
    # A server may check the start when it sends it, which is with the body.
    scripts = [(name, [["try", ["send", message]], ["try", ["body", "x"]]]) for name, message in _WRONG_STARTS]
    scripts += [(name, [["start"], ["try", ["send", message]]]) for name, message in _WRONG_BODIES]
    taken = [name for name, script in scripts if not _aftermath(stage, script).send_errors]
    stage.check(not taken, f"send() took {', '.join(taken)}")


def _strict(message: Any) -> Any:
    known = {_START: {"type", "status", "headers", "trailers"}, _BODY: {"type", "body", "more_body"}}
    if not message.keys() <= known.get(message["type"], message.keys()):
        raise ValueError("more keys than there are")
    return message


@HTTP_MESSAGES.scenario(
    "asgi.http.extra-keys",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="In both cases, the presence of additional keys in the event dictionary should not raise an exception. This allows non-breaking upgrades to "
    "protocol specifications over time.",
    expects="messages with keys that nobody knows taken, and the response served",
    bad=Distortion(app=sending(_strict)),
)
def extra_keys(stage: Stage) -> None:
    extra = {"x-unknown": 1, "another": {"of": ["any", "type"]}}
    start = {"type": _START, "status": 200, "headers": [[b"content-length", b"2"]], **extra}
    response = stage.request(
        script=[
            ["send", start],
            ["send", {"type": _BODY, "body": b"o", "more_body": True, **extra}],
            ["send", {"type": _BODY, "body": b"k", **extra}],
        ]
    )
    errors = stage.record().send_errors
    stage.check(not errors, f"send() raised {errors[0].kind}: {errors[0].message}" if errors else "")
    stage.check(response.status == _OK and response.body == b"ok", f"{response.status} {response.body!r}")


@HTTP_MESSAGES.scenario(
    "asgi.http.body-before-start",
    "ASGI, Error Handling",
    "ASGI www, Response Start",
    level=Level.SHOULD,
    says=_INVALID,
    expects="an exception out of send() for a body before the start, and the response behind it served",
    bad=Distortion(app=swallowing),
)
def body_before_start(stage: Stage) -> None:
    response = stage.request(script=[["try", ["body", "x"]], ["respond", 200, _EMPTY]])
    stage.check(response.status == _OK, f"{response.status}")
    stage.check(stage.record().send_errors, "send() raised nothing")


@HTTP_MESSAGES.scenario(
    "asgi.http.start-twice",
    "ASGI www, Response Start",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="Sent by the application to start sending a response to the client. Needs to be followed by at least one response content message.",
    expects="an exception out of send() for the second start, and one status line on the wire",
    bad=Distortion(app=swallowing),
)
def start_twice(stage: Stage) -> None:
    again = ["try", ["start", 500, _EMPTY]]
    length = [["content-length", "2"]]
    for when, script in (
        ("at once", [["start", 200, length], again, ["body", "ok"]]),
        ("after a part of the body", [["start", 200, length], ["body", "o", True], again, ["body", "k"]]),
    ):
        stage.mark()
        before = len(stage.trace.received)
        response = stage.request(script=script)
        lines = stage.trace.received[before:].count(b"HTTP/1.1 ")
        stage.check(lines <= 1, f"{lines} status lines for a second start {when}")
        stage.check(stage.record().send_errors, f"send() took a second start {when}")
        stage.check(response.status == _OK and response.body == b"ok", f"{response.status} {response.body!r} for a second start {when}")


@HTTP_MESSAGES.scenario(
    "asgi.http.send-after-complete",
    "ASGI www, Response Body",
    "ASGI, Error Handling",
    level=Level.CONFLICT,
    says="If False, and the server is not expecting Response Trailers response will be taken as complete and closed, and any further messages on the "
    "channel will be ignored. But Error Handling has a server raise for an event that is invalid.",
    expects="a body and a start behind a whole response ignored, or an exception out of send(); and nothing of them on the wire",
    bad=Distortion(to_client=lambda data: data.replace(b"\r\n\r\nok", b"\r\n\r\nokmore")),
)
def send_after_complete(stage: Stage) -> None:
    connection = stage.connect()
    script = [["respond", 200, [["content-length", "2"]], "ok"], ["try", ["body", "more"]], ["try", ["start", 500]], ["try", ["body", "", False]]]
    connection.send(stage.encode_request(script=script))
    first = connection.read_response()
    stage.check(first.status == _OK and first.body == b"ok", f"{first.status} {first.body!r}")
    errors = sorted({error.kind for error in stage.record().send_errors})
    if not first.closes:
        connection.send(stage.encode_request(script=[["respond", 202, _EMPTY]]))
        second = connection.read_response()
        stage.check(second.status == 202, f"{second.status} for the next request")
    stage.tell(f"send() raised {', '.join(errors)}" if errors else "ignored")


def _needs_body(message: Any) -> Any:
    if message["type"] == _BODY:
        len(message["body"])
    return message


@HTTP_MESSAGES.scenario(
    "asgi.http.body-optional",
    "ASGI www, Response Body",
    level=Level.MUST,
    says="body (byte string) -- HTTP body content. Concatenated onto any previous body values sent in this connection scope. Optional; "
    'if missing defaults to b"".',
    expects="a message without a body taken for the end of the response, or for an empty part of it",
    bad=Distortion(app=sending(_needs_body)),
)
def body_optional(stage: Stage) -> None:
    last = ["send", {"type": _BODY}]
    more = ["send", {"type": _BODY, "more_body": True}]
    for headers, body, script in (([], b"", [last]), (_EMPTY, b"", [last]), ([], b"ok", [more, ["body", "ok", True], last])):
        response = stage.request(script=[["start", 200, headers], *script])
        stage.check(response.status == _OK and response.body == body, f"{response.status} {response.body!r} for {script}")


def _needs_headers(message: Any) -> Any:
    if message["type"] == _START and not isinstance(message["headers"], list | tuple):
        raise TypeError("no list of headers")
    return message


@HTTP_MESSAGES.scenario(
    "asgi.http.headers-optional",
    "ASGI www, Response Start",
    level=Level.MUST,
    says="headers (Iterable[[byte string, byte string]]) -- An iterable of [name, value] two-item iterables, where name is the header name, and "
    "value is the header value. Order must be preserved in the HTTP response. Header names must be lowercased. Optional; if missing "
    "defaults to an empty list.",
    expects="a start without headers, and headers that are lists or tuples of lists or tuples",
    bad=Distortion(app=sending(_needs_headers)),
)
def headers_optional(stage: Stage) -> None:
    pairs = [[b"x-a", b"1"], [b"x-b", b"2"], [b"x-a", b"3"]]
    tuples = [tuple(pair) for pair in pairs]
    forms: list[tuple[str, Any]] = [
        ("no headers", None),
        ("an empty list", []),
        ("a list of lists", pairs),
        ("a list of tuples", tuples),
        ("a tuple of tuples", tuple(tuples)),
        ("a tuple of lists", tuple(pairs)),
    ]
    for name, headers in forms:
        seen = _start_with(stage, headers, sorted(pairs) if headers else [])
        stage.check(not seen, f"{name}: {seen}")
    # "An iterable" here, and in Events the only types that an event may have: lists are there, and generators are not.
    try:
        seen = _start_with(stage, {"generator": pairs}, sorted(pairs))
    except (FramingError, OSError) as error:
        seen = f"{type(error).__name__}: {error}"
    if seen:
        stage.warn(f"a generator of lists: {seen}")


def _start_with(stage: Stage, headers: Any, wanted: Any) -> str:
    """What is not as it should be where a response starts with ``headers``; the fields that come are to be ``wanted``, sorted."""
    stage.mark()
    start = {"type": _START, "status": 200} | ({} if headers is None else {"headers": headers})
    connection = stage.connect(timeout=2)
    connection.send(stage.encode_request(script=[["send", start], ["body", "ok"]]))
    response = connection.read_response()
    errors = stage.record().send_errors
    # In which order they come is another case.
    fields = sorted([key, value] for key, value in response.fields if key.startswith(b"x-"))
    if not errors and response.status == _OK and response.body == b"ok" and fields == wanted:
        return ""
    return f"{f'send() raised {errors[0].kind}' if errors else 'taken'}, and {response.status} {response.body!r} with {fields!r}"


def _loses_views(message: Any) -> Any:
    return message if isinstance(message.get("body", b""), bytes) else {**message, "body": b""}


@HTTP_MESSAGES.scenario(
    "asgi.http.bytes-like",
    "ASGI, Events",
    "ASGI www, Response Body",
    level=Level.INFO,
    says="Because these messages could be sent over a network, they need to be serializable, and so they are only allowed to contain the following "
    "types: byte strings, and no others like them.",
    expects="a body that is a bytearray or a memoryview sent as it is, or an exception out of send()",
    bad=Distortion(app=sending(_loses_views)),
)
def bytes_like(stage: Stage) -> None:
    for kind in ("bytearray", "memoryview"):
        stage.mark()
        connection = stage.connect(timeout=2)
        connection.send(
            stage.encode_request(
                script=[["start"], ["try", ["send", {"type": _BODY, "body": {kind: {"latin1": "abc"}}, "more_body": True}]], ["body", "d"]]
            )
        )
        response = connection.read_response()
        errors = stage.record().send_errors
        if errors:
            stage.tell(f"{kind}: {errors[0].kind}")
        else:
            stage.check(response.body == b"abcd", f"{kind}: taken, and became {response.body!r}")
            stage.tell(f"{kind}: taken")
