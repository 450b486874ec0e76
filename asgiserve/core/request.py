"""The head of a request, once it is read.

The law of this module: what stands here has passed every check of ``http/``; nobody looks at the bytes again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgiserve.http.fields import Field
    from asgiserve.http.target import Target

__all__ = ["Framing", "RequestHead"]


class Framing:
    """What the fields of a head say about its message and its connection. Not changed once it is read: heads that say the same share it."""

    __slots__ = ("body_length", "expects_continue", "forwarded", "keep_alive", "trailers_wanted", "upgrade")

    def __init__(
        self,
        *,
        body_length: int = 0,
        keep_alive: bool = True,
        expects_continue: bool = False,
        trailers_wanted: bool = False,
        upgrade: bytes = b"",
        forwarded: bool = False,
    ) -> None:
        self.body_length = body_length
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue
        self.trailers_wanted = trailers_wanted
        self.upgrade = upgrade
        self.forwarded = forwarded

    def without_expectation(self) -> Framing:
        """The same for a client that has been told to continue."""
        return Framing(
            body_length=self.body_length,
            keep_alive=self.keep_alive,
            trailers_wanted=self.trailers_wanted,
            upgrade=self.upgrade,
            forwarded=self.forwarded,
        )


class RequestHead:
    """A request head that passed every check of ``http/``. Requests of a connection that say the same share it."""

    __slots__ = ("fields", "framing", "logged", "method", "minor_version", "target")

    def __init__(self, method: bytes, target: Target, minor_version: int, fields: list[Field], framing: Framing) -> None:
        self.method = method
        self.target = target
        self.minor_version = minor_version
        self.fields = fields
        self.framing = framing
        # The runtime's: what the access log writes of it, made with the first line.
        self.logged: Any = None

    @property
    def upgrade(self) -> bytes:
        """The protocol that the client may switch to; empty where there is none."""
        return self.framing.upgrade
