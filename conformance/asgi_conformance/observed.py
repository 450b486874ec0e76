"""What the reference application recorded, as Python values again.

The law of this module: a value has the type that it had in the server's process, or is a `Foreign` or a `Summary` that says what it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgi_conformance.reference import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Event", "Raised", "Record", "read_record"]


@dataclass(frozen=True)
class Raised:
    """An exception in the server's process.

    ``kind`` is its class ("module.Class", a bare name for built-in ones), ``bases`` all classes that it is, ``is_oserror`` whether it is an OSError.
    """

    kind: str
    bases: tuple[str, ...]
    message: str
    is_oserror: bool
    is_cancelled: bool


@dataclass(frozen=True)
class Event:
    """One thing that the application did. Times are seconds since the call began.

    Attributes:
        do: ``receive``, ``send`` or ``note``.
        branch: the task that did it: "" the call's own.
        at: when it was begun.
        end: when it was done; None while it waits, as a send() that is held back.
        message: what was received (None until it is) or sent.
        error: what receive() or send() raised.
        count: of a send, how often it has returned.
        last: of a send, when it returned last.
        name: of a note.
        value: of a note.
    """

    do: str
    branch: str
    at: float
    end: float | None = None
    message: Any = None
    error: Raised | None = None
    count: int = 0
    last: float | None = None
    name: str = ""
    value: Any = None


@dataclass(frozen=True)
class Record:
    """One call of the application.

    Attributes:
        number: counts the calls of one process from 1.
        pid: of that process.
        time: when it began, as `time.time` says it.
        scope: as it was then; ``scope_class`` is its exact class ("dict").
        headers_repeat: whether the headers could be read twice, with the same result.
        variable: the value of the context variable then (None: nobody had set it).
        loop: the event loop's id; ``task`` the task's.
        events: in order; ``dropped`` is how many beyond 5,000 were not kept.
        how: "returned", "raised" or "cancelled"; None while it runs.
        ended: when, in seconds since it began.
        error: what it raised.
    """

    number: int
    pid: int
    time: float
    scope: Any
    scope_class: str
    headers_repeat: bool
    variable: Any
    loop: int
    task: int
    events: list[Event] = field(default_factory=list)
    dropped: int = 0
    how: str | None = None
    ended: float | None = None
    error: Raised | None = None

    @property
    def received(self) -> list[Any]:
        """The messages that receive() returned."""
        return [event.message for event in self.receives if event.message is not None]

    @property
    def receives(self) -> list[Event]:
        """The calls of receive()."""
        return [event for event in self.events if event.do == "receive"]

    @property
    def sends(self) -> list[Event]:
        """The calls of send()."""
        return [event for event in self.events if event.do == "send"]

    @property
    def send_errors(self) -> list[Raised]:
        """What send() raised."""
        return [event.error for event in self.sends if event.error is not None]

    def notes(self, name: str) -> list[Any]:
        """The values of the notes called ``name``."""
        return [event.value for event in self.events if event.do == "note" and event.name == name]


def read_record(data: Mapping[str, Any]) -> Record:
    """A record of ``/.asgi-conformance/records``."""
    ended = data["ended"] or {}
    plain = {name: data[name] for name in ("number", "pid", "time", "scope_class", "headers_repeat", "loop", "task", "dropped")}
    return Record(
        **plain,
        scope=decode(data["scope"]),
        variable=decode(data["variable"]),
        events=[_read_event(event) for event in data["events"]],
        how=ended.get("how"),
        ended=ended.get("at"),
        error=_read_error(ended.get("error")),
    )


def _read_event(data: Mapping[str, Any]) -> Event:
    decoded = {name: decode(data[name]) for name in ("message", "value") if name in data}
    return Event(**{**data, **decoded, "error": _read_error(data.get("error"))})


def _read_error(data: Mapping[str, Any] | None) -> Raised | None:
    return None if data is None else Raised(data["class"], tuple(data["bases"]), data["message"], data["oserror"], data["cancelled"])
