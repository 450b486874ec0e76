"""The fields that every response gets.

The law of this module: they are encoded once a second, not once a response.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from asgiserve.errors import ConfigError, LocalProtocolError
from asgiserve.http.date import imf_fixdate
from asgiserve.http.fields import check_response_fields

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from asgiserve.config import HttpConfig

__all__ = ["DefaultFields"]


class DefaultFields:
    """The lines that every response gets: --header, Server and Date.

    Args:
        config: says which.

    Raises:
        ConfigError: a --header cannot be sent.
    """

    def __init__(self, config: HttpConfig) -> None:
        try:
            extra = check_response_fields((part.strip().encode("latin-1") for part in field.split(":", 1)) for field in config.header)
        except (LocalProtocolError, UnicodeEncodeError) as error:
            raise ConfigError(f"--header: {error}") from None
        self._extra = [(name, name + b": " + value + b"\r\n") for name, value in extra]
        # uvicorn's precedence: a --header of that name replaces the default.
        names = {name for name, _ in extra}
        self._server = config.server_header and b"server" not in names
        self._date = config.date_header and b"date" not in names
        self._until = float("-inf")
        self._date_line = b""
        self._lines = b""

    def all(self, now: float, /) -> bytes:
        """All of them. ``now`` is `time.monotonic`: when the second is over is known, and need not be asked for each response."""
        if now >= self._until:
            self._refresh(now)
        return self._lines

    def _refresh(self, now: float) -> None:
        wall = time.time()
        second = int(wall)
        self._until = now + 1 - (wall - second)
        # RFC 9110 §6.6.1: to the second is all that it says.
        self._date_line = b"date: " + imf_fixdate(second) + b"\r\n" if self._date else b""
        self._lines = self._without(frozenset())

    def without(self, names: AbstractSet[bytes], /) -> bytes:
        """Those that the application does not send itself."""
        now = time.monotonic()
        if now >= self._until:
            self._refresh(now)
        return self._without(names)

    def _without(self, names: AbstractSet[bytes]) -> bytes:
        lines = [line for name, line in self._extra if name not in names]
        if self._date and b"date" not in names:
            lines.append(self._date_line)
        if self._server and b"server" not in names:
            # RFC 9110 §10.2.4: no needless detail; the version is nobody's business.
            lines.append(b"server: asgiserve\r\n")
        return b"".join(lines)
