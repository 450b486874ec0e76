"""The cases for servers, one file a topic.

The law of this package: a case stands in the file that is named after its topic, in the order of the catalogue, and `TOPICS` has every file.
"""

from __future__ import annotations

from typing import Final

from asgi_conformance.suite.asgi_http_messages import HTTP_MESSAGES
from asgi_conformance.suite.http1_chunked import CHUNKED, TRAILERS
from asgi_conformance.suite.http1_connection import CONNECTION
from asgi_conformance.suite.http1_content_length import CONTENT_LENGTH
from asgi_conformance.suite.http1_expect import EXPECT, UPGRADE
from asgi_conformance.suite.http1_fields import FIELDS
from asgi_conformance.suite.http1_host import HOST
from asgi_conformance.suite.http1_line import LINE
from asgi_conformance.suite.http1_message import MESSAGE
from asgi_conformance.suite.http1_target import TARGET
from asgi_conformance.suite.http1_transfer_encoding import TRANSFER_ENCODING

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
    CONNECTION,
    EXPECT,
    UPGRADE,
    # WebSocket
    # ASGI
    HTTP_MESSAGES,
)
