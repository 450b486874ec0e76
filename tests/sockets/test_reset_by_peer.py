"""A client that resets the connection ends a response without end, although the application waits for nothing but ``send()``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from pytest_asgiserve.raw import RawConnection
from tests.support.certificates import Certificates

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sockets.conftest import Serve
    from tests.support.apps import Receive, Scope, Send


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_a_response_without_end_ends_with_its_client(serve: Serve, tmp_path: Path, how: str, tls: bool) -> None:
    ended = threading.Event()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while not ended.is_set():
                await send({"type": "http.response.body", "body": bytes(16384), "more_body": True})
        finally:
            ended.set()

    certificates = Certificates(tmp_path)
    running = serve(app, **(certificates.options if tls else {}))
    with RawConnection(running.address, tls=certificates.client_context() if tls else None) as client:
        client.get()
        client.read_head()
        for _ in range(20):
            client.read_chunk()
        getattr(client, how)()
    # asyncio's TLS transport swallowed the stream, in a loop that never got a turn again.
    seen = ended.wait(5)
    ended.set()
    assert seen, "the application was not told within 5 s"
