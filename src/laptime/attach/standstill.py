"""Loader workers that stand still for a while, and go on whatever happens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import List, Optional

_GUARD = 'read _ || kill -CONT "$@"'
"""Waits for a line; where its other end is gone without one, the processes are let go on."""


class Standstill:
    """Processes that are stopped for a while, and go on whatever happens to this one.

    A guard outlives this process and lets them go on when it is gone. Where this process itself
    hangs, on a lock that one of them holds for example, they are let go on after some time.
    """

    def __init__(self) -> None:
        self._pids: List[int] = []
        self._guard: Optional[subprocess.Popen[bytes]] = None
        self._deadline: Optional[threading.Timer] = None
        self._lock = threading.Lock()
        self.was_late = False
        """Whether the time was over before they were asked to go on."""

    @property
    def is_on(self) -> bool:
        """Whether some processes are stopped."""
        return bool(self._pids)

    def stop(self, pids: List[int], most_s: float) -> None:
        """Stop processes, for so long at most; without a guard they are left alone."""
        if not pids:
            return
        try:
            self._guard = _start_guard(pids)
        except OSError:
            return
        self._pids = pids
        self._deadline = threading.Timer(most_s, self._on_deadline)
        self._deadline.daemon = True
        _signal_all(pids, signal.SIGSTOP)
        self._deadline.start()

    def resume(self) -> None:
        """Let them go on; without any this does nothing."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        with self._lock:
            pids, self._pids = self._pids, []
            guard, self._guard = self._guard, None
        _signal_all(pids, signal.SIGCONT)
        if guard is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                guard.communicate(b"\n", timeout=1)

    def _on_deadline(self) -> None:
        self.was_late = True
        _signal_all(list(self._pids), signal.SIGCONT)


def _start_guard(pids: List[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - a shell, and numbers
        ["/bin/sh", "-c", _GUARD, "sh", *map(str, pids)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,  # an interrupt from the terminal is not meant for it
    )


def _signal_all(pids: List[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
