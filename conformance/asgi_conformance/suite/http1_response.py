"""HTTP/1.1: the heads of responses: what the server says of its own, and what it lets the application say (RFC 9110 §5, §15; RFC 9112 §4)."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.stage import Broken
from asgi_conformance.suite.dialogue import about, rewriting, sending, then_another
from asgi_conformance.suite.exchanges import options
from pytest_asgiserve.raw import Truncated, Unanswered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawConnection, RawResponse

__all__ = ["RESPONSE"]

RESPONSE: Final = Topic("http1/response", "HTTP/1.1: the heads of responses")

_END_SECONDS: Final = 2.0
"""In which a connection ends whose end was announced."""
_ANSWER_SECONDS: Final = 1.0
"""In which a response comes that is due; less than the 2 s after which a known server ends an idle connection."""
_SOON: Final = 0.2
"""The same, behind a first silence."""
_INACCURACY: Final = 2.0
"""Seconds by which a Date may differ from our clock, which is the server's own."""
_OK: Final = 200
_REFUSALS: Final = range(400, 500)
_FIRST_FAILURE: Final = 500
_NOT_ALLOWED: Final = 405
_UPGRADE_REQUIRED: Final = 426


def _answer(status: int = 200, *fields: tuple[str, str]) -> list[Any]:
    """A script that answers without content."""
    return [["respond", status, [["content-length", "0"], *map(list, fields)]]]


def _own(stage: Stage, *lines: str, request: str = "GET / HTTP/1.1") -> RawResponse | None:
    """The head of what the server itself answers to a request that is none; None where it closes without an answer."""
    connection = stage.connect()
    connection.send("\r\n".join([request, "Host: a.example", *lines, "", ""]).encode("latin-1"))
    try:
        return connection.read_head()
    except (Unanswered, ConnectionError):
        return None


def _answers(stage: Stage) -> Iterator[tuple[str, RawResponse]]:
    """Responses of the classes 2xx, 3xx and 4xx, by the application and by the server itself."""
    for status in (200, 302, 404):
        yield f"{status}", stage.request(script=_answer(status))
    own = _own(stage, "this line has no colon")
    if own is not None and own.status != _OK:
        yield f"the server's own {own.status}", own


def _wires(stage: Stage, scripts: Sequence[tuple[str, Sequence[Any]]]) -> Iterator[tuple[str, bytes]]:
    """For each of ``scripts``, all bytes that answer a request for it, up to the end of the connection."""
    patience = _ANSWER_SECONDS
    tried: list[str] = []
    for what, script in scripts:
        try:
            connection = stage.connect()
        except ConnectionRefusedError:
            raise Broken(f"behind {', '.join(tried)}: the server takes no more connections") from None
        tried.append(what)
        with about(what):
            connection.send(stage.encode_request("Connection: close", script=script))
            connection.sock.settimeout(patience)
            wire = b""
            try:
                while data := connection.sock.recv(1 << 16):
                    wire += data
            except ConnectionResetError:
                pass
            except TimeoutError:
                patience = _SOON
                stage.warn(f"{what}: {'the connection stays open' if wire else 'never answered'}")
            yield what, wire


def _expect_end(stage: Stage, connection: RawConnection, why: str) -> None:
    """The connection must end here, because of ``why``."""
    connection.sock.settimeout(_END_SECONDS)
    try:
        data = connection.read_exactly(1)
    except (Truncated, ConnectionResetError):
        return
    except TimeoutError:
        raise Broken(f"{why}, and the connection stays open") from None
    stage.check(not data, f"{why}, and more comes behind the response")


# What the server says of its own.

_IMF_FIXDATE: Final = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
)
_DAYS: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")


