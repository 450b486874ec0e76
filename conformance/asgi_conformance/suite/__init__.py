"""The cases for servers, one file a topic.

The law of this package: a case stands in the file that is named after its topic, in the order of the catalogue, and `TOPICS` has every file.
"""

from __future__ import annotations

from typing import Final

from asgi_conformance.suite.asgi_extensions import EXTENSIONS
from asgi_conformance.suite.asgi_http_errors import HTTP_ERRORS
from asgi_conformance.suite.asgi_http_messages import HTTP_MESSAGES
from asgi_conformance.suite.asgi_http_receive import HTTP_RECEIVE
from asgi_conformance.suite.asgi_http_tasks import HTTP_TASKS
from asgi_conformance.suite.asgi_lifespan import LIFESPAN
from asgi_conformance.suite.asgi_process import PROCESS
from asgi_conformance.suite.asgi_scope import SCOPE
from asgi_conformance.suite.asgi_scope_values import SCOPE_VALUES
from asgi_conformance.suite.asgi_tls import TLS
from asgi_conformance.suite.asgi_websocket import ASGI_WEBSOCKET
from asgi_conformance.suite.asgi_websocket_close import ASGI_WEBSOCKET_CLOSE
from asgi_conformance.suite.http1_chunked import CHUNKED, TRAILERS
from asgi_conformance.suite.http1_connection import CONNECTION
from asgi_conformance.suite.http1_content_length import CONTENT_LENGTH
from asgi_conformance.suite.http1_expect import EXPECT, UPGRADE
from asgi_conformance.suite.http1_fields import FIELDS
from asgi_conformance.suite.http1_host import HOST
from asgi_conformance.suite.http1_line import LINE
from asgi_conformance.suite.http1_load import LOAD
from asgi_conformance.suite.http1_message import MESSAGE
from asgi_conformance.suite.http1_response import RESPONSE
from asgi_conformance.suite.http1_response_content import RESPONSE_CONTENT
from asgi_conformance.suite.http1_target import TARGET
from asgi_conformance.suite.http1_timeouts import TIMEOUTS
from asgi_conformance.suite.http1_tls import HTTP_TLS
from asgi_conformance.suite.http1_transfer_encoding import TRANSFER_ENCODING
from asgi_conformance.suite.websocket_close import CLOSING, KEEP_ALIVE
from asgi_conformance.suite.websocket_compression import COMPRESSION
from asgi_conformance.suite.websocket_frames import FRAMES, MESSAGES
from asgi_conformance.suite.websocket_handshake import HANDSHAKE
from asgi_conformance.suite.websocket_limits import LIMITS
from asgi_conformance.suite.websocket_utf8 import UTF8

__all__ = ["TOPICS"]

TOPICS: Final = (
    # HTTP/1.1
    LINE,
    TARGET,
    FIELDS,
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CHUNKED,
    TRAILERS,
    MESSAGE,
    RESPONSE,
    RESPONSE_CONTENT,
    CONNECTION,
    EXPECT,
    UPGRADE,
    TIMEOUTS,
    HTTP_TLS,
    LOAD,
    # WebSocket
    HANDSHAKE,
    FRAMES,
    MESSAGES,
    LIMITS,
    UTF8,
    CLOSING,
    KEEP_ALIVE,
    COMPRESSION,
    # ASGI
    SCOPE,
    SCOPE_VALUES,
    HTTP_RECEIVE,
    HTTP_MESSAGES,
    HTTP_ERRORS,
    HTTP_TASKS,
    ASGI_WEBSOCKET,
    ASGI_WEBSOCKET_CLOSE,
    LIFESPAN,
    PROCESS,
    EXTENSIONS,
    TLS,
)
