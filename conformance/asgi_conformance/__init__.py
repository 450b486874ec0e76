"""The conformance suite: what HTTP, WebSocket and ASGI ask of a server, as cases named by clause, against any ASGI server.

Nothing is in it yet.
"""
