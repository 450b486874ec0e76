"""The ASGI contract: what an application is told of TLS (ASGI TLS 0.2).

The law of this module: what the server says is compared with what the client negotiated; certificates are made when they are asked for.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from asgi_conformance.case import Distortion, Level, Topic
from asgi_conformance.peer import Unavailable
from asgi_conformance.suite.dialogue import plain, scoped
from asgiserve import ConfigError
from pytest_asgiserve.authority import session_authority

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asgi_conformance.stage import Stage
    from pytest_asgiserve.authority import Authority
    from pytest_asgiserve.raw import RawConnection

__all__ = ["TLS", "authority_of_tests"]

TLS: Final = Topic("asgi/tls", "ASGI: TLS")

_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
"""RFC 5246 and RFC 8446."""
_OK: Final = 200
_CLIENT: Final = "alice@example.org"
_KEYS: Final = ("server_cert", "tls_version", "cipher_suite")
"""The mandatory ones."""


def authority_of_tests() -> Authority:
    """Who makes the certificates.

    Raises:
        Unavailable: trustme is not installed.
    """
    try:
        return session_authority()
    except ConfigError:
        raise Unavailable("certificates are made with trustme, which is not installed: pip install 'asgiserve[pytest]'") from None


def _extension(stage: Stage) -> Mapping[str, Any] | None:
    """The extension ``tls`` of the last scope."""
    extensions = plain(stage.record().scope.get("extensions")) or {}
    found: Mapping[str, Any] | None = extensions.get("tls")
    return found


def _told(stage: Stage, connection: RawConnection) -> Mapping[str, Any]:
    """The extension ``tls`` of the scope of a request on ``connection``.

    Raises:
        Unavailable: the server does not advertise it.
    """
    stage.mark()
    try:
        status = connection.exchange("/").status
    except ssl.SSLError as error:
        stage.check(kept=False, seen=f"a request over TLS: {type(error).__name__}: {error.reason}")
    else:
        stage.check(status == _OK, f"a request over TLS was answered with {status}")
    found = _extension(stage)
    if found is None:
        raise Unavailable("it does not advertise tls")
    return found


def _cipher_suite(connection: RawConnection, context: ssl.SSLContext) -> int:
    """The number of what was negotiated, as the client has it."""
    name = connection.sock.cipher()[0]  # type: ignore[attr-defined]  # a TLS socket
    return next(int(cipher["id"]) & 0xFFFF for cipher in context.get_ciphers() if cipher["name"] == name)


def _check_common(stage: Stage, tls: Mapping[str, Any], connection: RawConnection, context: ssl.SSLContext) -> None:
    """The three facts of the connection itself."""
    sock: Any = connection.sock
    stage.check(isinstance(tls, dict), f"the extension is {tls!r}")
    missing = [key for key in _KEYS if key not in tls]
    stage.check(not missing, f"not there, though mandatory: {', '.join(missing)}")
    told, right = tls["tls_version"], _VERSIONS[sock.version()]
    stage.check(told is None or (type(told) is int and told == right), f"tls_version is {told!r} where {right} was negotiated")
    told, right = tls["cipher_suite"], _cipher_suite(connection, context)
    stage.check(told is None or (type(told) is int and told == right), f"cipher_suite is {told!r} where {right} was negotiated")
    told = tls["server_cert"]
    stage.check(told is None or (isinstance(told, str) and _der(told) == sock.getpeercert(binary_form=True)), f"server_cert is {told!r:.80}")
    stage.check(tls.get("client_cert_error") is None, f"client_cert_error is {tls.get('client_cert_error')!r}")


def _der(pem: str) -> bytes:
    """The bytes of a certificate; none where it is not PEM."""
    try:
        return ssl.PEM_cert_to_DER_cert(pem)
    except ValueError:
        return b""


def _check_client(stage: Stage, tls: Mapping[str, Any], *, presented: bool) -> None:
    """The facts of the client's certificate."""
    chain, name = list(tls.get("client_cert_chain") or ()), tls.get("client_cert_name")
    if not presented:
        stage.check(not chain and name is None, f"no certificate was presented, and the application is told {name!r} and {len(chain)} certificates")
        return
    stage.check(all(isinstance(one, str) and _der(one) for one in chain), "a certificate of the client's chain is no PEM")
    stage.check(not chain or _CLIENT.encode() in _der(chain[0]), "the first certificate of the chain is not the client's")
    stage.check(not chain or isinstance(name, str), f"with a chain client_cert_name is {name!r}")
    # RFC 4514 §2: the name's parts as key=value, with commas between.
    stage.check(name is None or f"CN={_CLIENT}" in str(name).split(","), f"client_cert_name is {name!r}")
    if not chain:
        stage.tell("the client's certificate is not shown")


