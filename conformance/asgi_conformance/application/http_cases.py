"""HTTP semantics: the same request in its variations (catalogue A2; ASGI www.rst and RFC 9110).

The law of this module: as `asgi_conformance.application.case`. A stimulus that goes over the wire is one that HTTP allows; what only a scope can have
is tried in process alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from asgi_conformance.application.case import BOTH, ApplicationTopic, Takes
from asgi_conformance.application.exchange import Request
from asgi_conformance.application.routes import Route
from asgi_conformance.case import Level

if TYPE_CHECKING:
    from asgi_conformance.application.exchange import Answer
    from asgi_conformance.application.trial import Trial

__all__ = ["HTTP", "REQUESTS"]

HTTP: Final = ApplicationTopic("application/http", "HTTP semantics of an application")
REQUESTS: Final = ApplicationTopic("application/requests", "Odd requests to an application")

_NOT_FOUND: Final = 404
_METHOD_NOT_ALLOWED: Final = 405
_NOT_IMPLEMENTED: Final = 501
_NOT_MODIFIED: Final = 304
_PARTIAL: Final = 206
_UNSATISFIABLE: Final = 416
_OK: Final = 200
_SERVER_ERRORS: Final = 500
_NOWHERE: Final = "/asgi-conformance-6f1c2a/nowhere"
_LONG: Final = 8000
"""Characters of a path that servers let pass: RFC 9110 §4.1 asks for 8000 octets of a URI at least."""


@HTTP.case(
    "app.http.baseline",
    "ASGI www, Response Start",
    "ASGI www, Response Body",
    level=Level.MUST,
    says="A request gets a complete response: one start, then a body to its end.",
    takes=Takes.EVERY,
    ways=BOTH,
)
async def baseline(trial: Trial, route: Route) -> str:
    """The route as given."""
    answer = (await trial.reference(route)).answer
    trial.expect(not answer.failure, str(answer))
    if answer.crashed or answer.refused:
        trial.discourage(f"answers {answer}: the other cases have no use for it")
    return f"answers {answer}{', a stream without end' if answer.endless else ''}"


def _whole(trial: Trial, answer: Answer, what: str) -> None:
    """Expect a response, and neither an exception nor a 5xx."""
    trial.expect(not answer.crashed, f"{what}: {answer}")


# Methods.


@HTTP.case(
    "app.http.head",
    "RFC 9110 §9.3.2",
    level=Level.SHOULD,
    says="The server SHOULD send the same header fields in response to a HEAD request as it would have sent if the request method had been GET.",
    takes=Takes.READ,
    ways=BOTH,
)
async def head(trial: Trial, route: Route) -> str:
    """HEAD of a GET route."""
    plain = (await trial.reference(route)).answer
    answer = await trial.ask(Request(route, method="HEAD"))
    if answer.status in {_METHOD_NOT_ALLOWED, _NOT_IMPLEMENTED, _NOT_FOUND}:
        trial.skip(f"HEAD is answered with {answer.status} (see app.http.head-405)")
    trial.expect(not answer.failure and answer.status == plain.status, f"HEAD: {answer}; GET: {plain}")
    for name in (b"content-type", b"content-encoding", b"etag", b"last-modified"):
        if plain.one(name) and answer.one(name):
            kept = plain.one(name) == answer.one(name)
            trial.expect(kept, f"HEAD: {name.decode()} is {answer.one(name)!r}; GET: {plain.one(name)!r}")
    length, body = answer.one(b"content-length"), plain.one(b"content-length")
    # "or absent": RFC 9110 §9.3.2 lets a server leave out what is known only while the content is made.
    if length and body and (await trial.reference(route)).stable:
        trial.expect(length == body, f"HEAD: content-length is {length.decode()}; GET: {body.decode()}")
    missing = [name.decode() for name in (b"content-type",) if plain.one(name) and not answer.one(name)]
    if missing:
        trial.discourage(f"HEAD: without {', '.join(missing)}, which GET has")
    return "the same status and fields"


@HTTP.case(
    "app.http.head-405",
    "RFC 9110 §9.1",
    level=Level.SHOULD,
    says="All general-purpose servers MUST support the methods GET and HEAD.",
    takes=Takes.READ,
    ways=BOTH,
)
async def head_is_supported(trial: Trial, route: Route) -> str:
    """HEAD where GET is answered."""
    answer = await trial.ask(Request(route, method="HEAD"))
    trial.expect(not answer.failure and answer.status not in {_METHOD_NOT_ALLOWED, _NOT_IMPLEMENTED}, f"HEAD: {answer}; GET is answered")
    return f"HEAD: {answer}"


@HTTP.case(
    "app.http.options",
    "RFC 9110 §9.3.7",
    "RFC 9110 §15.5.6",
    level=Level.SHOULD,
    says="A server generating a successful response to OPTIONS SHOULD send any header that might indicate optional features; a 405 has Allow.",
    takes=Takes.READ,
    ways=BOTH,
)
async def options(trial: Trial, route: Route) -> str:
    """OPTIONS of a GET route."""
    answer = await trial.ask(Request(route, method="OPTIONS"))
    _whole(trial, answer, "OPTIONS")
    if answer.status == _METHOD_NOT_ALLOWED:
        trial.expect(answer.all(b"allow"), "OPTIONS: a 405 without Allow")
    elif answer.ok and not answer.all(b"allow") and not answer.all(b"access-control-allow-methods"):
        trial.discourage(f"OPTIONS: {answer.status} without Allow")
    return f"OPTIONS: {answer}"


@HTTP.case(
    "app.http.unknown-method",
    "RFC 9110 §9.1",
    "RFC 9110 §15.5.6",
    level=Level.SHOULD,
    says="An origin server that receives a method that is unrecognized or not implemented SHOULD respond with 501, one that is not allowed with 405.",
    takes=Takes.READ,
    ways=BOTH,
)
async def unknown_method(trial: Trial, route: Route) -> str:
    """A method that nobody knows."""
    answer = await trial.ask(Request(route, method="FROBNICATE"))
    trial.expect(not answer.failure and not answer.raised, f"FROBNICATE: {answer}")
    if answer.status == _METHOD_NOT_ALLOWED:
        trial.expect(answer.all(b"allow"), "FROBNICATE: a 405 without Allow")
    else:
        fine = answer.refused or answer.status == _NOT_IMPLEMENTED
        trial.expect(fine, f"FROBNICATE: {answer}; expected 405 or 501")
    return f"FROBNICATE: {answer}"


@HTTP.case(
    "app.http.unknown-path",
    "RFC 9110 §15.5.5",
    level=Level.SHOULD,
    says="The 404 (Not Found) status code indicates that the origin server did not find a current representation for the target resource.",
    takes=Takes.NOTHING,
    ways=BOTH,
)
async def unknown_path(trial: Trial, _route: None) -> str:
    """A path that no application has."""
    answer = await trial.ask(Route("GET", _NOWHERE))
    _whole(trial, answer, _NOWHERE)
    if not answer.refused:
        trial.discourage(f"{_NOWHERE}: {answer}; an application that answers everything hides typing errors")
    return f"{answer}"


# Validators and ranges.


@HTTP.case(
    "app.http.conditional",
    "RFC 9110 §13.1.2",
    "RFC 9110 §13.1.3",
    "RFC 9110 §15.4.5",
    level=Level.SHOULD,
    says="If the condition is false, the server SHOULD respond with 304 (Not Modified), which has the same ETag and no content.",
    takes=Takes.READ,
    ways=BOTH,
)
async def conditional(trial: Trial, route: Route) -> str:
    """The validators that the route sent, sent back."""
    plain = (await trial.reference(route)).answer
    tried = []
    for validator, condition in ((b"etag", b"if-none-match"), (b"last-modified", b"if-modified-since")):
        value = plain.one(validator)
        if not value:
            continue
        name = condition.decode()
        answer = await trial.ask(Request(route, fields=((condition, value),)))
        _whole(trial, answer, name)
        tried.append(name)
        trial.expect(answer.status == _NOT_MODIFIED, f"{name}: {value.decode('latin-1')} gets {answer}; expected 304")
        trial.expect(not answer.body, f"{name}: a 304 with content")
        if plain.one(b"etag"):
            own, kept = answer.one(b"etag"), plain.one(b"etag")
            trial.expect(own == kept, f"{name}: the 304 has the ETag {own!r}, the 200 {kept!r}")
        wanted = (b"cache-control", b"vary", b"content-location", b"expires")
        lost = [field.decode() for field in wanted if plain.one(field) and not answer.one(field)]
        trial.expect(not lost, f"{name}: the 304 lacks {', '.join(lost)}, which the 200 has")
    if not tried:
        trial.skip("sends no validator (ETag, Last-Modified)")
    return f"304 for {' and '.join(tried)}"


@HTTP.case(
    "app.http.range",
    "RFC 9110 §14.2",
    "RFC 9110 §15.3.7",
    "RFC 9110 §15.5.17",
    level=Level.SHOULD,
    says="A 206 has the Content-Range and the bytes that were asked for; a 416 says how long the representation is.",
    takes=Takes.READ,
    ways=BOTH,
)
async def byte_range(trial: Trial, route: Route) -> str:
    """A range of a route that said that it has them."""
    reference = await trial.reference(route)
    whole = reference.answer.body
    if b"bytes" not in reference.answer.one(b"accept-ranges").lower():
        trial.skip("does not send Accept-Ranges: bytes")
    if len(whole) < 3 or not reference.stable:  # noqa: PLR2004 - a range is less than all
        trial.skip("has too little content, or another each time")
    size = len(whole)
    end = size - 1
    for asked, first, last in ((b"bytes=1-1", 1, 1), (b"bytes=-1", end, end), (b"bytes=1-", 1, end), (b"bytes=0-999999999", 0, end)):
        answer = await trial.ask(Request(route, fields=((b"range", asked),)))
        what = f"Range: {asked.decode()}"
        _whole(trial, answer, what)
        if answer.status == _OK:
            trial.expect(answer.body == whole, f"{what}: 200, and not all of the content")
            continue
        trial.expect(answer.status == _PARTIAL, f"{what}: {answer}; expected 206 or 200")
        wanted = f"bytes {first}-{last}/{size}".encode()
        trial.expect(answer.one(b"content-range") == wanted, f"{what}: content-range is {answer.one(b'content-range')!r}; expected {wanted!r}")
        trial.expect(answer.body == whole[first : last + 1], f"{what}: other bytes than those of the range")
    answer = await trial.ask(Request(route, fields=((b"range", b"bytes=%d-" % (size + 1)),)))
    _whole(trial, answer, "a Range behind the end")
    trial.expect(answer.status in {_OK, _UNSATISFIABLE}, f"a Range behind the end: {answer}; expected 416 or 200")
    if answer.status == _UNSATISFIABLE and answer.one(b"content-range") != b"bytes */%d" % size:
        trial.discourage(f"a 416 with content-range {answer.one(b'content-range')!r}; expected bytes */{size}")
    return "206 with the right bytes, or 200"


@HTTP.case(
    "app.http.etag-stable",
    "RFC 9110 §8.8.3",
    "RFC 9110 §12.5.5",
    level=Level.SHOULD,
    says="A strong entity tag is the same for the same bytes, and another one for another content coding, which Vary names.",
    takes=Takes.READ,
    ways=BOTH,
)
async def etag_stable(trial: Trial, route: Route) -> str:
    """Twice as it is, and with Accept-Encoding."""
    first = await trial.ask(Request(route, fields=((b"accept-encoding", b"identity"),)))
    again = await trial.ask(Request(route, fields=((b"accept-encoding", b"identity"),)))
    packed = await trial.ask(Request(route, fields=((b"accept-encoding", b"gzip"),)))
    coded = packed.one(b"content-encoding") not in {b"", b"identity"}
    tag = first.one(b"etag")
    if not tag and not coded:
        trial.skip("sends neither an ETag nor another content coding")
    if tag and first.body == again.body:
        trial.expect(again.one(b"etag") == tag, f"the same content has the ETags {tag!r} and {again.one(b'etag')!r}")
    if tag and first.body != again.body and not tag.startswith(b"W/"):
        trial.expect(again.one(b"etag") != tag, f"another content has the same strong ETag {tag!r}")
    if coded:
        strong = tag and not tag.startswith(b"W/")
        trial.expect(not strong or packed.one(b"etag") != tag, f"the content coded with gzip has the strong ETag {tag!r} of the one that is not")
        vary = b",".join((*packed.all(b"vary"),)).lower()
        trial.expect(b"accept-encoding" in vary or b"*" in vary, "the content depends on Accept-Encoding, and Vary does not say so")
    return "the same for the same bytes"


# Versions, and where the application is mounted.


@HTTP.case(
    "app.http.http10",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says='http_version is one of "1.0", "1.1" or "2"; a request over HTTP/1.0 may have no Host.',
    takes=Takes.READ,
    ways=BOTH,
)
async def http10(trial: Trial, route: Route) -> str:
    """HTTP/1.0 without Host."""
    answer = await trial.ask(Request(route, http_version="1.0", with_host=False))
    _whole(trial, answer, "HTTP/1.0 without Host")
    return f"{answer}"


@HTTP.case(
    "app.http.http2-scope",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says='http_version is one of "1.0", "1.1" or "2"; the value of :authority is added to the start of the headers as host.',
    takes=Takes.ANY,
)
async def http2_scope(trial: Trial, route: Route) -> str:
    """HTTP/2, with the host first."""
    answer = await trial.ask(Request(route, http_version="2"))
    trial.same(await trial.reference(route), answer, "http_version 2")
    return "the same response"


@HTTP.case(
    "app.http.https-scheme",
    "ASGI www, HTTP Connection Scope",
    level=Level.SHOULD,
    says="The scheme of the scope is that of the absolute URLs that the application makes for itself.",
    takes=Takes.EVERY,
)
async def https_scheme(trial: Trial, route: Route) -> str:
    """Scheme https, and a path without its slash, which many redirect."""
    host = trial.subject.host.encode("latin-1")
    made = 0
    slashed = route.target.rstrip("/") if route.target.endswith("/") and route.target != "/" else f"{route.target.partition('?')[0]}/"
    for asked in (route, replace(route, method="GET", target=slashed, body=b"", content_type=b"")):
        plain = (await trial.reference(asked)).answer
        if plain.endless or plain.crashed:
            continue
        answer = await trial.ask(Request(asked, changes={"scheme": "https"}))
        _whole(trial, answer, f"{asked} with the scheme https")
        location = answer.one(b"location")
        trial.expect(not location.startswith(b"http://" + host), f"{asked}: location is {location!r} under https")
        made += location.startswith(b"https://" + host)
        trial.expect(b'"http://' + host not in answer.body, f"{asked}: the content has a URL http://{host.decode()} under https")
        made += b'"https://' + host in answer.body
    if not made:
        trial.skip("makes no absolute URL of its own")
    return "its absolute URLs have https"


@HTTP.case(
    "app.http.root-path",
    "ASGI www, HTTP Connection Scope",
    # What the application is to do with it is nowhere written.
    level=Level.SHOULD,
    says="root_path is the path that the application is mounted at, the same as SCRIPT_NAME in WSGI; its links and redirects begin with it.",
    takes=Takes.READ,
)
async def root_path(trial: Trial, route: Route) -> str:
    """Mounted at /p."""
    prefix = "/p"
    mounted = {"root_path": prefix, "path": prefix + route.path, "raw_path": prefix.encode() + route.raw_path}
    reference = await trial.reference(route)
    answer = await trial.ask(Request(route, changes=mounted))
    _whole(trial, answer, "mounted at /p")
    difference = reference.difference(answer)
    location = answer.one(b"location")
    if location.startswith(b"/"):
        trial.expect(location.startswith(prefix.encode()), f"mounted at /p: location is {location!r}")
        return f"redirects to {location.decode('latin-1')}"
    # Content may have links, which differ then.
    trial.expect(not difference or answer.status == reference.answer.status, f"mounted at /p: {difference}")
    return "the same response"


# Odd requests.


@REQUESTS.case(
    "app.http.odd-paths",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says="path is the request target with percent-encoded sequences and UTF-8 byte sequences decoded into characters: any characters.",
    takes=Takes.NOTHING,
    ways=BOTH,
)
async def odd_paths(trial: Trial, _route: None) -> str:
    """Paths that clients may send."""
    targets = ["//", "/../", "/..%2f", "/%00", "/%E4%BD%A0", "/%ff", "/a%0d%0ab", "/.", "/;a=b", "/" + "x" * _LONG]
    for target in targets:
        route = Route("GET", target)
        answer = await trial.ask(route)
        _whole(trial, answer, f"the path {target if len(target) < _LONG else f'of {_LONG} characters'}")
    if not trial.is_live:
        for path, raw in (("", b""), ("/\udcff", b"/\xff")):
            answer = await trial.ask(Request(Route("GET", "/"), changes={"path": path, "raw_path": raw}), lawful=False)
            what = f"the path {path!a}"
            if answer.raised or answer.failure:
                # No text says what a server makes of a path that is empty, or of bytes that are no UTF-8; these are two ways.
                trial.discourage(f"{what}: {answer}")
    return "answers each"


@REQUESTS.case(
    "app.http.odd-query",
    "ASGI www, HTTP Connection Scope",
    level=Level.MUST,
    says="query_string is the portion of the URL after the ?, percent-encoded: bytes, whatever they are.",
    takes=Takes.READ,
    ways=BOTH,
)
async def odd_query(trial: Trial, route: Route) -> str:
    """Queries that clients may send."""
    path = route.target.partition("?")[0]
    for query in ("", "&&=", "%zz", "%", "a=%ff%fe", "a=1&a=2&a", "=", "a=%00", "a[]=1&a[b]=2", "x=" + "y" * _LONG):
        answer = await trial.ask(replace(route, target=f"{path}?{query}"))
        _whole(trial, answer, f"the query {query[:20]!r}")
    if not trial.is_live:
        answer = await trial.ask(Request(route, changes={"query_string": b"a=\xff\xfe&b=\xe4"}))
        if answer.crashed:
            # Clients send it and servers let it pass, but percent-encoded it is not.
            trial.discourage(f"a query with bytes above 127: {answer}")
    return "answers each"


@REQUESTS.case(
    "app.http.odd-headers",
    "ASGI www, HTTP Connection Scope",
    "RFC 9110 §5.5",
    level=Level.MUST,
    says="Duplicates are possible and must be preserved; a field value may have any bytes above 127 (obs-text).",
    takes=Takes.READ,
    ways=BOTH,
)
async def odd_headers(trial: Trial, route: Route) -> str:
    """Fields that clients may send."""
    sets: dict[str, tuple[tuple[bytes, bytes], ...]] = {
        "a value in latin-1": ((b"x-name", b"caf\xe9"),),
        "a value that is no UTF-8": ((b"x-name", b"\xff\xfe"),),
        "an empty value": ((b"x-empty", b""),),
        "an empty cookie": ((b"cookie", b""),),
        "a cookie in latin-1": ((b"cookie", b"a=caf\xe9; b=2"),),
        "a broken cookie": ((b"cookie", b"=; ;a; b=\x22c"),),
        "60 fields of one name": ((b"x-many", b"1"),) * 60,
        "a broken Accept": ((b"accept", b";;q=,/"),),
        "a broken Accept-Language": ((b"accept-language", b"\xff;q=x"),),
        "a broken Authorization": ((b"authorization", b"Basic \xff\xff"),),
        "a broken Range": ((b"range", b"bytes=a-b"),),
        "a broken date": ((b"if-modified-since", b"yesterday"),),
        "a broken entity tag": ((b"if-none-match", b'W/"'),),
        "a broken Content-Type without a body": ((b"content-type", b";"),),
    }
    if not trial.is_live:
        # Over HTTP/1.1 a client sends one (RFC 6265 §5.4); over HTTP/2 it may send several (RFC 9113 §8.2.3).
        sets["two cookie fields"] = ((b"cookie", b"a=1"), (b"cookie", b"b=2"))
    for name, fields in sets.items():
        answer = await trial.ask(Request(route, fields=fields, http_version="2" if name == "two cookie fields" else "1.1"))
        _whole(trial, answer, name)
    return "answers each"


@REQUESTS.case(
    "app.http.bad-content-type",
    "RFC 9110 §15.5.16",
    "RFC 9110 §15.5.1",
    level=Level.SHOULD,
    says="Content in an unsupported format gets 415, a malformed one 400; the fault is the client's.",
    takes=Takes.WRITE,
    ways=BOTH,
)
async def bad_content_type(trial: Trial, route: Route) -> str:
    """Bodies that are not what they say."""
    tried = {
        "a broken Content-Type": (b";;/", b"x"),
        "an unknown Content-Type": (b"application/x-nobody-knows", b"\x00\xff"),
        "broken JSON": (b"application/json", b'{"a":'),
        "JSON that is no UTF-8": (b"application/json", b'"\xff"'),
        "multipart without a boundary": (b"multipart/form-data", b"--x\r\n\r\n"),
        "broken multipart": (b"multipart/form-data; boundary=x", b"--y\r\nContent-Dis"),
        "a broken form": (b"application/x-www-form-urlencoded", b"%zz=&&%ff"),
        "an unknown charset": (b"application/json; charset=nobody", b"{}"),
    }
    for name, (content_type, body) in tried.items():
        answer = await trial.ask(replace(route, content_type=content_type, body=body))
        _whole(trial, answer, name)
    return "no 5xx"
