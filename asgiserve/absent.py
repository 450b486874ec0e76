"""What uvicorn has and asgiserve does not: its options, and values of its options. Imports nothing of ours.

The law of this module: whoever comes from uvicorn gets, for each of its options, either the option or one line that says what to do
instead; never "no such option". A test reads the command line of the uvicorn that is installed and compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ABSENT", "ABSENT_VALUES", "Absent"]


@dataclass(frozen=True, slots=True)
class Absent:
    """An option of uvicorn's that asgiserve does not have, and the line that says what to do about it.

    ``harmless`` are the values with which it asks for what asgiserve does anyway.
    """

    name: str
    instead: str
    takes_value: bool = True
    harmless: tuple[str, ...] = ("false",)

    @property
    def flags(self) -> str:
        """The option's name on uvicorn's command line."""
        return "--" + self.name.replace("_", "-")

    def passes(self, value: object) -> bool:
        """Whether it asks, with this value, for what asgiserve does anyway."""
        return value is None or str(value).strip().lower() in self.harmless


_NO_RELOAD = "asgiserve does not reload yet; until then: watchfiles 'asgiserve APP' (pip install watchfiles)"

ABSENT: Mapping[str, Absent] = {
    absent.name: absent
    for absent in (
        Absent("reload", _NO_RELOAD, takes_value=False),
        Absent("reload_dir", _NO_RELOAD),
        Absent("reload_include", _NO_RELOAD),
        Absent("reload_exclude", _NO_RELOAD),
        Absent("reload_delay", _NO_RELOAD),
        Absent(
            "workers",
            "asgiserve is one process for now; run several with a process manager, each with its own --bind or --uds",
            harmless=("1",),
        ),
        Absent("http2", "asgiserve speaks HTTP/1.1 for now; let the proxy in front speak HTTP/2", takes_value=False),
        Absent("h11_max_incomplete_event_size", "use --max-head-bytes and --max-request-line-bytes, which hold for every parser"),
        Absent("timeout_worker_healthcheck", "asgiserve has no worker processes yet, so there is nothing to check"),
        Absent("reset_contextvars", "always on: every request runs in a context of its own", takes_value=False, harmless=("false", "true")),
    )
}

# Values of uvicorn's options that are not ours.
ABSENT_VALUES: Mapping[tuple[str, str], str] = {
    ("http", "zttp"): "asgiserve has no such parser; use --http auto, httptools or h11",
    ("ws", "wsproto"): "asgiserve has one WebSocket layer, on websockets; use --ws auto",
    ("ws", "websockets-sansio"): "that is what asgiserve always uses; use --ws websockets, or leave it out",
    ("interface", "wsgi"): "asgiserve serves ASGI; wrap the WSGI application, as in app = a2wsgi.WSGIMiddleware(wsgi_app)",
    ("loop", "none"): "asgiserve makes its own loop; use --loop asyncio, or Server inside of yours",
    ("loop", "zuvloop"): "asgiserve knows auto, asyncio and uvloop",
}