@RESPONSE.scenario(
    "h1.resp.date",
    "RFC 9110 §6.6.1",
    level=Level.MUST,
    says="An origin server with a clock (as defined in Section 5.6.7) MUST generate a Date header field in all 2xx (Successful), 3xx (Redirection), "
    "and 4xx (Client Error) responses, and MAY generate a Date header field in 1xx (Informational) and 5xx (Server Error) responses.",
    expects="a Date in every response of 2xx, 3xx and 4xx, which tells the time of now",
    bad=Distortion(to_client=rewriting(rb"(?i)\r\ndate:", b"\r\nx-date:")),
)
def date(stage: Stage) -> None:
    began = time.time()
    for what, response in _answers(stage):
        values = response.all(b"date")
        stage.check(values, f"{what}: no Date")
        stage.check(len(values) == 1, f"{what}: {len(values)} lines of Date")
        try:
            told = parsedate_to_datetime(values[0].decode("latin-1")).timestamp()
        except ValueError:
            # That is another case's.
            stage.tell(f"{what}: a Date that cannot be read: {values[0]!r}")
            continue
        # RFC 9110 §6.6.1: "SHOULD generate its field value as the best available approximation".
        if not began - _INACCURACY <= told <= time.time() + _INACCURACY:
            stage.warn(f"{what}: the Date {values[0]!r} is {told - time.time():+.1f} s from now")


@RESPONSE.scenario(
    "h1.resp.date-format",
    "RFC 9110 §5.6.7",
    level=Level.MUST,
    says="When a sender generates a field that contains one or more timestamps defined as HTTP-date, the sender MUST generate those timestamps in "
    "the IMF-fixdate format.",
    expects="a Date in the format of Sun, 06 Nov 1994 08:49:37 GMT",
    bad=Distortion(to_client=rewriting(rb"(?i)\r\ndate: (...), (..) (...) (....) ([0-9:]{8}) GMT", rb"\r\ndate: \1 \3 \2 \5 \4")),
)
def date_format(stage: Stage) -> None:
    seen = 0
    for what, response in _answers(stage):
        for value in response.all(b"date"):
            seen += 1
            stage.check(_IMF_FIXDATE.fullmatch(value), f"{what}: {value!r}")
            try:
                told = parsedate_to_datetime(value.decode("ascii"))
            except ValueError:
                raise Broken(f"{what}: there is no such time: {value!r}") from None
            stage.check(value[:3] == _DAYS[told.weekday()], f"{what}: another day of the week: {value!r}")
    stage.require(seen, "it sends no Date")


@RESPONSE.scenario(
    "h1.resp.date-from-app",
    "RFC 9110 §5.3",
    level=Level.MUST,
    says="This means that, aside from the well-known exception noted below, a sender MUST NOT generate multiple field lines with the same name in a "
    "message (whether in the headers or trailers) or append a field line when a field line of the same name already exists in the message, unless "
    "that field's definition allows multiple field line values to be recombined as a comma-separated list (i.e., at least one alternative of the "
    "field's definition allows a comma-separated list, such as an ABNF rule of #(values) defined in Section 5.6.1).",
    expects="one line of Date where the application sends one, the application's or the server's",
    bad=Distortion(to_client=rewriting(rb"(?i)\r\ndate: [^\r]*", rb"\g<0>\r\ndate: Sun, 06 Nov 1994 08:49:38 GMT")),
)
def date_from_app(stage: Stage) -> None:
    date_of_app = "Sun, 06 Nov 1994 08:49:37 GMT"
    for what, fields in (("with a length", [["content-length", "2"]]), ("without a length", [])):
        response = stage.request(script=[["respond", 200, [["date", date_of_app], *fields], "ok"]])
        values = response.all(b"date")
        stage.check(len(values) == 1, f"{what}: {len(values)} lines of Date: {values!r}")
        if values != [date_of_app.encode()]:
            stage.tell(f"{what}: the server's Date replaces the application's")


