"""Tests of `asgiserve.http`, one file a module."""
