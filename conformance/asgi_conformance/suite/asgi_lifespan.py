"""The ASGI contract: the lifespan, from its scope to the server's start (ASGI lifespan)."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.peer import Unavailable
from asgi_conformance.reference import decode
from asgi_conformance.suite.dialogue import plain, scoped, swallowing
from asgi_conformance.suite.processes import (
    END_SECONDS,
    answering,
    connect_early,
    end,
    in_lifespan,
    lifespan_events,
    quit_server,
    said,
    send_signal,
    serves_or_ends,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_conformance.stage import Stage

__all__ = ["LIFESPAN"]

LIFESPAN: Final = Topic("asgi/lifespan", "ASGI: the lifespan, up to the start")

_STARTUP_SECONDS: Final = 0.5
"""Of an application that takes its time; a server that does not wait is ready long before."""
_CLOCK: Final = 0.05
"""By how much the clock of the journal may be set while it runs."""
_WORKERS: Final = 4
_ASKED: Final = 24
"""Requests after which we no longer hope for another worker to answer."""
_ENOUGH: Final = 8
_HOLD: Final = 0.1
"""Seconds in which a worker that has answered can take no connection: another one takes the next."""


# The scope and the loop.


@LIFESPAN.scenario(
    "asgi.life.scope",
    "ASGI lifespan, Scope",
    level=Level.MUST,
    says='The scope information passed in scope contains basic metadata: type (Unicode string) -- "lifespan". asgi["version"] (Unicode string) -- '
    'The version of the ASGI spec. asgi["spec_version"] (Unicode string) -- The version of this spec being used. Optional; if missing defaults to '
    '"1.0". state Optional(dict[Unicode string, Any]) -- An empty namespace where the application can persist state to be used when handling '
    "subsequent requests.",
    expects="the type lifespan, asgi with a version of text and a spec_version of text or none, and a state that is empty where there is one",
    needs=("lifespan",),
    bad=Distortion(app=scoped(lambda scope: scope | {"state": {"n": 0}} if scope["type"] == "lifespan" else scope)),
)
def scope_of_lifespan(stage: Stage) -> None:
    entries = [entry for entry in stage.running.facts()["lifespan"] if entry["do"] == "scope"]
    stage.check(entries, "the application was not called with a lifespan scope")
    scope = plain(decode(entries[-1]["scope"]))
    stage.trace.note("!", f"the lifespan scope: {scope!r}"[:600])
    stage.check(isinstance(scope, dict) and scope.get("type") == "lifespan", f"the scope {scope!r}")
    asgi = plain(scope.get("asgi"))
    stage.check(isinstance(asgi, dict), f"asgi is {asgi!r}")
    stage.check(isinstance(asgi.get("version"), str), f"asgi['version'] is {asgi.get('version')!r}")
    version = asgi.get("spec_version", "1.0")
    stage.check(isinstance(version, str), f"asgi['spec_version'] is {version!r}")
    if version not in ("1.0", "2.0"):
        # That of another specification, as a rule. It is told wrongly, and no word of a must is near it.
        stage.warn(f"asgi['spec_version'] is {version!r}, which the Lifespan Protocol does not have")
    if "state" in scope:
        stage.check(plain(scope["state"]) == {}, f"state is {scope['state']!r}")
    else:
        stage.check("state" not in stage.features, "no state")


def elsewhere(app: Any) -> Any:
    """A server that runs the lifespan in a loop, and a thread, of its own."""

    async def plays(app: Any, scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()

        async def over_there(call: Any, *args: Any) -> Any:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(*args), loop))

        lifespan = app(scope, lambda: over_there(receive), lambda message: over_there(send, message))
        await asyncio.to_thread(asyncio.run, lifespan)

    return in_lifespan(plays)(app)


@LIFESPAN.scenario(
    "asgi.life.same-loop",
    "ASGI lifespan, Lifespan Protocol",
    level=Level.MUST,
    says="The important part is that lifespans and requests are run in the same event loop to ensure that objects like database connection pools are "
    "not moved or shared across event loops.",
    expects="a request, and a WebSocket, on the event loop of a lifespan",
    needs=("lifespan",),
    own=True,
    bad=Distortion(app=elsewhere),
)
def same_loop(stage: Stage) -> None:
    server = stage.own()
    server.mark()
    server.request()
    kinds = ["request"]
    if "websocket" in stage.features:
        server.websocket().finish()
        kinds.append("WebSocket")
    loops = {entry["loop"] for entry in lifespan_events(server) if entry["do"] == "scope"}
    stage.check(loops, "the application was not called with a lifespan scope")
    records = server.records(len(kinds))
    stage.check(len(records) == len(kinds), f"{len(records)} calls of the application")
    for kind, record in zip(kinds, records, strict=True):
        stage.check(record.loop in loops, f"the {kind} ran on another event loop than the lifespan")
    quit_server(server)


# One lifespan a loop, in every process.


def answers_of_workers(server: Stage) -> list[Mapping[str, Any]]:
    """What several processes say of themselves, where there are several; each adds to its state's list the number of the request."""
    answers: list[Mapping[str, Any]] = []
    for number in range(_ASKED):
        response = server.request("Connection: close", script=[["append-state", "list", number], ["answer"], ["block", _HOLD]])
        server.check(response.status == 200, f"{response.status}")
        answers.append(json.loads(response.body))
        if number + 1 >= _ENOUGH and len({answer["pid"] for answer in answers}) > 1:
            break
    return answers