def _garble(scope: dict[str, Any]) -> dict[str, Any]:
    """The version as text, which is what Python's ssl module calls it."""
    extensions = dict(scope.get("extensions", {}))
    if "tls" in extensions:
        extensions["tls"] = {**extensions["tls"], "tls_version": "TLSv1.3"}
    return {**scope, "extensions": extensions}


@TLS.scenario(
    "asgi.ext.tls",
    "ASGI TLS, TLS Connection Scope",
    level=Level.MUST,
    says='Inside that dictionary, the key "tls" identifies the extension specified in this document. The value will be a dictionary with the '
    "following entries.",
    expects="tls_version and cipher_suite as the numbers of what was negotiated, or None; the server's certificate as PEM, or None; the client's "
    "chain and name where it presented one, or nothing",
    bad=Distortion(app=scoped(_garble)),
    needs=("tls",),
    own=True,
)
def tls_facts(stage: Stage) -> None:
    authority = authority_of_tests()
    files = authority.server_options
    settings: dict[str, Any] = {"certfile": files["ssl_certfile"], "keyfile": files["ssl_keyfile"]}
    asks = {"ca_certs", "cert_reqs"} <= stage.running.settings.keys()
    if asks:
        settings |= {"ca_certs": files["ssl_ca_certs"], "cert_reqs": int(ssl.CERT_OPTIONAL)}
    own = stage.own(settings=settings)
    spoken = []
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        for certificate in (None, _CLIENT) if asks else (None,):
            context = authority.client_context(certificate)
            context.minimum_version = context.maximum_version = version
            try:
                connection = own.connect(tls=context)
            except (ssl.SSLError, ConnectionError):
                stage.tell(f"no handshake by {version.name}")
                continue
            spoken.append(context)
            tls = _told(own, connection)
            _check_common(stage, tls, connection, context)
            _check_client(stage, tls, presented=certificate is not None)
    stage.check(spoken, "no handshake, neither by TLS 1.3 nor by TLS 1.2")
    if not asks:
        stage.tell("it cannot be told to ask for the client's certificate")
    if "websocket" in stage.features:
        own.mark()
        frames = own.frames(tls=spoken[0])
        frames.shake_hands()
        frames.close()
        frames.read_frame()
        found = _extension(own)
        if found is None:
            stage.warn("a WebSocket over TLS has no tls among its extensions, as a request has")
        else:
            _check_common(stage, found, frames.connection, spoken[0])


def _shown(scope: dict[str, Any]) -> dict[str, Any]:
    return {**scope, "extensions": {**scope.get("extensions", {}), "tls": {"server_cert": None, "tls_version": None, "cipher_suite": None}}}


@TLS.scenario(
    "asgi.ext.tls-absent",
    "ASGI TLS, When to use this extension",
    level=Level.MUST,
    says="For non-TLS connections, the ASGI server is forbidden from providing this extension.",
    expects="no tls among the extensions of a request and of a WebSocket without TLS",
    bad=Distortion(app=scoped(_shown)),
)
def tls_absent(stage: Stage) -> None:
    stage.request()
    record = stage.record()
    stage.check("tls" not in (record.scope.get("extensions") or {}), "tls among the extensions of a request without TLS")
    if "websocket" in stage.features:
        stage.mark()
        stage.websocket().finish()
        record = stage.record()
        stage.check("tls" not in (record.scope.get("extensions") or {}), "tls among the extensions of a WebSocket without TLS")
