"""HTTP/1.1: bodies of known length (RFC 9112 §6.2 and §6.3, RFC 9110 §8.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from asgi_conformance.case import HALF_CLOSE, Await, Canned, Level, Stimulus, Topic
from asgi_conformance.drive import FOLLOW_UP
from asgi_conformance.outcomes import incomplete, rejected, served
from asgi_conformance.suite.pieces import REFUSES, broken_off, post, told

__all__ = ["CONTENT_LENGTH"]

CONTENT_LENGTH: Final = Topic("http1/content-length", "HTTP/1.1: Content-Length")

# RFC 9112 §6.3 (5), with the sentence that says what to do.
_INVALID: Final = (
    "If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then the message framing is invalid and "
    "the recipient MUST treat it as an unrecoverable error [...]. If the unrecoverable error is in a request message, the server MUST respond with "
    "a 400 (Bad Request) status code and then close the connection."
)
_LARGE: Final = (
    "Since there is no predefined limit to the length of content, a recipient MUST anticipate potentially large decimal numerals and prevent "
    "parsing errors due to integer conversion overflows or precision loss due to integer conversion."
)
_INCOMPLETE: Final = (
    "If the sender closes the connection or the recipient times out before the indicated number of octets are received, the recipient MUST "
    "consider the message to be incomplete and close the connection."
)
_HELLO: Final = told(method="POST", body=b"hello")
"""Reads five bytes, whatever the field says."""


def _length(label: str, *values: bytes, body: bytes = b"hello") -> Stimulus:
    """A POST with a Content-Length line for each of ``values``."""
    return post(label, *(b"Content-Length: " + value for value in values), body=body)


CONTENT_LENGTH.case(
    "h1.cl.body",
    "RFC 9112 §6.3 (6)",
    level=Level.MUST,
    says=(
        "If a valid Content-Length header field is present without Transfer-Encoding, its decimal value defines the expected message body length in "
        "octets."
    ),
    send=[
        _length("five bytes", b"5"),
        post("the name in another case", b"cOnTeNt-LeNgTh: 5", body=b"hello"),
        _length("white space around it", b" \t5\t "),
    ],
    allow=[served(method="POST", body=b"hello")],
    bad=told(method="POST"),
)
CONTENT_LENGTH.case(
    "h1.cl.zero",
    "RFC 9112 §6.3 (6)",
    "RFC 9110 §8.6",
    level=Level.MUST,
    says="Any Content-Length field value greater than or equal to zero is valid.",
    send=[_length("zero", b"0", body=b"")],
    allow=[served(method="POST")],
    bad=REFUSES,
)
CONTENT_LENGTH.case(
    "h1.cl.absent-no-te",
    "RFC 9112 §6.3 (7)",
    level=Level.MUST,
    says="If this is a request message and none of the above are true, then the message body length is zero (no message body is present).",
    send=[post("neither Content-Length nor Transfer-Encoding")],
    # RFC 9112 §6.3: "A server MAY reject a request that contains a message body but not a Content-Length": there is no body here.
    allow=[served(method="POST")],
    bad=Canned(b"", closes=False),
)
CONTENT_LENGTH.case(
    "h1.cl.get-body",
    "RFC 9112 §6",
    "RFC 9110 §9.3.1",
    "RFC 9112 §9.3",
    level=Level.MUST,
    says="Request message framing is independent of method semantics.",
    send=[
        Stimulus("GET", (b"GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",)),
        Stimulus("DELETE", (b"DELETE / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello",), methods=("DELETE",)),
    ],
    # RFC 9110 §9.3.1: content in a GET "might lead some implementations to reject the request and close the connection". To drop it is to drain it.
    allow=[served("the content dropped"), served(body=b"hello"), rejected(400, 405, 413, 415)],
    # Leaves the content on the connection, where it becomes the begin of the next method.
    bad=replace(told(), wire=told().wire[:38] + REFUSES.wire, closes=True),
)
CONTENT_LENGTH.case(
    "h1.cl.non-numeric",
    "RFC 9112 §6.3 (5)",
    "RFC 9110 §8.6",
    level=Level.MUST,
    says=_INVALID,
    send=[
        _length("letters", b"abc"),
        _length("a letter behind it", b"5x"),
        _length("nothing", b""),
        _length("white space", b" \t "),
        _length("a fraction", b"5.0"),
        _length("an exponent", b"5e0"),
        _length("quoted", b'"5"'),
        _length("a parameter", b"5;a=b"),
    ],
    allow=[rejected(400)],
    bad=_HELLO,
)
CONTENT_LENGTH.case(
    "h1.cl.sign",
    "RFC 9112 §6.3 (5)",
    "RFC 9110 §8.6",
    level=Level.MUST,
    says=_INVALID,
    send=[_length("plus", b"+5"), _length("minus", b"-5"), _length("minus nothing", b"-0")],
    allow=[rejected(400)],
    bad=_HELLO,
)
CONTENT_LENGTH.case(
    "h1.cl.hex-octal-underscore",
    "RFC 9112 §6.3 (5)",
    "RFC 9110 §8.6",
    level=Level.MUST,
    says=_INVALID,
    send=[
        _length("hexadecimal", b"0x5"),
        _length("octal, as Python has it", b"0o5"),
        _length("an underscore", b"1_0"),
        _length("two numbers", b"5 5"),
        _length("a digit in full width", "\uff15".encode()),
        _length("an Arabic digit", "\u0665".encode()),
        _length("a superscript digit of ISO 8859-1", b"\xb2"),
    ],
    allow=[rejected(400)],
    bad=_HELLO,
)
CONTENT_LENGTH.case(
    "h1.cl.leading-zeros",
    "RFC 9110 §8.6",
    level=Level.MUST,
    says="Content-Length = 1*DIGIT, a decimal non-negative integer number of octets.",
    # Were it octal, ten would be eight.
    send=[_length("zeros before it", b"0010", body=b"hellohello")],
    allow=[served(method="POST", body=b"hellohello")],
    warn=[rejected(400)],
    bad=told(method="POST", body=b"hellohel"),
)
CONTENT_LENGTH.case(
    "h1.cl.list-same",
    "RFC 9112 §6.3 (5)",
    "RFC 9110 §8.6",
    level=Level.MUST,
    says=(
        "A recipient of a Content-Length header field value consisting of the same decimal value repeated as a comma-separated list [...] MAY either "
        "reject the message as invalid or replace that invalid field value with a single instance of the decimal value."
    ),
    send=[_length("a list", b"5, 5"), _length("two lines", b"5", b"5")],
    allow=[served(method="POST", body=b"hello"), rejected(400)],
    bad=told(method="POST"),
)
CONTENT_LENGTH.case(
    "h1.cl.list-different",
    "RFC 9112 §6.3 (5)",
    level=Level.MUST,
    says=_INVALID,
    send=[_length("the right one first", b"5, 6"), _length("the right one last", b"6, 5"), _length("one that is none", b"5, x")],
    allow=[rejected(400)],
    bad=_HELLO,
)
CONTENT_LENGTH.case(
    "h1.cl.dup-different",
    "RFC 9112 §6.3 (5)",
    level=Level.MUST,
    says=_INVALID,
    send=[_length("the right one first", b"5", b"10"), _length("the right one last", b"10", b"5"), _length("zero first", b"0", b"5")],
    allow=[rejected(400)],
    bad=_HELLO,
)
CONTENT_LENGTH.case(
    "h1.cl.overflow",
    "RFC 9110 §8.6",
    "RFC 9110 §17.5",
    level=Level.MUST,
    says=_LARGE,
    # Each would be 5 in an integer of 32 or 64 bits, or a little more than 2**53 with a double. What stands behind the five bytes is a part of the
    # body; a server that believes the number waits for the rest, which is why no more comes.
    send=[
        broken_off(_length(label, str(number).encode("ascii"), body=b"hello" + FOLLOW_UP))
        for label, number in (
            ("2**32 + 5", 2**32 + 5),
            ("2**53 + 5", 2**53 + 5),
            ("2**63 + 5", 2**63 + 5),
            ("2**64 + 5", 2**64 + 5),
            ("20 nines", 10**20 - 1),
        )
    ]
    + [broken_off(_length("5,000 digits", b"1" + b"0" * 4998 + b"5", body=b"hello" + FOLLOW_UP))],
    allow=[rejected(400, 413, 431), incomplete()],
    bad=_HELLO,
)
CONTENT_LENGTH.case(
    "h1.cl.huge-no-body",
    "RFC 9112 §6.3 (6)",
    level=Level.HARD,
    says="A length that is announced costs nothing before the bytes are there, and is no body without them.",
    send=[
        Stimulus(
            "a gigabyte, of which three bytes come",
            (*_length("", b"999999999", body=b"abc").parts, Await(0.05), HALF_CLOSE),
            methods=("POST",),
            follow_up=False,
        ),
    ],
    allow=[incomplete()],
    bad=_HELLO,
)
CONTENT_LENGTH.case(
    "h1.cl.truncated",
    "RFC 9112 §6.3 (6)",
    "RFC 9112 §8",
    level=Level.MUST,
    says=_INCOMPLETE,
    send=[broken_off(_length("three bytes of ten", b"10", body=b"abc")), broken_off(_length("none of ten", b"10", body=b""))],
    allow=[incomplete()],
    bad=replace(told(method="POST", body=b"abc"), closes=True),
)
