"""Runs a command, once or several times, and stands between it and whoever sends signals: a bad process manager, or a server that has workers.

The options may stand anywhere among the arguments; the rest is the command. Standard library only: it is a script for a process of its own.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

FORWARDED = (signal.SIGINT, signal.SIGTERM)


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--launch-workers", type=int, default=1, help="how many processes run the command; what they inherit they share")
    parser.add_argument("--launch-loses", type=int, default=0, help="the how-manieth signal is not handed on")
    parser.add_argument("--launch-kills", type=float, default=None, help="so many seconds after the first signal all are killed")
    options, command = parser.parse_known_args()
    children: list[subprocess.Popen[bytes]] = []
    count = 0

    def kill_all() -> None:
        for child in children:
            child.kill()

    def hand_on(number: int, _: FrameType | None) -> None:
        nonlocal count
        count += 1
        if options.launch_kills is not None and count == 1:
            timer = threading.Timer(options.launch_kills, kill_all)
            timer.daemon = True
            timer.start()
        if count != options.launch_loses:
            for child in children:
                child.send_signal(number)

    for number in FORWARDED:
        signal.signal(number, hand_on)
    # What the suite hands to the server (a socket, and what ends it with us) passes through.
    children.extend(subprocess.Popen(command, close_fds=False) for _ in range(options.launch_workers))
    statuses = [child.wait() for child in children]
    status = next((status for status in statuses if status), 0)
    # As a shell says it where a signal ended the command.
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    # A thread that has still to kill keeps nobody waiting.
    os._exit(main())
