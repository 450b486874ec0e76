"""HTTP/1.1: which transfer codings a request has (RFC 9112 §6.1, §6.3 and §7)."""

from __future__ import annotations

import gzip
from typing import Final

from asgi_conformance.case import Level, Stimulus, Topic
from asgi_conformance.outcomes import closing, rejected, served
from asgi_conformance.suite.pieces import REFUSES, post, told

__all__ = ["TRANSFER_ENCODING"]

TRANSFER_ENCODING: Final = Topic("http1/transfer-encoding", "HTTP/1.1: Transfer-Encoding")

_CHUNKS: Final = b"5\r\nhello\r\n0\r\n\r\n"
_HELLO: Final = told(method="POST", body=b"hello")
_EMPTY: Final = told(method="POST")

# RFC 9112 §6.1, §6.3 (4) and §7.1.
_NOT_FINAL: Final = (
    "If a Transfer-Encoding header field is present in a request and the chunked transfer coding is not the final encoding, the message body length "
    "cannot be determined reliably; the server MUST respond with the 400 (Bad Request) status code and then close the connection."
)
_UNKNOWN: Final = "A server that receives a request message with a transfer coding it does not understand SHOULD respond with 501 (Not Implemented)."
_BOTH: Final = (
    "A server MAY reject a request that contains both Content-Length and Transfer-Encoding or process such a request in accordance with the "
    "Transfer-Encoding alone. Regardless, the server MUST close the connection after responding to such a request to avoid the potential attacks."
)


def _coded(label: str, *values: bytes, body: bytes = _CHUNKS, more: tuple[bytes, ...] = ()) -> Stimulus:
    """A POST with a Transfer-Encoding line for each of ``values``."""
    return post(label, *(b"Transfer-Encoding: " + value for value in values), *more, body=body)


