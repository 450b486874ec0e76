"""The cases for applications: any ASGI application, driven in process and behind a real server.

The law of this package: the application is called as the texts allow a server to call it, and never in another way. Every wait ends, every call ends,
and what has nothing to work on (no WebSocket route, no upload route) is unsupported and never passes.
"""

from __future__ import annotations

__all__: list[str] = []
