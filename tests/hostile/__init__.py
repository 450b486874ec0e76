"""Hostile HTTP/1.1 requests over real sockets: what each is, the clause that it breaks or tests, and what must become of it.

The law of this package: an entry is data, and what it demands looks at both sides, at every byte that came over the wire and at every call of the
application. The conformance suite's requests are entries as well; its bytes are not written down again here.
"""

from __future__ import annotations
