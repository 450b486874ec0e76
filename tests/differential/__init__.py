"""asgiserve with one parser beside asgiserve with the other, and both beside themselves with the bytes cut in other places.

The law of this package: what should become of a request is never written down here, only that it is the same everywhere. What it should be is said in
``tests/core`` and by the conformance suite.

- ``corpus``: requests that stand in other tables. ``generated``: made up ones, and mutations of both.
- ``observing``: one run of a connection, what can be told of it, and the comparison.
- ``raw``: the parsers alone, for the table of what they cannot agree on (docs/http1-strictness.md).

The default run takes a few hundred generated requests. A long one, new ones each time::

    DIFFERENTIAL_TIMES=100 python -m pytest tests/differential -n 2
"""