def rehearsing(app: Any) -> Any:
    """A server that runs a lifespan before the one that counts, as one does that starts the application twice."""

    async def plays(app: Any, scope: Any, receive: Any, send: Any) -> None:
        events = iter(["lifespan.startup", "lifespan.shutdown"])

        async def hears() -> Any:
            return {"type": next(events)}

        async def says(_: Any) -> None:
            return

        await app({**scope, "state": {}}, hears, says)
        await app(scope, receive, send)

    return in_lifespan(plays)(app)


@LIFESPAN.scenario(
    "asgi.life.once-per-loop",
    "ASGI lifespan, Lifespan Protocol",
    level=Level.SHOULD,
    says="Lifespans should be executed once per event loop that will be processing requests.",
    expects=f"one lifespan in each process that answers, on each of its loops; with {_WORKERS} workers, where the server can be told so",
    needs=("lifespan", "state"),
    own=True,
    bad=Distortion(app=rehearsing),
)
def once_per_loop(stage: Stage) -> None:
    several = "workers" in stage.running.settings
    server = stage.own(settings={"workers": _WORKERS} if several else {})
    if several:
        serving = {answer["pid"] for answer in answers_of_workers(server)}
        stage.tell(f"{len(serving)} of {_WORKERS} workers answered")
    else:
        serving = {json.loads(server.request().body)["pid"]}
        stage.tell("one process, as it cannot be told workers")
    begun = [(entry["pid"], entry["loop"]) for entry in lifespan_events(server) if entry["do"] == "scope"]
    for pid in serving:
        stage.check(any(where[0] == pid for where in begun), "a process that answers requests had no lifespan")
    for where in set(begun):
        stage.check(begun.count(where) == 1, f"{begun.count(where)} lifespans on one event loop")
    quit_server(server)


