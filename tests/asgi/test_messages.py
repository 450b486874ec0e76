"""Which message may be sent when: the tables, and what an application is told that breaks them."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import asgiref.typing
import pytest

from asgiserve.asgi.http import HttpCall
from asgiserve.asgi.messages import (
    ACCEPTED,
    CLOSED,
    CONNECTING,
    DENYING,
    HTTP_SEND,
    HTTP_TYPES,
    WEBSOCKET_SEND,
    WEBSOCKET_TYPES,
    as_bytes,
    message_type,
    refuse_order,
)
from asgiserve.core.exchange import ABORTED, BODY, DONE, HELD, RESPONSE_TABLE, TRAILERS, TUNNEL, WAITING
from asgiserve.errors import ClientDisconnected, LocalProtocolError
from tests.support.exchanges import FakePeer, make_context, make_exchange

# What each message makes of an exchange: the inputs of its table of which one must be possible.
INPUTS = {
    "http.response.start": {"respond"},
    "http.response.body": {"body", "last body", "body before trailers"},
    "http.response.pathsend": {"last body", "body before trailers"},
    "http.response.zerocopysend": {"body", "last body", "body before trailers"},
    "http.response.trailers": {"trailers", "last trailers"},
    "http.response.early_hint": {"inform"},
}


def asgiref_types(prefix: str) -> set[str]:
    """The types of the messages that applications send, as asgiref has them."""
    events = [*get_args(asgiref.typing.ASGISendEvent), asgiref.typing.HTTPResponsePathsendEvent]
    names = {get_args(get_type_hints(event)["type"])[0] for event in events}
    # asgiref has the disconnect, which is received, among those that are sent.
    return {name for name in names if name.startswith(prefix)} - {"http.disconnect"}


# ---- the tables


def test_there_is_a_row_for_every_state_of_a_response_but_the_tunnel() -> None:
    assert set(HTTP_SEND) == set(RESPONSE_TABLE) - {TUNNEL}


def test_http_messages_are_those_that_asgi_has_but_for_what_is_not_advertised() -> None:
    # asgiref types neither early hints nor zero copy; server push and debug are not offered.
    ours = HTTP_TYPES - {"http.response.early_hint", "http.response.zerocopysend"}
    assert ours == asgiref_types("http.") - {"http.response.push"}
    assert set(INPUTS) == HTTP_TYPES


def test_websocket_messages_are_those_that_asgi_has() -> None:
    assert asgiref_types("websocket.") == WEBSOCKET_TYPES


@pytest.mark.parametrize("state", [WAITING, HELD, BODY, TRAILERS])
def test_a_message_may_be_sent_exactly_where_the_exchange_can_take_it(state: str) -> None:
    possible = {kind for kind, inputs in INPUTS.items() if inputs & set(RESPONSE_TABLE[state])}
    if state == BODY:
        # Too late for a hint is the server's to know: it is ignored. A whole file is not mixed with other content (S88).
        possible = (possible | {"http.response.early_hint"}) - {"http.response.pathsend"}
    assert HTTP_SEND[state] == possible


@pytest.mark.parametrize("state", [DONE, ABORTED])
def test_at_the_end_no_message_is_out_of_order(state: str) -> None:
    # S43: ignored. S33: the client is gone, whatever the message.
    assert HTTP_SEND[state] == HTTP_TYPES


def test_every_message_has_a_state_in_which_it_may_be_sent() -> None:
    for table, types in ((HTTP_SEND, HTTP_TYPES), (WEBSOCKET_SEND, WEBSOCKET_TYPES)):
        assert set().union(*(kinds for state, kinds in table.items() if state not in {DONE, ABORTED})) == types


def test_the_order_of_websocket_messages() -> None:
    assert {
        CONNECTING: {"websocket.accept", "websocket.close", "websocket.http.response.start"},
        ACCEPTED: {"websocket.send", "websocket.close"},
        DENYING: {"websocket.http.response.body"},
        CLOSED: set(),
    } == WEBSOCKET_SEND


# ---- what is no message


@pytest.mark.parametrize("kind", sorted(HTTP_TYPES))
def test_the_type_of_a_message_is_read_and_other_keys_are_ignored(kind: str) -> None:
    # S10
    assert message_type({"type": kind, "extra": 1}, HTTP_TYPES) == kind


@pytest.mark.parametrize(
    ("message", "told"),
    [
        pytest.param(None, "takes a dict, not NoneType", id="None"),
        pytest.param("http.response.start", "takes a dict, not str", id="text"),
        pytest.param([("type", "http.response.start")], "takes a dict, not list", id="a list"),
        pytest.param({}, "has no type", id="S7 nothing in it"),
        pytest.param({"status": 200}, "has no type", id="S7 no type"),
        pytest.param({"type": None}, "has no type", id="a type of None"),
        pytest.param({"type": b"http.response.start"}, "has no type", id="S8 a type of bytes"),
        pytest.param({"type": ["http.response.start"]}, "has no type", id="a type that cannot be looked up"),
        pytest.param({"type": "http.response.strat"}, "unknown message type 'http.response.strat'", id="S6 a typing error"),
        pytest.param({"type": "http.request"}, "unknown message type 'http.request'", id="S6 a message to the application"),
        pytest.param({"type": "websocket.accept"}, "unknown message type 'websocket.accept'", id="S6 a WebSocket message"),
        pytest.param({"type": "http.response.push"}, "unknown message type 'http.response.push'", id="S93 server push"),
        pytest.param({"type": "http.response.debug"}, "unknown message type 'http.response.debug'", id="S92 debug"),
        pytest.param({"type": "http.fullflush"}, "unknown message type 'http.fullflush'", id="asgi.ext.unknown-message"),
    ],
)
def test_what_is_no_message_is_refused(message: Any, told: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        message_type(message, HTTP_TYPES)
    assert told in str(caught.value)


def test_an_unknown_type_is_told_what_is_expected() -> None:
    with pytest.raises(LocalProtocolError, match=r"expected one of http\.response\.body, .*http\.response\.zerocopysend$"):
        message_type({"type": "x"}, HTTP_TYPES)


# ---- what comes at the wrong time


@pytest.mark.parametrize(
    ("kind", "state", "told"),
    [
        pytest.param(
            "http.response.body", WAITING, "before http.response.start; possible now: http.response.early_hint, http.response.start", id="S9"
        ),
        pytest.param("http.response.start", HELD, "after http.response.start; possible now: http.response.body,", id="two starts"),
        pytest.param(
            "http.response.start", BODY, "after http.response.body has begun; possible now: http.response.body,", id="a start in the content"
        ),
        pytest.param(
            "http.response.body",
            TRAILERS,
            "when only http.response.trailers may follow; possible now: http.response.trailers",
            id="content behind the content",
        ),
    ],
)
def test_a_message_at_the_wrong_time_is_told_what_is_possible(kind: str, state: str, told: str) -> None:
    error = refuse_order(kind, state, HTTP_SEND)
    assert isinstance(error, LocalProtocolError)
    assert str(error).startswith(f"{kind!r} was sent {told}")


@pytest.mark.parametrize(
    ("kind", "state", "told"),
    [
        ("websocket.send", CONNECTING, "before websocket.accept; possible now: websocket.accept, websocket.close, websocket.http.response.start"),
        ("websocket.accept", ACCEPTED, "after websocket.accept; possible now: websocket.close, websocket.send"),
        ("websocket.close", DENYING, "after websocket.http.response.start; possible now: websocket.http.response.body"),
        ("websocket.send", CLOSED, "after the WebSocket was closed; possible now: nothing"),
    ],
)
def test_a_websocket_message_at_the_wrong_time_is_told_what_is_possible(kind: str, state: str, told: str) -> None:
    assert str(refuse_order(kind, state, WEBSOCKET_SEND)) == f"{kind!r} was sent {told}"


@pytest.mark.parametrize("table", [HTTP_SEND, WEBSOCKET_SEND], ids=["http", "websocket"])
def test_there_are_words_for_every_state_in_which_something_is_refused(table: dict[str, frozenset[str]]) -> None:
    for state in set(table) - {DONE, ABORTED}:
        assert "at the wrong time" not in str(refuse_order("x", state, table))


# ---- the end

MESSAGES: list[dict[str, Any]] = [
    {"type": "http.response.start", "status": 200},
    {"type": "http.response.body", "body": b"more"},
    {"type": "http.response.trailers", "headers": [(b"a", b"b")]},
    {"type": "http.response.early_hint", "links": [b"a"]},
    {"type": "http.response.pathsend", "path": "/nowhere"},
    {"type": "http.response.zerocopysend", "file": 0},
]


def send(call: HttpCall, message: dict[str, Any]) -> None:
    """Send a message that has nothing to wait for."""
    with pytest.raises(StopIteration):
        call.send(message).send(None)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: str(message["type"]))
def test_every_message_behind_the_response_is_ignored(message: dict[str, Any]) -> None:
    # S43
    exchange, sink = make_exchange()
    call = HttpCall(make_context(), exchange, FakePeer())
    send(call, MESSAGES[0])
    send(call, {"type": "http.response.body", "body": b"ok"})
    written = sink.take()
    send(call, message)
    assert (sink.calls, exchange.response_state) == ([], DONE)
    assert written[-1] == ("response_ended",)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: str(message["type"]))
def test_every_message_to_a_client_that_is_gone_raises_an_os_error(message: dict[str, Any]) -> None:
    # S33
    exchange, sink = make_exchange()
    exchange.abort()
    sending = HttpCall(make_context(), exchange, FakePeer()).send(message)
    with pytest.raises(ClientDisconnected) as caught:
        sending.send(None)
    assert isinstance(caught.value, OSError)
    assert sink.calls == []


def test_there_is_one_of_each_message_above() -> None:
    assert {message["type"] for message in MESSAGES} == HTTP_TYPES


# ---- bytes


@pytest.mark.parametrize(
    "value", [b"", b"ab", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"xaybz")[1:4:2]], ids=lambda value: type(value).__name__
)
def test_bytes_and_what_is_as_good_are_taken(value: Any) -> None:
    taken = as_bytes(value, "the body")
    assert type(taken) is bytes
    assert taken in {b"", b"ab"}


def test_a_bytearray_is_copied() -> None:
    # The application may fill it again while the transport still has it.
    value = bytearray(b"ab")
    taken = as_bytes(value, "the body")
    value[0] = 0
    assert taken == b"ab"


@pytest.mark.parametrize("value", ["ab", None, 5, [97], {"a": 1}], ids=repr)
def test_what_is_no_bytes_is_refused_by_name(value: Any) -> None:
    # S8
    with pytest.raises(LocalProtocolError, match=f"^the body must be bytes, not {type(value).__name__}$"):
        as_bytes(value, "the body")
