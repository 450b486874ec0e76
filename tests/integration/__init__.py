"""Tests with real frameworks, real clients and real processes."""