@RESPONSE.scenario(
    "h1.resp.server-header",
    "RFC 9110 §10.2.4",
    level=Level.SHOULD,
    says="An origin server SHOULD NOT generate a Server header field containing needlessly fine-grained detail and SHOULD limit the addition of "
    "subproducts by third parties.",
    expects="no Server field, or one with a single product, no comment, and at most two numbers of its version",
    bad=Distortion(to_client=rewriting(rb"(?i)\r\nserver: [^\r]*", rb"\g<0>/1.2.3 (Linux; x86_64) Python/3.12.1")),
)
def server_header(stage: Stage) -> None:
    for what, response in _answers(stage):
        for value in response.all(b"server"):
            stage.check(b"(" not in value, f"{what}: a comment: {value!r}")
            stage.check(len(value.split()) == 1, f"{what}: several products: {value!r}")
            stage.check(not re.search(rb"[0-9]+\.[0-9]+\.[0-9]+", value), f"{what}: the version to its last number: {value!r}")


@RESPONSE.scenario(
    "h1.resp.status-line-space",
    "RFC 9112 §4",
    level=Level.MUST,
    says="A server MUST send the space that separates the status-code from the reason-phrase even when the reason-phrase is absent (i.e., the "
    "status-line would end with the space).",
    expects="a status line with its second space, also for a status that has no reason phrase",
    bad=Distortion(to_client=rewriting(rb"^(HTTP/1.1 [0-9]{3}) [^\r]*", rb"\1")),
)
def status_line_space(stage: Stage) -> None:
    for status, wire in _wires(stage, [(f"{status}", _answer(status)) for status in (299, 200, 499, 599)]):
        line = wire.partition(b"\r\n")[0]
        stage.check(re.fullmatch(rb"HTTP/1\.[01] %b [\t -~\x80-\xff]*" % status.encode(), line), f"{status}: {line!r}")


# What the application says.


@RESPONSE.scenario(
    "h1.resp.connection-headers-from-app",
    "RFC 9112 §9.6",
    "RFC 9110 §7.6.1",
    # The catalogue has SHOULD, as whether the application's options are honoured is the server's affair. What it then sends binds it.
    level=Level.MUST,
    says='A server that sends a "close" connection option MUST initiate closure of the connection (see below) after it sends the response containing '
    'the "close" connection option. The server MUST NOT process any further requests received on that connection.',
    expects="a connection that ends where the response says so, and is kept where it does not, whatever the application asked for",
    bad=Distortion(holds=True),
)
def connection_headers_from_app(stage: Stage) -> None:
    for value in ("close", "Close", "foo, close"):
        with about(f"connection: {value}"):
            _close_from_app(stage, value)
    with about("keep-alive"):
        connection = stage.connect()
        fields = (("connection", "keep-alive"), ("keep-alive", "timeout=5"))
        connection.send(stage.encode_request(script=_answer(200, *fields)))
        response = connection.read_response()
        # RFC 9110 §7.6.1: a field about the connection is to be listed in Connection.
        if response.all(b"keep-alive") and b"keep-alive" not in options(response):
            stage.warn("Keep-Alive is there, and not listed in Connection")
        if not then_another(stage, connection, response) and not response.closes:
            stage.warn("the connection ends behind keep-alive, unannounced")
    with about("keep-alive to a client that wants to close"):
        connection = stage.connect()
        connection.send(stage.encode_request("Connection: close", script=_answer(200, ("connection", "keep-alive"))))
        response = connection.read_response()
        _expect_end(stage, connection, "the client asked for the end of the connection")
        if b"keep-alive" in options(response) and not response.closes:
            stage.warn("it tells keep-alive, and closes as the client asked")


