"""Inputs that nobody wrote down: `python fuzz/run.py`. Nothing of it is installed."""
