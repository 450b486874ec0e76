"""HTTP/1.1 over TLS: how a connection ends (RFC 9112 §9.8).

The law of this module: what ends without an alert is seen by the TLS of the client itself, as whoever cuts the connection would show it.
"""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.suite.asgi_tls import authority_of_tests
from pytest_asgiserve.raw import Unanswered

if TYPE_CHECKING:
    from asgi_conformance.stage import Stage
    from pytest_asgiserve.raw import RawConnection

__all__ = ["HTTP_TLS"]

HTTP_TLS: Final = Topic("http1/tls", "HTTP/1.1 over TLS")

_END_SECONDS: Final = 3.0
"""In which a connection ends whose end was announced; a loaded machine included."""
_ALERT: Final = re.compile(rb"(?s)(?:\x17\x03\x03\x00\x13.{19}|\x15\x03\x03\x00.{19,27})\Z")
"""A closure alert at the end of what one read brought: of TLS 1.3, which hides its type (RFC 8446 §5.2), and of TLS 1.2."""


class _Strict(ssl.SSLSocket):
    """A client's end that tells the end of TLS from that of TCP, which Python reads as one unless it is told so."""

    @property
    def suppress_ragged_eofs(self) -> bool:  # type: ignore[override, unused-ignore]  # what ssl sets by itself is what must not be
        return False

    @suppress_ragged_eofs.setter
    def suppress_ragged_eofs(self, _value: bool) -> None:
        pass


def _end(connection: RawConnection) -> str:
    """What is wrong with the end of a connection; empty where there is nothing."""
    sock: Any = connection.sock
    try:
        data = sock.recv(1 << 16)
    except ssl.SSLEOFError:
        return "closed without a closure alert"
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "still open"
    return f"more comes, {data[:60]!r}" if data else ""


@HTTP_TLS.scenario(
    "h1.tls.closure-alert",
    "RFC 9112 §9.8",
    level=Level.MUST,
    says="Servers MUST attempt to initiate an exchange of closure alerts with the client before closing the connection.",
    expects="a closure alert before the end of a connection that the server closes, behind an answer and behind a refusal",
    bad=Distortion(to_client=lambda data: _ALERT.sub(b"", data)),
    needs=("tls",),
    own=True,
)
def closure_alert(stage: Stage) -> None:
    authority = authority_of_tests()
    files = authority.server_options
    own = stage.own(settings={"certfile": files["ssl_certfile"], "keyfile": files["ssl_keyfile"]})
    seen = 0
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context = authority.client_context(None)
        context.minimum_version = context.maximum_version = version
        context.sslsocket_class = _Strict
        requests = [("Connection: close", own.encode_request("Connection: close", script=[["respond", 200, [["content-length", "0"]]]]))]
        if version is ssl.TLSVersion.TLSv1_3:
            # Once is enough: a server may linger behind it.
            requests.append(("a refusal", b"GET / HTTP/1.1\r\n\r\n"))
        for what, request in requests:
            label = f"{what}, {version.name}"
            try:
                connection = own.connect(tls=context, timeout=_END_SECONDS)
            except (ssl.SSLError, ConnectionError):
                stage.tell(f"no handshake by {version.name}")
                break
            connection.send(request)
            try:
                response = connection.read_response()
            except (Unanswered, ConnectionError):
                stage.tell(f"{label}: no answer")
                continue
            if response.closes:
                seen += 1
                problem = _end(connection)
                stage.check(not problem, f"{label}: {problem}")
    stage.require(seen, "it announces the end of no connection")
