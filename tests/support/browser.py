"""A real browser, headless Chromium."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["browser", "needs_browser"]

_BROWSER: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

needs_browser = pytest.mark.skipif(_BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the PATH")


@contextlib.contextmanager
def browser(url: str, folder: Path, *options: str) -> Iterator[Path]:
    """A browser that shows ``url``; its log. It and all that it started are gone afterwards."""
    assert _BROWSER is not None
    folder.mkdir(parents=True)
    log = folder / "browser.log"
    command = [
        _BROWSER,
        "--headless",
        f"--user-data-dir={folder / 'profile'}",
        # Keeps it open after the page was loaded; nobody connects to it.
        "--remote-debugging-port=0",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-gpu",
        "--no-default-browser-check",
        "--no-first-run",
        "--no-proxy-server",
        # Its sandbox refuses to be root's.
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        *options,
        url,
    ]
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True) as process,
    ):
        try:
            yield log
        finally:
            # Its own session: the group is the browser and the processes that it made.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