def sharing(app: Any) -> Any:
    """Servers that keep the list in the state for all of their processes, in a file."""
    path = Path(os.environ.get("ASGI_CONFORMANCE_JOURNAL", "") + ".state")

    def load() -> list[int]:
        return list(json.loads(path.read_text(encoding="ascii"))) if path.exists() else []

    def keep(items: list[int]) -> None:
        path.write_text(json.dumps(items), encoding="ascii")

    async def shares(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        items = load()

        async def keeps(message: Any) -> None:
            keep(items)
            await send(message)

        await app({**scope, "state": {**scope["state"], "list": items}}, receive, keeps)

    return shares


@LIFESPAN.scenario(
    "asgi.life.state-not-shared-workers",
    "ASGI lifespan, Lifespan State",
    level=Level.MUST,
    says="Since the server manages the application lifespan and often the event loop as well this ensures that the application is always accessing "
    "the database connection (or other stored object) that corresponds to the right event loop and lifecycle.",
    expects="in each of the processes the state of its own lifespan, with what its own requests put there and nothing of another one's",
    needs=("lifespan", "state"),
    own=True,
    bad=Distortion(app=sharing),
)
def state_of_each_worker(stage: Stage) -> None:
    server = stage.own(settings={"workers": _WORKERS})
    answers = answers_of_workers(server)
    quit_server(server)
    put: dict[int, list[int]] = {}
    for number, answer in enumerate(answers):
        mine = put.setdefault(answer["pid"], [])
        state = plain(decode(answer["scope"]).get("state"))
        stage.check(isinstance(state, dict) and state.get("n") == 1, f"the state of a request is {state!r}")
        there = plain(state.get("list"))
        stage.check(there == mine, f"the list in the state is {there!r}, and its process put {mine!r} there")
        mine.append(number)
    if len(put) == 1:
        raise Unavailable(f"one process answered {len(answers)} requests, and the others could not be reached")
    stage.tell(f"{len(put)} of {_WORKERS} workers answered")


# The start.


async def impatient(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """A server that takes the start for complete as soon as the application has heard of it."""

    async def hears() -> Any:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        return event

    async def says(message: Any) -> None:
        if message["type"] != "lifespan.startup.complete":
            await send(message)

    await app(scope, hears, says)


@LIFESPAN.scenario(
    "asgi.life.startup-first",
    "ASGI lifespan, Startup Complete",
    "ASGI lifespan, Startup",
    level=Level.MUST,
    says="A server must wait for this message before it starts processing connections.",
    expects=f"no call of the application before its start is complete, which takes {_STARTUP_SECONDS:g} s, and then the request served",
    needs=("lifespan",),
    own=True,
    bad=Distortion(app=in_lifespan(impatient)),
)
def startup_first(stage: Stage) -> None:
    server = stage.own(lifespan=f"slow-startup:{_STARTUP_SECONDS}", wait=False)
    connection = connect_early(server)
    connection.send(server.encode_request())
    response = connection.read_response()
    stage.check(response.status == 200, f"{response.status}")
    journal = server.running.journal()
    begun = [entry["time"] for entry in journal if entry["event"] == "begin"]
    started = [entry["time"] for entry in journal if entry["event"] == "lifespan" and entry["do"] == "receive"]
    stage.check(begun, "no call of the application")
    stage.check(started, "the application did not receive lifespan.startup")
    early = started[0] + _STARTUP_SECONDS - begun[0]
    stage.check(early <= _CLOCK, f"a request was given to the application {early:.2f} s before it could say that its start is complete")
    quit_server(server)


@LIFESPAN.scenario(
    "asgi.life.raise-continues",
    "ASGI lifespan, Scope",
    level=Level.MUST,
    says="If an exception is raised when calling the application callable with a lifespan.startup message or a scope with type lifespan, the server "
    "must continue but not send any lifespan events.",
    expects="requests served, where the application raises on the scope and where it raises on lifespan.startup, and no lifespan event after that",
    needs=("lifespan",),
    own=True,
    bad=Distortion(settings={"lifespan_on": True}),
)
def raise_continues(stage: Stage) -> None:
    servers = {mode: stage.own(lifespan=mode, wait=False) for mode in ("raise", "raise-startup")}
    for mode, server in servers.items():
        served = serves_or_ends(server, 2 * END_SECONDS)
        stage.check(served is not False, f"{mode}: it ended with status {server.running.exit_status}")
        stage.check(served, f"{mode}: it answers no request")
        # A connection that is kept would have it wait for one more request.
        response = server.request("Connection: close")
        stage.check(response.status == 200, f"{mode}: {response.status}")
        send_signal(server)
    for mode, server in servers.items():
        end(server)
        did = [entry["do"] for entry in lifespan_events(server)]
        stage.check("raised" in did, f"{mode}: the application was not called with a lifespan scope")
        after = [entry for entry in lifespan_events(server)[did.index("raised") + 1 :] if entry["do"] == "receive"]
        stage.check(not after, f"{mode}: {[entry['message'].get('type') for entry in after]} after the exception")
        stage.check(did.count("scope") == 1, f"{mode}: {did.count('scope')} calls with a lifespan scope")


@LIFESPAN.scenario(
    "asgi.life.raise-strict-mode",
    "ASGI lifespan, Scope",
    level=Level.INFO,
    says="A server that was told that the application has a lifespan ends, with a status that is not 0, where the application raises on it.",
    expects="an exit status that is not 0",
    needs=("lifespan",),
    own=True,
    bad=Distortion(settings={"lifespan_on": False}),
)
def raise_strict_mode(stage: Stage) -> None:
    server = stage.own(settings={"lifespan_on": True}, lifespan="raise", wait=False)
    served = serves_or_ends(server, END_SECONDS)
    stage.check(served is not True, "it serves without a lifespan")
    stage.check(served is False, f"it neither serves nor ends within {END_SECONDS:g} s")
    stage.check(server.running.exit_status, "the exit status 0")
    stage.tell(f"the exit status {server.running.exit_status}")


@LIFESPAN.scenario(
    "asgi.life.return-early",
    "ASGI lifespan, Lifespan Protocol",
    level=Level.INFO,
    says="Where the application returns from its lifespan without an answer, a server goes on without one or ends with an error, and does not wait "
    "for ever.",
    expects="requests served or an end, where the application returns at once, after lifespan.startup, and after its start is complete",
    needs=("lifespan",),
    own=True,
    bad=Distortion(lifespan="hang-startup"),
)
def return_early(stage: Stage) -> None:
    servers = {mode: stage.own(lifespan=mode, wait=False) for mode in ("return", "return-startup", "return-after-startup")}
    for mode, server in servers.items():
        served = serves_or_ends(server, END_SECONDS)
        stage.check(served is not None, f"{mode}: it neither serves nor ends within {END_SECONDS:g} s")
        stage.tell(f"{mode}: {'it serves' if served else f'it ends with status {server.running.exit_status}'}")
        quit_server(server)


@LIFESPAN.scenario(
    "asgi.life.startup-failed",
    "ASGI lifespan, Startup Failed",
    level=Level.SHOULD,
    says="Sent by the application when it has failed to complete its startup. If a server sees this it should log/print the message provided and "
    "then exit.",
    expects="the message in its output and an end, and no request served meanwhile",
    needs=("lifespan",),
    own=True,
    bad=Distortion(app=answering("lifespan.startup.failed", "lifespan.startup.complete")),
)
def startup_failed(stage: Stage) -> None:
    server = stage.own(lifespan="fail-startup", wait=False)
    served = serves_or_ends(server, END_SECONDS)
    stage.check(said(server, "lifespan.startup.failed"), "the application was not asked to start")
    stage.check(served is not True, "it serves requests")
    stage.check(served is False, f"it still runs after {END_SECONDS:g} s")
    stage.check("the reference application fails at startup" in server.running.output, "the message is not in its output")
    # Whoever started it takes 0 for an end in order; the text says nothing of it.
    stage.tell(f"the exit status {server.running.exit_status}")


@LIFESPAN.scenario(
    "asgi.life.wrong-message",
    "ASGI, Error Handling",
    level=Level.SHOULD,
    says="If a server receives an invalid event dictionary - for example, having an unknown type, missing keys an event type should have, or with "
    "wrong Python types for objects (e.g. Unicode strings for HTTP headers) - it should raise an exception out of the send awaitable back "
    "to the application.",
    expects="an exception out of send() for an http.response.start in the lifespan, and the lifespan going on",
    needs=("lifespan",),
    own=True,
    bad=Distortion(app=swallowing),
)
def wrong_message(stage: Stage) -> None:
    server = stage.own(lifespan="wrong-message")
    stage.check(server.request().status == 200, "a request was not served behind it")
    entry = said(server, "http.response.start")
    quit_server(server)
    stage.check(entry, "the application was not asked to start")
    stage.check(entry and "error" in entry, "send() raised nothing")
