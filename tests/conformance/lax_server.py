"""A lax server in a process of its own, for runs of the suite that are to find something."""

from __future__ import annotations

__all__ = ["LAX"]

# A server that takes whatever looks like a head for a request, and calls the application with it.
LAX = """
import asyncio, os, socket, sys
sys.path.insert(0, sys.argv[2])
from reference import app

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            method, target = head.split(b" ")[:2]
            path, _, query = target.decode("latin-1").partition("?")
            length = 0
            for line in head.split(b"\\r\\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            body = await reader.readexactly(length)
            headers = [tuple(part.strip() for part in line.split(b":", 1)) for line in head.split(b"\\r\\n")[1:] if b":" in line]
            scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method.decode(), "path": path,
                     "raw_path": path.encode(), "query_string": query.encode(), "scheme": "http", "root_path": "",
                     "headers": [(name.lower(), value) for name, value in headers], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}
            sent = []
            messages = [{"type": "http.request", "body": body, "more_body": False}]
            async def receive():
                return messages.pop(0) if messages else {"type": "http.disconnect"}
            async def send(message):
                sent.append(message)
            await app(scope, receive, send)
            start = next(message for message in sent if message["type"] == "http.response.start")
            body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
            fields = [(name, value) for name, value in start.get("headers", ()) if name != b"content-length"]
            writer.write(b"HTTP/1.1 %d OK\\r\\n" % start["status"] + b"".join(b"%s: %s\\r\\n" % field for field in fields)
                         + b"content-length: %d\\r\\n\\r\\n" % len(body) + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()

async def main():
    server = await asyncio.start_server(serve, sock=socket.socket(fileno=int(sys.argv[1])))
    await server.serve_forever()

asyncio.run(main())
"""
