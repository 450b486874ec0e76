"""httpx clients that always reach the server, whatever a test has put into httpx.

The law of this module: what a test mocks is the application's way to others, never the test's way to the application. ``httpx_mock`` (pytest-httpx),
respx and others replace methods in the classes of httpx and httpcore. The classes here hold every method that they inherit themselves, so that no
replacement in a class above them is seen; that is done for all methods alike, and only public names are used. What was replaced before this module
is imported is put right where the replacement is a function that holds on to the original, as with those two; a ``MagicMock`` does not.
"""

from __future__ import annotations

import contextlib
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpcore
import httpx

from pytest_asgiserve.departure import CLOSE_WITH_RESET, ResettingBackend

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterator, Mapping

__all__ = ["make_async_client", "make_client"]

_Class = TypeVar("_Class", bound=type)

_TIMEOUT: Final = 5.0
"""Seconds of each wait of a client: for a connection, for the next bytes, and to get rid of some."""

_LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)

# httpx's options that the address of the server decides, or that a transport of its own would take no notice of.
_DECIDED: Final = frozenset({"verify", "cert", "trust_env", "http1", "http2", "proxy", "transport"})


# No replaced methods.


def _original(function: FunctionType, package: str, seen: set[int]) -> FunctionType | None:
    """The function of ``package`` that ``function`` stands for: itself, or the one that its closure holds on to."""
    seen.add(id(function))
    if function.__module__.partition(".")[0] == package:
        return function
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # an empty cell
            held = cell.cell_contents
            if isinstance(held, FunctionType) and id(held) not in seen:
                found = _original(held, package, seen)
                if found is not None:
                    return found
    return None


def _detached(made: _Class) -> _Class:
    """Let the class hold every method that it inherits itself."""
    for base in made.__mro__[1:-1]:
        package = base.__module__.partition(".")[0]
        for name, value in vars(base).items():
            if isinstance(value, FunctionType) and name not in vars(made):
                setattr(made, name, _original(value, package, set()) or value)
    return made


@_detached
class _Client(httpx.Client):
    pass


@_detached
class _AsyncClient(httpx.AsyncClient):
    pass


@_detached
class _Connection(httpcore.HTTPConnection):
    pass


@_detached
class _AsyncConnection(httpcore.AsyncHTTPConnection):
    pass


@_detached
class _Pool(httpcore.ConnectionPool):
    """A pool of our own connections. ``options`` are those that a connection takes as well."""

    def __init__(self, limits: httpx.Limits, **options: Any) -> None:
        super().__init__(max_connections=limits.max_connections, max_keepalive_connections=limits.max_keepalive_connections, **options)
        self.__options = options

    def create_connection(self, origin: httpcore.Origin) -> httpcore.ConnectionInterface:
        return _Connection(origin, **self.__options)


@_detached
class _AsyncPool(httpcore.AsyncConnectionPool):
    """`_Pool`, on asyncio and trio."""

    def __init__(self, limits: httpx.Limits, **options: Any) -> None:
        super().__init__(max_connections=limits.max_connections, max_keepalive_connections=limits.max_keepalive_connections, **options)
        self.__options = options

    def create_connection(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        backend = ResettingBackend() if self.__options["uds"] is None and ResettingBackend.serves(origin) else None
        return _AsyncConnection(origin, network_backend=backend, **self.__options)


# From httpx to httpcore and back.

_ERRORS: Final[Mapping[type, type[httpx.TransportError]]] = {
    httpcore.TimeoutException: httpx.TimeoutException,
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.NetworkError: httpx.NetworkError,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.ProxyError: httpx.ProxyError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.ProtocolError: httpx.ProtocolError,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
}


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Raise httpcore's errors as httpx's, the nearest kind that there is."""
    try:
        yield
    except Exception as error:
        for kind in type(error).__mro__:
            if kind in _ERRORS:
                raise _ERRORS[kind](str(error)) from error
        raise


def _to_httpcore(request: httpx.Request) -> httpcore.Request:
    url = httpcore.URL(scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path)
    return httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions)


def _from_httpcore(response: httpcore.Response, stream: httpx.SyncByteStream | httpx.AsyncByteStream) -> httpx.Response:
    return httpx.Response(response.status, headers=response.headers, stream=stream, extensions=response.extensions)


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _errors():
            yield from self._response.iter_stream()

    def close(self) -> None:
        with _errors():
            self._response.close()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        with _errors():
            await self._response.aclose()


class _Transport(httpx.BaseTransport):
    def __init__(self, pool: _Pool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with _errors():
            response = self._pool.handle_request(_to_httpcore(request))
        return _from_httpcore(response, _Body(response))

    def close(self) -> None:
        with _errors():
            self._pool.close()


class _AsyncTransport(httpx.AsyncBaseTransport):
    def __init__(self, pool: _AsyncPool) -> None:
        self._pool = pool

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with _errors():
            response = await self._pool.handle_async_request(_to_httpcore(request))
        return _from_httpcore(response, _AsyncBody(response))

    async def aclose(self) -> None:
        with _errors():
            await self._pool.aclose()


# What is public.


def _pool_options(uds: str | None, tls: ssl.SSLContext | None, options: dict[str, Any]) -> dict[str, Any]:
    """Take out of ``options`` what is the pool's; the arguments of the pool.

    Raises:
        TypeError: an option is not to be given.
    """
    decided = sorted(_DECIDED & options.keys())
    if decided:
        raise TypeError(f"no options of a client that the server has made for you: {', '.join(decided)}")
    options.setdefault("timeout", _TIMEOUT)
    limits: httpx.Limits = options.pop("limits", _LIMITS)
    return {
        "limits": limits,
        "keepalive_expiry": limits.keepalive_expiry,
        "uds": uds,
        "ssl_context": tls,
        # An application that still sends, or waits for the end, is told of it when the client gives up.
        "socket_options": [CLOSE_WITH_RESET] if uds is None else [],
    }


def make_client(base_url: str, *, uds: str | None = None, tls: ssl.SSLContext | None = None, **options: Any) -> httpx.Client:
    """An `httpx.Client` for the server at ``base_url``. It speaks HTTP/1.1, and uses neither the proxies nor the certificates of the environment.

    What it raises are httpx's own errors. A response that it gives up, half read or waited for too long, is given up with a RST, so that the
    application gets its ``http.disconnect``.

    Args:
        base_url: what paths are relative to: ``client.get("/items")``.
        uds: the path of a UNIX socket that every request goes to, whatever its URL.
        tls: what https is verified with. It is made to offer HTTP/1.1 alone (ALPN). Without it one is made at the first request that needs it.
        options: of `httpx.Client`: ``headers``, ``cookies``, ``auth``, ``timeout`` (seconds, 5 by default), ``limits``, ``follow_redirects``,
            ``event_hooks``, …

    Raises:
        TypeError: an option is not httpx's, or is one of those that are decided here: ``verify``, ``cert``, ``trust_env``, ``http1``, ``http2``,
            ``proxy``, ``transport``.
    """
    pool = _Pool(**_pool_options(uds, tls, options))
    return _Client(base_url=base_url, transport=_Transport(pool), trust_env=False, **options)


def make_async_client(base_url: str, *, uds: str | None = None, tls: ssl.SSLContext | None = None, **options: Any) -> httpx.AsyncClient:
    """An `httpx.AsyncClient`, for asyncio and trio. Arguments and errors are those of `make_client`."""
    pool = _AsyncPool(**_pool_options(uds, tls, options))
    return _AsyncClient(base_url=base_url, transport=_AsyncTransport(pool), trust_env=False, **options)
