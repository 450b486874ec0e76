"""Tests of `asgiserve.asgi`, one file a module."""
