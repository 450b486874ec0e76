"""Facts about HTTP without state: RFC 9110 and RFC 9112 as functions and tables.

The law of this package: no I/O, no clock, no connection. Every function takes bytes and returns a value or raises `RemoteProtocolError`; the
ABNF stands beside the regular expression, the clause at the branch. Both HTTP/1.1 parsers and, later, HTTP/2 and HTTP/3 ask here.
"""

from __future__ import annotations

__all__: list[str] = []
