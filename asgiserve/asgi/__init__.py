"""The coroutines between an exchange and an ASGI application.

The law of this package: an application meets dictionaries, an exchange meets method calls, and this is where one becomes the other. A message
that ASGI forbids is refused here with a `LocalProtocolError` out of ``send()``; what HTTP forbids is refused by the exchange.
"""

from __future__ import annotations

__all__: list[str] = []
