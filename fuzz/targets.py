"""The targets by name, in the order in which they run."""

from __future__ import annotations

from typing import Final

from fuzz.fields import FIELDS
from fuzz.http1 import HTTP1
from fuzz.websocket import WEBSOCKET

__all__ = ["TARGETS"]

TARGETS: Final = {target.name: target for target in (HTTP1, WEBSOCKET, FIELDS)}
