"""Sockets, TLS, timers and tasks: where the core meets an event loop.

The law of this package: it moves bytes and keeps time, and decides nothing about HTTP.
"""

from __future__ import annotations

__all__: list[str] = []
