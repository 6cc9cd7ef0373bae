"""Ends scripts whose tuning was killed: a process stopped in its turn could not notice.

Run as a file, with the standard library only: ``python -I -S watchdog.py``. Standard input names
process groups, ``+1234`` one to watch and ``-1234`` one that has ended; its end is the tuning's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable


def watch(lines: Iterable[str]) -> set[int]:
    """Follow which groups live; return those that are left when the lines end."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    return groups


def end(groups: Iterable[int]) -> None:
    """Kill groups: SIGKILL reaches stopped processes too."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


class Watchdog:
    """The process that watches, as the tuning sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this file, by our own interpreter
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tuning, which ends in order
            text=True,
        )

    def add(self, group: int) -> None:
        """Watch a process group."""
        self._tell(f"+{group}")

    def forget(self, group: int) -> None:
        """Leave a group alone that has ended: its number may be another's soon."""
        self._tell(f"-{group}")

    def close(self) -> None:
        """End it; nothing is watched any more."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # somebody has killed it: then nobody watches
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()


if __name__ == "__main__":
    end(watch(sys.stdin))