def _close_from_app(stage: Stage, value: str) -> None:
    connection = stage.connect()
    stage.mark()
    # In one write: what stands behind a response that ends the connection must not be processed.
    connection.send(stage.encode_request(script=_answer(200, ("connection", value))) + stage.encode_request(path="/another"))
    response = connection.read_response()
    if response.closes:
        _expect_end(stage, connection, "it says close")
        calls = [record.scope.get("path") for record in stage.records()]
        stage.check("/another" not in calls, "it says close, and processes the next request")
        return
    try:
        stage.check(connection.read_response().status == _OK, "the next request is not answered as itself")
        stage.tell("close of the application is dropped")
    except (Unanswered, ConnectionError):
        # RFC 9112 §9.6: "SHOULD send a close connection option in its final response on that connection".
        stage.warn("it closes without saying so")


@RESPONSE.scenario(
    "h1.resp.1xx-from-app",
    "RFC 9110 §15.2",
    "RFC 9110 §8.6",
    "RFC 9110 §10.1.1",
    "RFC 9112 §6.1",
    level=Level.MUST,
    says="A server MUST NOT send a Content-Length header field in any response with a status code of 1xx (Informational) or 204 (No Content). "
    "[...] A server MUST NOT send a Transfer-Encoding header field in any response with a status code of 1xx (Informational) or 204 (No Content). "
    "[...] A server that sends a 100 (Continue) response MUST ultimately send a final status code, once it receives and processes the request "
    "content, unless the connection is closed prematurely.",
    expects="a final response, after the interim one or instead of it, or the end of the connection; and no length or content of a 1xx",
    bad=Distortion(to_client=rewriting(rb"^HTTP/1.1 500 [^\r]*", b"HTTP/1.1 102 Processing")),
)
def interim_from_app(stage: Stage) -> None:
    for status in (100, 102, 103, 199):
        with about(f"{status}"):
            connection = stage.connect()
            stage.mark()
            connection.send(stage.encode_request(script=[["start", status], ["body", "hello"]]))
            connection.sock.settimeout(_ANSWER_SECONDS)
            try:
                response = connection.read_response()
            except (Unanswered, ConnectionError):
                stage.tell(f"{status}: closed without a final response")
            except TimeoutError:
                raise Broken("no final response") from None
            else:
                stage.check(response.status >= _OK, f"{response.status}")
                then_another(stage, connection, response)
            if not stage.record().send_errors:
                stage.tell(f"{status}: send() raised nothing")


@RESPONSE.scenario(
    "h1.resp.status-range",
    "RFC 9110 §15",
    "RFC 9110 §2.2",
    "RFC 9112 §4",
    level=Level.MUST,
    says="A sender MUST NOT generate protocol elements that do not match the grammar defined by the corresponding ABNF rules. [...] status-code = "
    "3DIGIT [...] All valid status codes are within the range of 100 to 599, inclusive.",
    expects="no such status on the wire: 5xx in its place, or the end of the connection",
    bad=Distortion(to_client=rewriting(rb"^HTTP/1.1 500 ", b"HTTP/1.1 99 ")),
)
def status_range(stage: Stage) -> None:
    statuses = (99, 1000, 0, -1, True, 600, 999)
    for status, wire in _wires(stage, [(f"{status}", [["start", status, [["content-length", "2"]]], ["body", "ok"]]) for status in statuses]):
        if not wire:
            continue
        line = wire.partition(b"\r\n")[0]
        match = re.fullmatch(rb"HTTP/1\.[01] ([0-9]{3}) [\t -~\x80-\xff]*", line)
        if match is not None and match[1].decode() == status:
            # RFC 9110 §15: "Values outside the range 100..599 are invalid." The grammar has those of three digits, and nothing forbids to pass on
            # what the application wants.
            stage.warn(f"{line!r} is passed on")
            continue
        stage.check(match is not None and int(match[1]) in range(_FIRST_FAILURE, 600), f"{status}: {line!r}")


_INJECTED: Final = re.compile(rb"^(?:x-injected|HTTP/1\.1 299|[ \t])", re.IGNORECASE)


