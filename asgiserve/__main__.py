"""``python -m asgiserve``: the command line, where the ``asgiserve`` script is not on the path."""

from __future__ import annotations

from asgiserve.cli import main

if __name__ == "__main__":
    main()
