"""TLS: the server's context, and what the ``tls`` extension says of a connection (ASGI tls.rst 0.2).

The law of this module: secure by default (TLS 1.2 and newer, OpenSSL's ciphers), and a mistake in files or passwords is one clear line.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asgiserve.errors import ConfigError

if TYPE_CHECKING:
    from asgiserve.config import TlsConfig

__all__ = ["ServerTls", "make_tls"]

_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
# RFC 4514 §3: the short names; anything else keeps OpenSSL's name.
_ATTRIBUTES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


class ServerTls:
    """A server's TLS: the context, and what the extension needs of it."""

    def __init__(self, context: ssl.SSLContext, certificate: str | None) -> None:
        self.context = context
        self.certificate = certificate
        # SSL_CIPHER_get_id is 0x03000000 plus the number that IANA registered.
        self._ciphers = {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}

    def describe(self, connection: ssl.SSLObject) -> dict[str, Any]:
        """The value of ``extensions["tls"]`` for one connection."""
        cipher = connection.cipher()
        chain = self._client_chain(connection)
        return {
            "server_cert": self.certificate,
            "tls_version": _VERSIONS.get(connection.version() or ""),
            "cipher_suite": self._ciphers.get(cipher[0]) if cipher is not None else None,
            "client_cert_chain": chain,
            "client_cert_name": _name(connection.getpeercert()) if chain else None,
            "client_cert_error": None,
        }

    def _client_chain(self, connection: ssl.SSLObject) -> list[str]:
        """The client's certificates, leaf first; before Python 3.13 only the leaf can be had."""
        leaf = connection.getpeercert(binary_form=True)
        if not leaf:
            # CPython 3.13.0 raises AttributeError for the chain of a client without a certificate.
            return []
        if hasattr(connection, "get_unverified_chain"):
            return [ssl.DER_cert_to_PEM_cert(der) for der in connection.get_unverified_chain()]
        return [ssl.DER_cert_to_PEM_cert(leaf)]


def make_tls(config: TlsConfig) -> ServerTls | None:
    """The TLS of ``config``; None where no certificate is given.

    Raises:
        ConfigError: a file is missing or malformed, the key does not belong to the certificate, the password is wrong, or a cipher unknown.
    """
    if config.ssl_certfile is None:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if config.ssl_version is None else config.ssl_version)
    except ValueError:
        raise ConfigError(f"--ssl-version: {config.ssl_version} is not a PROTOCOL_ value of the ssl module") from None
    if config.ssl_version is None:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_certificate(context, config)
    if config.ssl_ciphers is not None:
        try:
            context.set_ciphers(config.ssl_ciphers)
        except ssl.SSLError:
            raise ConfigError(f"--ssl-ciphers: OpenSSL knows no cipher of {config.ssl_ciphers!r}") from None
    context.verify_mode = ssl.VerifyMode(config.ssl_cert_reqs)
    if config.ssl_ca_certs is not None:
        try:
            context.load_verify_locations(config.ssl_ca_certs)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"--ssl-ca-certs: cannot read {config.ssl_ca_certs}: {_reason(error)}") from None
    return ServerTls(context, _first_certificate(config.ssl_certfile))


def _load_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    certificate, key = config.ssl_certfile or "", config.ssl_keyfile
    for flag, name in (("--ssl-certfile", certificate), ("--ssl-keyfile", key)):
        if name is not None:
            try:
                with Path(name).open("rb"):
                    pass
            except OSError as error:
                raise ConfigError(f"{flag}: cannot read {name}: {error.strerror}") from None
    asked: list[bool] = []

    def password() -> str:
        # Without this OpenSSL asks on the terminal, and a service hangs.
        asked.append(True)
        return config.ssl_keyfile_password or ""

    try:
        context.load_cert_chain(certificate, key, password)
    except ssl.SSLError as error:
        files = f"{certificate} and {key}" if key else certificate
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"--ssl-keyfile: the key {key or certificate} does not belong to the certificate {certificate}") from None
        if asked:
            hint = "is wrong" if config.ssl_keyfile_password else "is needed (--ssl-keyfile-password)"
            raise ConfigError(f"--ssl-keyfile: the key {key or certificate} is encrypted and its password {hint}") from None
        raise ConfigError(f"--ssl-certfile: cannot use {files}: {_reason(error)}; both must be PEM, the key private and without a typo") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"--ssl-certfile: cannot use {certificate}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


def _first_certificate(path: str) -> str | None:
    text = Path(path).read_text("utf-8", "replace")
    begin, end = text.find("-----BEGIN CERTIFICATE-----"), text.find("-----END CERTIFICATE-----")
    return text[begin : end + len("-----END CERTIFICATE-----")] + "\n" if 0 <= begin < end else None


def _name(certificate: Any) -> str | None:
    """The subject as RFC 4514 writes it: last component first."""
    if not certificate:
        return None
    components = reversed(certificate.get("subject", ()))
    return ",".join("+".join(f"{_ATTRIBUTES.get(key, key)}={_escape(value)}" for key, value in component) for component in components) or None


def _escape(value: str) -> str:
    # RFC 4514 §2.4
    escaped = "".join("\\" + char if char in '"+,;<>\\' else ("\\00" if char == "\0" else char) for char in value)
    if escaped.startswith(("#", " ")):
        escaped = "\\" + escaped
    if escaped.endswith(" ") and not escaped.endswith("\\ "):
        escaped = escaped[:-1] + "\\ "
    return escaped
