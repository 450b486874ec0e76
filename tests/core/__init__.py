"""Tests of ``asgiserve.core``: no sockets, no clock."""
