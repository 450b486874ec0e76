"""A WebSocket chat: what one client says, all others hear."""

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pytest_asgiserve import LiveServer, WebSocketRejected

ROOMS = {"tea"}


async def chat(websocket: WebSocket) -> None:
    if websocket.path_params["room"] not in ROOMS:
        await websocket.close()
        return
    members: set[WebSocket] = websocket.app.state.members
    await websocket.accept(subprotocol="chat.v1")
    members.add(websocket)
    try:
        while True:
            said = await websocket.receive_json()
            for member in members - {websocket}:
                await member.send_json({"heard": said})
            await websocket.send_json({"told": len(members) - 1})
    except WebSocketDisconnect:
        members.discard(websocket)


@pytest.fixture
def asgi_app() -> Starlette:
    app = Starlette(routes=[WebSocketRoute("/rooms/{room}", chat)])
    app.state.members = set()
    return app


def test_one_speaks_and_the_other_hears(live_server: LiveServer) -> None:
    with (
        live_server.ws("/rooms/tea", subprotocols=["chat.v1"]) as alice,
        live_server.ws("/rooms/tea", subprotocols=["chat.v1"]) as bob,
    ):
        alice.send_json("hello")
        assert alice.receive_json() == {"told": 1}
        assert bob.receive_json() == {"heard": "hello"}


def test_nobody_gets_into_a_room_that_is_not_there(live_server: LiveServer) -> None:
    with pytest.raises(WebSocketRejected) as caught:
        live_server.ws("/rooms/coffee")
    assert caught.value.status == 403
