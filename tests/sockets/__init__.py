"""Tests over real sockets: every parser on every event loop."""
