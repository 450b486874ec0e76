"""The pytest plugin: a ``live_server`` fixture that serves an ASGI application to a test over a real socket.

Nothing is in it yet, and pytest does not load it: the entry point is declared with the release that brings the fixture.
"""
