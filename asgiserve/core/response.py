"""The head of a response, once the application's message is read.

The law of this module: what stands here has passed every check of ``http/``, and holds for every version of HTTP; nobody looks at the
application's fields again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asgiserve.errors import LocalProtocolError
from asgiserve.http.fields import FRAMING_FIELDS, REPEATED_FIELDS, check_response_field, list_elements, not_pairs
from asgiserve.http.framing import response_content_length

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from asgiserve.http.fields import Field

__all__ = ["NO_CONTENT_STATUSES", "NO_NAMES", "REPEATED_HEADS", "ResponseHead", "read_response_head"]

NO_NAMES: Final[frozenset[bytes]] = frozenset()
# RFC 9110 §15.3.5, §15.3.6, §15.4.5
NO_CONTENT_STATUSES: Final = frozenset({204, 205, 304})

# Of the application's fields, those that are read here or are the connection's own.
_OWN_FIELDS = FRAMING_FIELDS | {b"date", b"server"}
_repeated_field = REPEATED_FIELDS.get
# 0.05 us beside 0.3 to check and convert one.
_small_length = {b"%d" % length: length for length in range(1024)}.get
_RESET_CONTENT: Final = 205
_NO_CONTENT: Final = 204
_MAX_STATUS: Final = 599
# Those of 2**63.
_MAX_LENGTH_DIGITS: Final = 19
_MAX_REPEATED_HEADS: Final = 1024


class ResponseHead:
    """Status and fields of a final response. Responses that say the same share it."""

    __slots__ = ("closing", "connection_options", "content_length", "encoded", "fields", "sent_fields", "status")

    def __init__(self, status: int, fields: Sequence[Field], content_length: int | None) -> None:
        self.status = status
        # Without those that frame the content.
        self.fields = fields
        # None where the application does not say it.
        self.content_length = content_length
        # Those of its fields that the connection would send otherwise.
        self.sent_fields: AbstractSet[bytes] = NO_NAMES
        # Whether the application wants the connection closed, and which other options it has for it.
        self.closing = False
        self.connection_options: Sequence[bytes] = ()
        # What the connection made of it. None where it is not remembered; empty where it is, and was not encoded yet.
        self.encoded: bytes | None = None


REPEATED_HEADS: Final[dict[tuple[int, tuple[Iterable[bytes], ...]], ResponseHead]] = {}
"""Heads that came before, by status and fields as the application gave them: only fields of `REPEATED_FIELDS` and a small Content-Length. Bounded,
and emptied when it is full; one that is not found in it goes to `read_response_head`. Saves 6 % of a plain request."""


def read_response_head(status: object, fields: tuple[Iterable[bytes], ...]) -> ResponseHead:
    """Check what an application says of its response.

    Raises:
        LocalProtocolError: for a status outside 200-599, an invalid field, an invalid or double Content-Length.
    """
    if type(status) is not int or not 200 <= status <= _MAX_STATUS:  # noqa: PLR2004 - the status codes' own bounds
        status = _final_status(status)
    checked: list[Field] = []
    length: int | None = None
    own = False
    repeats = True
    try:
        for field in fields:
            try:
                known = _repeated_field(field)
            except (TypeError, ValueError):
                # A list cannot be looked up, nor can a memoryview of a bytearray.
                known = None
                repeats = False
            if known is None:
                name, value = field
                if name == b"content-length" and length is None and type(value) is bytes:
                    length = _small_length(value)
                    if type(field) is not tuple:
                        # It could say something else the next time.
                        repeats = False
                    if length is None and value.isdigit() and len(value) <= _MAX_LENGTH_DIGITS:
                        length = int(value)
                        repeats = False
                    if length is not None:
                        continue
                known = check_response_field((name, value))
                repeats = False
                if known[0] in _OWN_FIELDS:
                    own = True
            checked.append(known)
    except (TypeError, ValueError) as error:
        raise not_pairs(error) from None
    if own or status in NO_CONTENT_STATUSES:
        return _read_own_fields(status, checked, length)
    head = ResponseHead(status, checked, length)
    if repeats:
        if len(REPEATED_HEADS) >= _MAX_REPEATED_HEADS:
            REPEATED_HEADS.clear()
        head.encoded = b""
        # It is there already where the status came by another name, as an `http.HTTPStatus`.
        return REPEATED_HEADS.setdefault((status, fields), head)
    return head


def _final_status(status: object) -> int:
    """A status that is a whole number by another name, as `http.HTTPStatus` is; frameworks hand on what their user gave them."""
    # RFC 9110 §15: 1xx is no final response; `Exchange.inform` sends those. bool is an int in Python and no status.
    if isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= _MAX_STATUS:  # noqa: PLR2004 - the status codes' own bounds
        return int(status)
    raise LocalProtocolError(f"status must be a whole number from 200 to 599, not {status!r} (RFC 9110 §15)")


def _read_own_fields(status: int, fields: list[Field], length: int | None) -> ResponseHead:
    """Take out what is the connection's to say, and read Connection. ``length`` is that of a Content-Length that was taken out already."""
    own = {name for name, _ in fields if name in _OWN_FIELDS}
    if b"content-length" in own:
        # A second one, or one that is no number, or its name is not in lower case.
        length = response_content_length(
            [*([] if length is None else [b"%d" % length]), *(value for name, value in fields if name == b"content-length")]
        )
    # RFC 9110 §8.6: no Content-Length with 204. RFC 9110 §15.3.6: 205 has none but a zero.
    if status == _NO_CONTENT:
        length = None
    elif status == _RESET_CONTENT:
        length = 0
    # ASGI, Response Start: "any transfer-encoding header ... will be ignored": the framing is ours.
    head = ResponseHead(status, [field for field in fields if field[0] not in FRAMING_FIELDS], length)
    if own:
        head.sent_fields = own
    if b"connection" in own:
        options = [option for name, value in fields if name == b"connection" for option in list_elements(value)]
        # RFC 9112 §9.6: the application may ask for the connection to be closed; keep-alive is the connection's own decision.
        head.closing = b"close" in options
        # An option that names the framing would have a proxy take that out (RFC 9110 §7.6.1).
        head.connection_options = [option for option in options if option != b"close" and option not in FRAMING_FIELDS]
    return head
