"""TLS for tests: a certificate authority that exists for one session, and what it issues.

The law of this module: nobody has to switch verification off. The authority is made at the first use, its files lie in a private folder that goes
with the process, and no store of the system is touched.
"""

from __future__ import annotations

import atexit
import shutil
import ssl
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from asgiserve.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trustme

__all__ = ["Authority", "session_authority"]

_SERVER_NAMES = ("localhost", "127.0.0.1", "::1")


class Authority:
    """A certificate authority and what it issued; `session_authority` is the one that live servers use.

    ``certificate_file`` is the authority's own certificate (PEM), for clients that want a file: ``curl --cacert``, a browser, ``SSL_CERT_FILE``.
    """

    def __init__(self) -> None:
        try:
            import trustme  # noqa: PLC0415 - only who serves TLS needs it
        except ImportError:
            raise ConfigError("tls=True makes its certificates with trustme, which is not installed: pip install 'asgiserve[pytest]'") from None
        self._authority = trustme.CA()
        self._folder = Path(tempfile.mkdtemp(prefix="asgiserve-tls-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self.certificate_file = self._folder / "authority.pem"
        self._authority.cert_pem.write_to_path(self.certificate_file)
        server = self._authority.issue_cert(*_SERVER_NAMES)
        self._files = self._folder / "server.pem", self._folder / "server.key"
        self._files[0].write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
        server.private_key_pem.write_to_path(self._files[1])
        self._files[1].chmod(0o600)
        self._clients: dict[str, trustme.LeafCert] = {}

    @property
    def server_options(self) -> Mapping[str, str]:
        """The server's options that use it: its certificate for localhost, 127.0.0.1 and ::1, and itself for those of clients."""
        return {"ssl_certfile": str(self._files[0]), "ssl_keyfile": str(self._files[1]), "ssl_ca_certs": str(self.certificate_file)}

    def client_context(self, certificate: str | None = None, *, also_trust: str | None = None) -> ssl.SSLContext:
        """What a client uses: it trusts the authority and nothing else.

        Args:
            certificate: present a certificate of this name, as in ``"alice@example.org"``; it is issued at the first use.
            also_trust: a PEM file with further authorities.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(context)
        if also_trust is not None:
            context.load_verify_locations(also_trust)
        if certificate is not None:
            if certificate not in self._clients:
                self._clients[certificate] = self._authority.issue_cert(certificate, common_name=certificate)
            self._clients[certificate].configure_cert(context)
        return context


_lock = threading.Lock()
_session: Authority | None = None


def session_authority() -> Authority:
    """The authority of this process, made at the first call.

    Raises:
        ConfigError: trustme is not installed.
    """
    global _session  # noqa: PLW0603 - one for all servers of a process is the point: one client can trust them all
    with _lock:
        if _session is None:
            _session = Authority()
        return _session
