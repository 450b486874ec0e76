"""Certificates for tests: an authority of our own (trustme), a server's and clients' certificates, as files."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Certificates"]


class Certificates:
    """An authority and what it issued, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.certificate = folder / "server.pem"
        self.key = folder / "server.key"
        self.authority_file = folder / "authority.pem"
        issued = self.authority.issue_cert("localhost", "127.0.0.1", "::1")
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.authority_file.write_bytes(self.authority.cert_pem.bytes())

    @property
    def options(self) -> dict[str, str]:
        """The options of a server that uses them."""
        return {"ssl_certfile": str(self.certificate), "ssl_keyfile": str(self.key)}

    def client_context(self, *, certificate: trustme.LeafCert | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A client that trusts the authority, with a certificate of its own if one is given."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context