TRANSFER_ENCODING.case(
    "h1.te.chunked",
    "RFC 9112 §7.1",
    "RFC 9112 §6.1",
    level=Level.MUST,
    says="A recipient MUST be able to parse and decode the chunked transfer coding.",
    send=[
        _coded("one chunk", b"chunked"),
        _coded("several chunks", b"chunked", body=b"1\r\nh\r\n2\r\nel\r\n2\r\nlo\r\n0\r\n\r\n"),
        _coded("a last chunk of several zeros", b"chunked", body=b"5\r\nhello\r\n000\r\n\r\n"),
    ],
    allow=[served(method="POST", body=b"hello")],
    bad=_EMPTY,
)
TRANSFER_ENCODING.case(
    "h1.te.case",
    "RFC 9112 §7",
    level=Level.MUST,
    says="All transfer-coding names are case-insensitive [...].",
    send=[_coded("mixed", b"cHuNkEd"), _coded("capitals", b"CHUNKED"), post("the name of the field", b"tRANSFER-eNCODING: chunked", body=_CHUNKS)],
    allow=[served(method="POST", body=b"hello")],
    bad=REFUSES,
)
TRANSFER_ENCODING.case(
    "h1.te.ows",
    "RFC 9112 §5.1",
    "RFC 9110 §5.5",
    level=Level.MUST,
    says="The field line value does not include that leading or trailing whitespace.",
    send=[
        _coded("a space behind it", b"chunked "),
        _coded("a tab behind it", b"chunked\t"),
        _coded("both around it", b"\t chunked \t"),
        post("nothing before it", b"Transfer-Encoding:chunked", body=_CHUNKS),
    ],
    allow=[served(method="POST", body=b"hello")],
    bad=_EMPTY,
)
TRANSFER_ENCODING.case(
    "h1.te.te-and-cl",
    "RFC 9112 §6.1",
    "RFC 9112 §6.3 (3)",
    level=Level.MUST,
    says=_BOTH,
    send=[
        _coded("a length that fits the chunks", b"chunked", more=(b"Content-Length: 15",)),
        _coded("a length that fits the content", b"chunked", more=(b"Content-Length: 5",)),
        _coded("a length of zero", b"chunked", more=(b"Content-Length: 0",)),
        post("the length first", b"Content-Length: 15", b"Transfer-Encoding: chunked", body=_CHUNKS),
    ],
    allow=[rejected(400, 501), closing(served(method="POST", body=b"hello"))],
    # Reads the chunks, and goes on.
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.not-final",
    "RFC 9112 §6.3 (4)",
    level=Level.MUST,
    says=_NOT_FINAL,
    send=[_coded("gzip behind chunked", b"chunked, gzip"), _coded("on a second line", b"chunked", b"gzip")],
    # RFC 9112 §6.1 has 501 for gzip.
    allow=[rejected(400, 501)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.double-chunked",
    "RFC 9112 §6.1",
    level=Level.SHOULD,
    says="A sender MUST NOT apply the chunked transfer coding more than once to a message body (i.e., chunking an already chunked message is not "
    "allowed).",
    send=[_coded("in a list", b"chunked, chunked"), _coded("on two lines", b"chunked", b"chunked"), _coded("around gzip", b"chunked, gzip, chunked")],
    allow=[rejected(400, 501)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.unknown",
    "RFC 9112 §6.3 (4)",
    "RFC 9112 §6.1",
    level=Level.MUST,
    says=_NOT_FINAL,
    send=[
        _coded("gzip alone", b"gzip"),
        _coded("what nobody registered", b"xchunked"),
        _coded("the begin of chunked", b"chunke"),
        _coded("chunked and more", b"chunkedx"),
        _coded("chunked in quotes", b'"chunked"'),
    ],
    allow=[rejected(501, 400)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.gzip-chunked",
    "RFC 9112 §6.1",
    level=Level.SHOULD,
    says=_UNKNOWN,
    send=[
        _coded("gzip, then chunked", b"gzip, chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(zipped := gzip.compress(b"hello", mtime=0)), zipped)),
    ],
    allow=[rejected(501), served("gzip undone", method="POST", body=b"hello")],
    warn=[rejected(400)],
    bad=told(method="POST", body=zipped),
)
TRANSFER_ENCODING.case(
    "h1.te.identity",
    "RFC 9112 §6.3 (4)",
    "RFC 9112 §6.1",
    level=Level.MUST,
    says=_NOT_FINAL,
    # RFC 2616 had it; the registry of RFC 9112 §7.3 does not.
    send=[_coded("alone", b"identity", body=b""), _coded("with a length", b"identity", body=b"hello", more=(b"Content-Length: 5",))],
    allow=[rejected(400, 501)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.empty",
    "RFC 9112 §6.3 (4)",
    "RFC 9112 §6.1",
    level=Level.MUST,
    says=_NOT_FINAL,
    send=[
        _coded("nothing, with a length", b"", body=b"hello", more=(b"Content-Length: 5",)),
        _coded("a comma, with a length", b",", body=b"hello", more=(b"Content-Length: 5",)),
    ],
    allow=[rejected(400)],
    warn=[rejected(501)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.empty-elements",
    "RFC 9110 §5.6.1.2",
    "RFC 9112 §11.2",
    # RFC 9110 lets no server refuse them; most do all the same, as ", chunked" was read as chunked by some and not by others, and smuggled through.
    level=Level.CONFLICT,
    says="A recipient MUST parse and ignore a reasonable number of empty list elements.",
    send=[_coded("before it", b", chunked"), _coded("behind it", b"chunked,")],
    allow=[served(method="POST", body=b"hello"), rejected(400, 501)],
    bad=_EMPTY,
)
TRANSFER_ENCODING.case(
    "h1.te.two-lines",
    "RFC 9112 §6.3 (4)",
    "RFC 9110 §5.2",
    level=Level.MUST,
    says=_NOT_FINAL,
    send=[_coded("identity on a second line", b"chunked", b"identity"), _coded("nonsense on a second line", b"chunked", b"x")],
    allow=[rejected(400, 501)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.params",
    "RFC 9112 §7.1",
    level=Level.SHOULD,
    says="The chunked coding does not define any parameters. Their presence SHOULD be treated as an error.",
    send=[_coded("a parameter", b"chunked;a=b"), _coded("one with spaces", b"chunked ; a=b")],
    allow=[rejected(400, 501)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.compression-params",
    "RFC 9112 §7.2",
    level=Level.SHOULD,
    says="The compression codings do not define any parameters. The presence of parameters with any of these compression codings SHOULD be treated "
    "as an error.",
    send=[
        _coded("of gzip", b"gzip;a=b, chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(zipped), zipped)),
        _coded("of deflate", b"deflate;a=b, chunked"),
        _coded("of compress", b"compress;a=b, chunked"),
    ],
    # 501 by whoever does not understand the coding at all (§6.1).
    allow=[rejected(400, 501)],
    bad=told(method="POST", body=zipped),
)
TRANSFER_ENCODING.case(
    "h1.te.ctl-obfuscation",
    "RFC 9112 §6.3 (4)",
    "RFC 9110 §5.5",
    level=Level.MUST,
    says="A field value has no control characters but HTAB: VT and FF are no white space, and what they stand beside is not chunked.",
    send=[
        _coded("a vertical tab before it", b"\x0bchunked"),
        _coded("a form feed behind it", b"chunked\x0c"),
        _coded("a form feed before it", b"\x0cchunked"),
        _coded("a no-break space before it", b"\xa0chunked"),
        _coded("a control character of ISO 8859-1 behind it", b"chunked\x85"),
        _coded("with a length", b"\x0bchunked", more=(b"Content-Length: 15",)),
    ],
    allow=[rejected(400, 501)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.nul",
    "RFC 9110 §5.5",
    level=Level.MUST,
    says=(
        "A recipient of CR, LF, or NUL within a field value MUST either reject the message or replace each of those characters with SP before "
        "further processing or forwarding of that message."
    ),
    send=[_coded("before it", b"\0chunked"), _coded("behind it", b"chunked\0")],
    allow=[rejected(400, 501), served(method="POST", body=b"hello")],
    bad=_EMPTY,
)
TRANSFER_ENCODING.case(
    "h1.te.name-obfuscation",
    "RFC 9112 §5.1",
    level=Level.MUST,
    says=(
        "A server MUST reject, with a response status code of 400 (Bad Request), any received request message that contains whitespace between a "
        "header field name and colon."
    ),
    send=[
        post("a space before the colon", b"Transfer-Encoding : chunked", body=_CHUNKS),
        post("a tab before the colon", b"Transfer-Encoding\t: chunked", body=_CHUNKS),
        post("a space before the colon, with a length", b"Transfer-Encoding : chunked", b"Content-Length: 15", body=_CHUNKS),
    ],
    allow=[rejected(400)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.name-invalid",
    "RFC 9112 §2.2",
    "RFC 9110 §5.1",
    level=Level.SHOULD,
    says=(
        "When a server [...] receives a sequence of octets that does not match the HTTP-message grammar aside from the robustness exceptions listed "
        "above, the server SHOULD respond with a 400 (Bad Request) response and close the connection."
    ),
    send=[
        post("a tab for the hyphen", b"Transfer\tEncoding: chunked", body=_CHUNKS),
        post("a control character behind the name", b"Transfer-Encoding\x0b: chunked", body=_CHUNKS),
        post("NUL in the name", b"Transfer-\0Encoding: chunked", body=_CHUNKS),
    ],
    allow=[rejected(400)],
    bad=_HELLO,
)
TRANSFER_ENCODING.case(
    "h1.te.name-underscore",
    "RFC 9112 §6.3 (7)",
    "RFC 9110 §5.1",
    "RFC 9110 §17.10",
    level=Level.MUST,
    says="Transfer_Encoding is not Transfer-Encoding: a field that nobody knows, which frames nothing.",
    send=[
        post("alone", b"Transfer_Encoding: chunked"),
        post("with a length", b"Transfer_Encoding: chunked", b"Content-Length: 0"),
    ],
    allow=[served(method="POST")],
    # Several servers refuse or drop names with an underscore, which the CGI of old confuses with another name.
    warn=[rejected(400)],
    # Takes it for the other one.
    bad=told(method="POST", body=b"chunks"),
)
TRANSFER_ENCODING.case(
    "h1.te.obs-fold",
    "RFC 9112 §5.2",
    level=Level.MUST,
    says=(
        "A server that receives an obs-fold in a request message [...] MUST either reject the message by sending a 400 (Bad Request) [...] or "
        "replace each received obs-fold with one or more SP octets prior to interpreting the field value [...]."
    ),
    # With a length it is `h1.msg.clte-desync`.
    send=[
        post("folded with a space", b"Transfer-Encoding:\r\n chunked", body=_CHUNKS),
        post("folded with a tab", b"Transfer-Encoding:\r\n\tchunked", body=_CHUNKS),
        post("folded behind the value", b"Transfer-Encoding: chunked\r\n ", body=_CHUNKS),
    ],
    allow=[rejected(400), served(method="POST", body=b"hello")],
    bad=_EMPTY,
)
TRANSFER_ENCODING.case(
    "h1.te.http10",
    "RFC 9112 §6.1",
    level=Level.MUST,
    says=(
        "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat the message as if the framing "
        "is faulty, even if a Content-Length is present, and close the connection after processing the message."
    ),
    send=[
        post("chunked", b"Transfer-Encoding: chunked", b"Connection: keep-alive", body=_CHUNKS, version=b"HTTP/1.0"),
        post(
            "chunked, with a length",
            b"Transfer-Encoding: chunked",
            b"Content-Length: 15",
            b"Connection: keep-alive",
            body=_CHUNKS,
            version=b"HTTP/1.0",
        ),
    ],
    # What is read of the body the clause does not say.
    allow=[rejected(400, 501), *(closing(served(method="POST", body=body)) for body in (b"hello", _CHUNKS, b""))],
    bad=_HELLO,
)
