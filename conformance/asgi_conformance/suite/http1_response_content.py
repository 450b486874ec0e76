"""HTTP/1.1: the content of responses: how it is framed, which responses have none, when it leaves (RFC 9112 §6, RFC 9110 §8.6, ASGI www)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.stage import Broken
from asgi_conformance.suite.dialogue import about, rewriting, sending, then_another
from pytest_asgiserve.raw import Truncated, Unanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawConnection, RawResponse

__all__ = ["RESPONSE_CONTENT"]

RESPONSE_CONTENT: Final = Topic("http1/response-content", "HTTP/1.1: the content of responses")

_END_SECONDS: Final = 2.0
"""In which a connection ends that cannot go on."""
_FLUSH_SECONDS: Final = 3.0
"""In which bytes arrive that left when send() returned; a loaded machine included."""
_OK: Final = 200
_FIRST_FAILURE: Final = 500


def _ask(stage: Stage, script: Sequence[Any], method: str = "GET") -> tuple[RawConnection, RawResponse]:
    connection = stage.connect()
    connection.send(stage.encode_request(script=script, method=method))
    return connection, connection.read_response(method)


def _pieces(*parts: str) -> list[Any]:
    """The steps of a script that sends ``parts`` as content, each in a message of its own."""
    return [*(["body", part, True] for part in parts[:-1]), ["body", parts[-1]]]


# How content is framed.


@RESPONSE_CONTENT.scenario(
    "h1.resp.chunked-when-no-cl",
    "RFC 9112 §6.3",
    "RFC 9112 §7.1",
    # The SHOULD is about the choice, and one that is not taken is a warning; a chunk's size is grammar.
    level=Level.MUST,
    says="Since there is no way to distinguish a successfully completed, close-delimited response message from a partially received message "
    "interrupted by network failure, a server SHOULD generate encoding or length-delimited messages whenever possible. [...] The chunk-size field "
    "is a string of hex digits indicating the size of the chunk-data in octets.",
    expects="content without a length chunked, whole, and the connection kept",
    bad=Distortion(to_client=rewriting(rb"\r\n7\r\nhello, \r\n", b"\r\n8\r\nhello, \r\n")),
)
def chunked_without_length(stage: Stage) -> None:
    for what, parts in (
        ("two messages", ("hello, ", "world")),
        ("an empty one between", ("hello, ", "", "world")),
        ("an empty end", ("hello, world", "")),
    ):
        with about(what):
            connection, response = _ask(stage, [["start"], *_pieces(*parts)])
            stage.check(response.status == _OK, f"{response.status}")
            stage.check(response.body == b"hello, world", f"{response.body!r}")
            if response.framing == "close":
                stage.warn(f"{what}: the end of the connection ends the content")
                continue
            then_another(stage, connection, response)


def _without_length(message: dict[str, Any]) -> dict[str, Any]:
    if "headers" not in message:
        return message
    return message | {"headers": [pair for pair in message["headers"] if pair[0] != b"content-length"]}


@RESPONSE_CONTENT.scenario(
    "h1.resp.cl-passthrough",
    "ASGI www, Response Start",
    level=Level.MUST,
    says="Servers handle Transfer-Encoding themselves, and may opt to use Transfer-Encoding: chunked if the application presents a response that has "
    "no Content-Length set.",
    expects="the application's Content-Length, and no Transfer-Encoding",
    bad=Distortion(app=sending(_without_length)),
)
def length_passed_on(stage: Stage) -> None:
    for what, parts in (("one message", ("ok",)), ("two messages", ("o", "k")), ("an empty end", ("ok", ""))):
        with about(what):
            connection, response = _ask(stage, [["start", 200, [["content-length", "2"]]], *_pieces(*parts)])
            stage.check(response.all(b"content-length") == [b"2"], f"Content-Length {response.all(b'content-length')!r}")
            stage.check(not response.all(b"transfer-encoding"), f"Transfer-Encoding {response.all(b'transfer-encoding')!r}")
            stage.check(response.body == b"ok", f"{response.body!r}")
            then_another(stage, connection, response)


@RESPONSE_CONTENT.scenario(
    "h1.resp.no-te-with-cl",
    "RFC 9112 §6.2",
    level=Level.MUST,
    says="A sender MUST NOT send a Content-Length header field in any message that contains a Transfer-Encoding header field.",
    expects="one of the two, and the application's content",
    bad=Distortion(to_client=rewriting(rb"(?i)\r\ncontent-length: 5\r\n", b"\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n")),
)
def never_both(stage: Stage) -> None:
    length, chunked = ["content-length", "5"], ["transfer-encoding", "chunked"]
    for what, fields, parts in (
        ("the length first", [length, chunked], ("hello",)),
        ("the coding first", [chunked, length], ("hello",)),
        ("in two messages", [length, chunked], ("hel", "lo")),
    ):
        with about(what):
            # The reader refuses a head with both.
            try:
                connection, response = _ask(stage, [["start", 200, fields], *_pieces(*parts)])
            except (Unanswered, ConnectionError):
                stage.tell(f"{what}: closed without an answer")
                continue
            stage.check(response.status >= _FIRST_FAILURE or response.body == b"hello", f"{response.status} with {response.body!r}")
            then_another(stage, connection, response)


@RESPONSE_CONTENT.scenario(
    "h1.resp.te-from-app-ignored",
    "ASGI www, Response Start",
    level=Level.MUST,
    says="You may send a Transfer-Encoding header in this message, but the server must ignore it.",
    expects="the content framed by the server, and no other Transfer-Encoding than its own",
    bad=Distortion(to_client=rewriting(rb"(?i)\r\ntransfer-encoding: chunked\r\n", b"\r\ntransfer-encoding: gzip, chunked\r\n")),
)
def coding_ignored(stage: Stage) -> None:
    for coding in ("gzip", "chunked", "gzip, chunked", "identity"):
        for parts in (("hello",), ("hel", "lo")):
            with about(f"{coding}, content in {len(parts)}"):
                connection, response = _ask(stage, [["start", 200, [["transfer-encoding", coding]]], *_pieces(*parts)])
                stage.check(response.status == _OK, f"{response.status}")
                stage.check(response.body == b"hello", f"{response.body!r}")
                then_another(stage, connection, response)


# Responses without content.


def _empty(stage: Stage, status: int) -> None:
    """The application answers with ``status`` and content, though there is none: nothing of it is there."""
    for what, fields, parts in (
        ("with a length", [["content-length", "5"]], ("hello",)),
        ("without a length", [], ("hello",)),
        ("in two messages", [], ("hel", "lo")),
        ("with a length in two messages", [["content-length", "5"]], ("hel", "lo")),
        ("and none", [], ("",)),
    ):
        with about(f"{status} {what}"):
            connection = stage.connect()
            connection.send(stage.encode_request(script=[["start", status, fields], *_pieces(*parts)]))
            try:
                response = connection.read_response()
            except (Unanswered, ConnectionError):
                stage.check(parts != ("",), "closed without an answer")
                continue
            # An application that is told of its mistake ends in a 500.
            refused = response.status >= _FIRST_FAILURE and parts != ("",)
            stage.check(response.status == status or refused, f"{response.status}")
            stage.check(response.body == b"" or refused, f"content {response.body!r}")
            then_another(stage, connection, response)


@RESPONSE_CONTENT.scenario(
    "h1.resp.te-acceptable",
    "RFC 9112 §7.4",
    "RFC 9110 §10.1.4",
    level=Level.MUST,
    says="If the TE field value is empty or if no TE field is present, the only acceptable transfer coding is chunked. A message with no transfer "
    "coding is always acceptable.",
    expects="no transfer coding but chunked where the client accepts no other, and the content whole",
    bad=Distortion(to_client=rewriting(rb"(?i)\r\ntransfer-encoding: chunked\r\n", b"\r\ntransfer-encoding: gzip, chunked\r\n")),
)
def acceptable_coding(stage: Stage) -> None:
    for what, lines in (
        ("no TE", ()),
        ("an empty TE", ("TE:", "Connection: TE")),
        ("TE: trailers", ("TE: trailers", "Connection: TE")),
        # §7.4: "a value of 0 means "not acceptable"".
        ("TE: gzip;q=0", ("TE: gzip;q=0", "Connection: TE")),
    ):
        with about(what):
            # The reader refuses every coding but chunked.
            response = stage.request(*lines, script=[["start"], *_pieces("hello, ", "world")])
            stage.check(response.status == _OK, f"{response.status}")
            stage.check(response.body == b"hello, world", f"{response.body!r}")


@RESPONSE_CONTENT.scenario(
    "h1.resp.204-no-cl-no-body",
    "RFC 9110 §8.6",
    "RFC 9110 §15.3.5",
    "RFC 9112 §6.1",
    "RFC 9110 §6.4.1",
    level=Level.MUST,
    says="A server MUST NOT send a Content-Length header field in any response with a status code of 1xx (Informational) or 204 (No Content). [...] "
    "A 204 response is terminated by the end of the header section; it cannot contain content or trailers.",
    expects="204 with neither Content-Length nor Transfer-Encoding nor content, or the application's message refused",
    bad=Distortion(to_client=rewriting(rb"(?s)^(HTTP/1.1 204 .*?\r\n)\r\n", rb"\1content-length: 5\r\n\r\nhello")),
)
def no_content(stage: Stage) -> None:
    # The reader refuses a 204 with Content-Length or Transfer-Encoding.
    _empty(stage, 204)


@RESPONSE_CONTENT.scenario(
    "h1.resp.304-no-body",
    "RFC 9110 §15.4.5",
    "RFC 9112 §6.3",
    "RFC 9110 §6.4.1",
    level=Level.MUST,
    says="A 304 response is terminated by the end of the header section; it cannot contain content or trailers.",
    expects="304 that ends with its head, or the application's message refused",
    bad=Distortion(to_client=rewriting(rb"(?s)^(HTTP/1.1 304 .*?\r\n\r\n)", rb"\1hello")),
)
def not_modified(stage: Stage) -> None:
    _empty(stage, 304)


@RESPONSE_CONTENT.scenario(
    "h1.resp.205-no-content",
    "RFC 9110 §15.3.6",
    # RFC 9110 §2.2: "generate" asks something of who makes the content, and that is the application. What hands it on frames it well.
    level=Level.SHOULD,
    says="Since the 205 status code implies that no additional content will be provided, a server MUST NOT generate content in a 205 response.",
    expects="205 with no content: Content-Length 0, a last chunk alone, or the end of the connection; or the application's message refused",
    bad=Distortion(to_client=rewriting(rb"(?si)^(HTTP/1.1 205 .*\r\ncontent-length: )0(\r\n.*\r\n\r\n)$", rb"\g<1>5\2hello")),
)
def reset_content(stage: Stage) -> None:
    _empty(stage, 205)


_ASKED_TO_GET: Final = Distortion(to_server=rewriting(rb"^HEAD ", b"GET "))
"""A server that answers HEAD as GET."""
# What a server may say of one message and not of another.
_OF_THE_MESSAGE: Final = frozenset({b"date", b"connection", b"keep-alive", b"transfer-encoding"})


def _head_as_get(stage: Stage, fields: list[list[str]], *parts: str) -> None:
    script = [["start", 200, [*fields, ["x-a", "b"], ["content-type", "text/plain"]]], *_pieces(*parts)]
    _, wanted = _ask(stage, script)
    connection, seen = _ask(stage, script, "HEAD")
    stage.check(seen.status == wanted.status, f"{seen.status} and not {wanted.status}")
    then_another(stage, connection, seen)
    length = seen.one(b"content-length")
    # RFC 9110 §8.6: "MUST NOT send Content-Length in such a response unless its field value equals [...]".
    stage.check(length is None or int(length) == len(wanted.body), f"Content-Length {length!r}, where GET has {len(wanted.body)} bytes")
    missing = [pair for pair in wanted.fields if pair not in seen.fields and pair[0] not in _OF_THE_MESSAGE]
    missing = [pair for pair in missing if fields or pair[0] != b"content-length"]
    if missing:
        # RFC 9110 §9.3.2: "SHOULD send the same header fields". A length that it would have to count it may leave out.
        stage.warn(f"missing: {missing!r}")


@RESPONSE_CONTENT.scenario(
    "h1.resp.head-no-body",
    "RFC 9110 §9.3.2",
    "RFC 9110 §8.6",
    "RFC 9110 §6.4.1",
    level=Level.MUST,
    says="The HEAD method is identical to GET except that the server MUST NOT send content in the response.",
    expects="the head that GET would get and nothing behind it, the server's own 500 included",
    bad=_ASKED_TO_GET,
)
def head_without_content(stage: Stage) -> None:
    for what, parts in (("one message", ("hello",)), ("two messages", ("hel", "lo"))):
        with about(what):
            _head_as_get(stage, [["content-length", "5"]], *parts)
    with about("the server's own 500"):
        try:
            connection, response = _ask(stage, [["raise"]], "HEAD")
        except (Unanswered, ConnectionError):
            return
        then_another(stage, connection, response)


@RESPONSE_CONTENT.scenario(
    "h1.resp.head-chunked",
    "RFC 9112 §6.3",
    level=Level.MUST,
    says="Any response to a HEAD request and any response with a 1xx (Informational), 204 (No Content), or 304 (Not Modified) status code is always "
    "terminated by the first empty line after the header fields, regardless of the header fields present in the message, and thus cannot contain a "
    "message body or trailer section.",
    expects="the head, and neither a chunk nor a last chunk behind it",
    bad=_ASKED_TO_GET,
)
def head_without_chunks(stage: Stage) -> None:
    for what, parts in (("two messages", ("hel", "lo")), ("one message", ("hello",)), ("no content", ("",))):
        with about(what):
            _head_as_get(stage, [], *parts)


# An application that miscounts.


@RESPONSE_CONTENT.scenario(
    "h1.resp.cl-overrun",
    "RFC 9112 §6.3",
    "RFC 9110 §8.6",
    # No clause has a MUST for one who sends more; but what is too much would be the begin of the next response.
    level=Level.HARD,
    says="If a valid Content-Length header field is present without Transfer-Encoding, its decimal value defines the expected message body length in "
    "octets.",
    expects="never a byte behind the announced four: what is too much refused or dropped, or the end of the connection",
    bad=Distortion(
        # It is told the right length, and another one arrives.
        app=sending(
            lambda message: (
                message | {"headers": [[name, b"10" if name == b"content-length" else value] for name, value in message["headers"]]}
                if "headers" in message
                else message
            )
        ),
        to_client=rewriting(rb"(?i)\r\ncontent-length: 10\r\n", b"\r\ncontent-length: 4\r\n"),
    ),
)
def content_too_long(stage: Stage) -> None:
    for what, parts in (
        ("one message", ("0123456789",)),
        ("a second one too many", ("0123", "456789")),
        ("beyond it in the second", ("01", "23456789")),
    ):
        with about(what):
            stage.mark()
            connection = stage.connect()
            connection.send(stage.encode_request(script=[["start", 200, [["content-length", "4"]]], *_pieces(*parts)]))
            try:
                response = connection.read_response()
            except (Truncated, ConnectionError):
                # Cut, within the announced length.
                continue
            kept = then_another(stage, connection, response)
            if response.framing == "length" and response.status == _OK and kept and not any(record.send_errors for record in stage.records()):
                stage.tell(f"{what}: the surplus is dropped, and nobody told")


@RESPONSE_CONTENT.scenario(
    "h1.resp.cl-underrun",
    "RFC 9112 §9.3",
    "RFC 9112 §6.3",
    # No clause has a MUST for one who sends less; but the next response would be read as the rest of this one.
    level=Level.HARD,
    says="In order to remain persistent, all messages on a connection need to have a self-defined message length (i.e., one not defined by closure "
    "of the connection), as described in Section 6.",
    expects="the connection ended behind the four bytes that there are, or the response replaced; nothing sent in the place of the missing six",
    bad=Distortion(holds=True),
)
def content_too_short(stage: Stage) -> None:
    for what, parts in (("one message", ("0123",)), ("two messages", ("01", "23")), ("an empty end", ("0123", ""))):
        with about(what):
            connection = stage.connect()
            script = [["start", 200, [["content-length", "10"]]], *_pieces(*parts)]
            # The next response would be read as the rest of this one's content.
            connection.send(stage.encode_request(script=script) + stage.encode_request(path="/another"))
            try:
                response = connection.read_head()
            except (Unanswered, ConnectionError):
                continue
            if response.status >= _FIRST_FAILURE or response.all(b"content-length") != [b"10"]:
                # Replaced, or framed otherwise.
                continue
            connection.sock.settimeout(_END_SECONDS)
            try:
                connection.read_body(response)
            except (Truncated, ConnectionResetError):
                continue
            except TimeoutError:
                raise Broken("six of ten bytes are missing, and the connection stays open") from None
            raise Broken(f"{response.body[4:]!r} is sent in the place of the missing bytes")


# When content leaves.


def _gathering(app: Any) -> Any:
    """A server that sends content when all of it is there."""

    async def gathers(scope: Any, receive: Any, send: Any) -> None:
        parts: list[bytes] = []

        async def gather(message: Any) -> None:
            if message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if message.get("more_body"):
                    return
                message = message | {"body": b"".join(parts)}
            await send(message)

        await app(scope, receive, gather)

    return gathers


@RESPONSE_CONTENT.scenario(
    "h1.resp.flush-per-body",
    "ASGI www, Response Body",
    level=Level.MUST,
    says="Protocol servers must flush any data passed to them into the send buffer before returning from a send call.",
    expects="the first part of the content at the client while the application still waits to send the second",
    bad=Distortion(app=_gathering),
)
def flushed(stage: Stage) -> None:
    for what, fields in (("without a length", []), ("with a length", [["content-length", "2"]])):
        # Flags stay set, and the application may be another's too.
        flag = f"flush-{uuid.uuid4().hex}"
        with about(what):
            stage.mark()
            connection = stage.connect()
            try:
                connection.send(stage.encode_request(script=[["start", 200, fields], ["body", "a", True], ["await", flag, 20], ["body", "b"]]))
                _read_first(stage, connection)
            finally:
                stage.running.set_flag(flag)
            sends = stage.record().sends
            stage.check(len(sends) == 3 and not any(event.error for event in sends), f"{len(sends)} calls of send()")


def _read_first(stage: Stage, connection: RawConnection) -> None:
    """The first byte of the content, which comes while the application waits; and how it is framed."""
    connection.sock.settimeout(_FLUSH_SECONDS)
    try:
        response = connection.read_head()
        first = connection.read_chunk() if response.framing == "chunked" else connection.read_exactly(1)
    except TimeoutError:
        raise Broken(f"nothing of the content within {_FLUSH_SECONDS:g} s") from None
    stage.check(first == b"a", f"{first!r}")