@RESPONSE.scenario(
    "h1.resp.crlf-value",
    "RFC 9110 §5.5",
    "RFC 9110 §2.2",
    "RFC 9112 §11.1",
    level=Level.MUST,
    says="Field values containing CR, LF, or NUL characters are invalid and dangerous, due to the varying ways that implementations might parse and "
    "interpret those characters; a recipient of CR, LF, or NUL within a field value MUST either reject the message or replace each of those "
    "characters with SP before further processing or forwarding of that message.",
    expects="the message refused, or the characters replaced or dropped; no line that the application's value makes",
    # Characters that pass, on their way to the server, and what they stand for on the way back.
    bad=Distortion(
        app=sending(lambda message: _translated(message, bytes.maketrans(b"\r\n\0", b"\xf1\xf2\xf3"))),
        to_client=lambda data: data.translate(bytes.maketrans(b"\xf1\xf2\xf3", b"\r\n\0")),
    ),
)
def crlf_value(stage: Stage) -> None:
    values = (
        ("CR LF", "a\r\nx-injected: yes"),
        ("LF", "a\nx-injected: yes"),
        ("CR", "a\rx-injected: yes"),
        ("NUL", "a\0b"),
        ("the end of the head", "a\r\n\r\nHTTP/1.1 299 Injected\r\n\r\n"),
        ("an obs-fold", "a\r\n b"),
        ("LF at the end", "a\n"),
    )
    for what, wire in _wires(stage, [(what, _answer(200, ("x-a", value))) for what, value in values]):
        head = wire.partition(b"\r\n\r\n")[0]
        made = [line for line in re.split(rb"[\r\n]+", wire) if _INJECTED.match(line)]
        stage.check(not made, f"{what}: the value makes a line of its own: {made[:1]!r}")
        stage.check(not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", head), f"{what}: the character is passed on: {head[-80:]!r}")


@RESPONSE.scenario(
    "h1.resp.bad-name",
    "RFC 9110 §5.1",
    "RFC 9110 §2.2",
    level=Level.MUST,
    says="A sender MUST NOT generate protocol elements that do not match the grammar defined by the corresponding ABNF rules. field-name = token.",
    expects="the message refused, or the field dropped; nothing of it on the wire",
    # Daphne's application checker dies of such a name, and no application that fails gets its 500 then.
    spoils=True,
    bad=Distortion(
        app=sending(lambda message: _translated(message, bytes.maketrans(b" :\r\n", b"`^|~"))),
        to_client=lambda data: data.translate(bytes.maketrans(b"`^|~", b" :\r\n")),
    ),
)
def bad_name(stage: Stage) -> None:
    names = {
        "SP inside": "x bad",
        "SP at the end": "x-bad ",
        "a colon": "x:bad",
        "CR LF": "x-a: b\r\nx-bad",
        "LF": "x-a: b\nx-bad",
        "empty": "",
        "NUL": "x\0bad",
        "a delimiter": "x(bad)",
        "no ASCII": "x-b\xe4d",
    }
    for what, wire in _wires(stage, [(what, _answer(200, (name, "smuggled"))) for what, name in names.items()]):
        passed = [line for line in wire.partition(b"\r\n\r\n")[0].split(b"\r\n") if b"smuggled" in line]
        mended = what == "SP at the end" and [line.lower() for line in passed] == [b"x-bad: smuggled"]
        stage.check(not passed or mended, f"{what}: {passed[:1]!r} is on the wire")
        if mended:
            stage.tell(f"{what}: the SP is dropped")


def _translated(message: dict[str, Any], table: bytes) -> dict[str, Any]:
    """``message`` with other characters in the names and values of its fields."""
    if "headers" not in message:
        return message
    return message | {"headers": [[bytes(part).translate(table) for part in pair] for pair in message["headers"]]}


def _sorted(message: dict[str, Any]) -> dict[str, Any]:
    return message | {"headers": sorted(message["headers"])} if "headers" in message else message


def _joined(message: dict[str, Any]) -> dict[str, Any]:
    """The cookies of ``message`` in one field."""
    if "headers" not in message:
        return message
    others = [pair for pair in message["headers"] if pair[0] != b"set-cookie"]
    cookies = [pair[1] for pair in message["headers"] if pair[0] == b"set-cookie"]
    return message | {"headers": [*others, [b"set-cookie", b", ".join(cookies)]] if cookies else others}


@RESPONSE.scenario(
    "h1.resp.header-order",
    "ASGI www, Response Start",
    level=Level.MUST,
    says="headers (Iterable[[byte string, byte string]]) -- An iterable of [name, value] two-item iterables, where name is the header name, and "
    "value is the header value. Order must be preserved in the HTTP response.",
    expects="the application's fields in its order",
    bad=Distortion(app=sending(_sorted)),
)
def header_order(stage: Stage) -> None:
    given = (("x-2", "b"), ("set-cookie", "z=1"), ("x-1", "a"), ("set-cookie", "a=2"), ("content-type", "text/plain"), ("x-0", "c"))
    response = stage.request(script=_answer(200, *given))
    wanted = [(name.encode(), value.encode()) for name, value in given]
    names = {name for name, _ in wanted}
    seen = [(name, value) for name, value in response.fields if name in names]
    stage.check(seen == wanted, f"{seen!r}")


@RESPONSE.scenario(
    "h1.resp.set-cookie-not-joined",
    "ASGI www, HTTP",
    "RFC 9110 §5.3",
    level=Level.MUST,
    says="For the Set-Cookie header in HTTP/1.0, HTTP/1.1 and HTTP2.0, it may appear repeatedly, but cannot be concatenated by commas (or anything "
    "else) into a single header field.",
    expects="one line for each cookie",
    bad=Distortion(app=sending(_joined)),
)
def set_cookie_not_joined(stage: Stage) -> None:
    cookies = ("a=1; Path=/", "b=2; Expires=Sun, 06 Nov 1994 08:49:37 GMT", "a=1; Path=/")
    response = stage.request(script=_answer(200, *(("set-cookie", cookie) for cookie in cookies)))
    seen = response.all(b"set-cookie")
    stage.check(seen == [cookie.encode() for cookie in cookies], f"{seen!r}")


# What the server answers by itself.


@RESPONSE.scenario(
    "h1.resp.405-allow",
    "RFC 9110 §15.5.6",
    level=Level.MUST,
    says="The origin server MUST generate an Allow header field in a 405 response containing a list of the target resource's currently supported "
    "methods.",
    expects="an Allow field in every 405 of the server's own",
    bad=Distortion(to_client=rewriting(rb"^HTTP/1.1 [245]0[01] [^\r]*", b"HTTP/1.1 405 Method Not Allowed")),
)
def not_allowed(stage: Stage) -> None:
    shake_hands = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    seen = 0
    for what, line, fields in (
        ("TRACE", "TRACE / HTTP/1.1", ()),
        ("CONNECT", "CONNECT a.example:80 HTTP/1.1", ()),
        ("an unknown method", "BREW / HTTP/1.1", ()),
        ("a WebSocket handshake by POST", "POST / HTTP/1.1", (*shake_hands, "Content-Length: 0")),
    ):
        with about(what):
            response = _own(stage, *fields, request=line)
            if response is not None and response.status == _NOT_ALLOWED:
                seen += 1
                stage.check(response.all(b"allow"), "405 without Allow")
    stage.require(seen, "it has no 405 of its own")


@RESPONSE.scenario(
    "h1.resp.426-upgrade",
    "RFC 9110 §15.5.22",
    "RFC 9110 §7.8",
    level=Level.MUST,
    says="The server MUST send an Upgrade header field in a 426 response to indicate the required protocol(s) (Section 7.8).",
    expects="an Upgrade field, and its connection option, in every 426 of the server's own",
    bad=Distortion(to_client=rewriting(rb"(?i)\r\nupgrade:", b"\r\nx-upgrade:")),
    needs=("websocket",),
)
def upgrade_required(stage: Stage) -> None:
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    statuses = []
    for what, version in (
        ("version 12", ["Sec-WebSocket-Version: 12"]),
        ("version 0", ["Sec-WebSocket-Version: 0"]),
        ("no version", []),
    ):
        with about(what):
            response = _own(stage, "Connection: Upgrade", "Upgrade: websocket", key, *version)
            statuses.append("closed" if response is None else f"{response.status}")
            if response is None or response.status != _UPGRADE_REQUIRED:
                continue
            protocols = [protocol.strip().lower() for value in response.all(b"upgrade") for protocol in value.split(b",")]
            stage.check(b"websocket" in protocols, f"426 with Upgrade {protocols!r}")
            # RFC 9110 §7.8: "A sender of Upgrade MUST also send an Upgrade connection option".
            stage.check(b"upgrade" in options(response), "426 with Upgrade, which is not listed in Connection")
    stage.require("426" in statuses, f"it answers a wrong version with {', '.join(statuses)}, and never with 426")


@RESPONSE.scenario(
    "h1.resp.4xx-body",
    "RFC 9110 §15.5",
    "RFC 9110 §6.4.1",
    level=Level.SHOULD,
    says="Except when responding to a HEAD request, the server SHOULD send a representation containing an explanation of the error situation, and "
    "whether it is a temporary or permanent condition.",
    expects="a few words for the client in each response of 4xx that is the server's own",
    bad=Distortion(to_client=rewriting(rb"(?is)^(HTTP/1.1 4.*\r\ncontent-length: )[0-9]+(\r\n.*?\r\n\r\n).*", rb"\g<1>0\2")),
)
def refusal_body(stage: Stage) -> None:
    seen = 0
    for what, lines in (
        ("no Host", ["GET / HTTP/1.1"]),
        ("a line without a colon", ["GET / HTTP/1.1", "Host: a.example", "this line has no colon"]),
        ("two lengths", ["POST / HTTP/1.1", "Host: a.example", "Content-Length: 5", "Content-Length: 6"]),
    ):
        connection = stage.connect(timeout=_END_SECONDS)
        connection.send("\r\n".join([*lines, "", ""]).encode())
        try:
            response = connection.read_response()
        except (Unanswered, ConnectionError, TimeoutError):
            # Whether it must answer is another case's.
            continue
        if response.status in _REFUSALS:
            seen += 1
            stage.check(response.body, f"{what}: {response.status} without a word")
    stage.require(seen, "it refuses nothing with an answer")


@RESPONSE.scenario(
    "h1.resp.5xx-body",
    "RFC 9110 §15.6",
    level=Level.SHOULD,
    says="Except when responding to a HEAD request, the server SHOULD send a representation containing an explanation of the error situation, and "
    "whether it is a temporary or permanent condition.",
    expects="a 500 with a few words for the client, and none for the attacker: no traceback, no text of the exception",
    bad=Distortion(to_client=rewriting(rb"(?is)^(HTTP/1.1 500 .*\r\ncontent-length: )[0-9]+(\r\n.*?\r\n\r\n).*", rb"\g<1>0\2")),
)
def failure_body(stage: Stage) -> None:
    connection = stage.connect(timeout=_END_SECONDS)
    connection.send(stage.encode_request(script=[["raise", "ValueError", "the text of the exception"]]))
    try:
        response = connection.read_response()
    except (Unanswered, ConnectionError, TimeoutError):
        # Whether it must answer is another case's.
        stage.require(None, "it does not answer where an application fails")
        return
    stage.check(response.status >= _FIRST_FAILURE, f"{response.status}")
    stage.check(response.body, f"{response.status} without a word")
    for secret in (b"Traceback (most recent call last)", b"ValueError", b"the text of the exception"):
        stage.check(secret not in response.body, f"{secret.decode()!r} is shown to the client")
