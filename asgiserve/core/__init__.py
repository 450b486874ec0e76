"""The protocols without I/O: connections, exchanges, flow control, deadlines.

The law of this package: bytes and the current time come in as arguments, bytes go out to a transport that was handed in. Nothing here
imports asyncio, trio, ssl, socket or time, so that every test runs without a socket and without a sleep.
"""

from __future__ import annotations

__all__: list[str] = []
