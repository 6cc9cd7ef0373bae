"""What a replay needs: copies of batches, and loader workers that stand still meanwhile."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import subprocess
import threading
from typing import Any, List, Optional

MOST_BATCHES = 8
MOST_BYTES = 512 * 2**20

_GUARD = 'read _ || kill -CONT "$@"'
"""Waits for a line; where its other end is gone without one, the processes are let go on."""


class Shelf:
    """Batches of one loader, kept to be given again."""

    def __init__(self, *, is_pinned: bool) -> None:
        self._is_pinned = is_pinned
        self._batches: List[Any] = []
        self._next = 0
        self.kept_bytes = 0
        self.refused = ""
        """Why a batch could not be kept."""

    def __len__(self) -> int:
        return len(self._batches)

    def keep(self, batch: Any, most_bytes: int) -> None:
        """Keep a copy of a batch, if there is room for it."""
        if self.refused or len(self._batches) >= MOST_BATCHES:
            return
        size = size_of(batch)
        if self.kept_bytes + size > most_bytes:
            if not self._batches:
                self.refused = f"a batch takes {size / 2**20:.0f} MiB"
            return
        try:
            self._batches.append(copied(batch, is_pinned=False))
        except Exception as error:  # noqa: BLE001 - a batch may be anything
            self.refused = f"a batch cannot be copied ({type(error).__name__}: {error})"
            return
        self.kept_bytes += size

    def give(self) -> Any:
        """Return a copy of the next batch: the script may change what it gets."""
        batch = self._batches[self._next % len(self._batches)]
        self._next += 1
        return copied(batch, is_pinned=self._is_pinned)


def copied(value: Any, *, is_pinned: bool) -> Any:
    """Return a batch of the same structure and types that shares no memory with this one."""
    import torch

    kind = type(value)
    if kind is torch.Tensor and not value.requires_grad:
        if is_pinned and value.device.type == "cpu":
            return torch.empty_like(value, pin_memory=True).copy_(value)
        return value.clone()
    if kind is list:
        return [copied(part, is_pinned=is_pinned) for part in value]
    if kind is tuple:
        return tuple(copied(part, is_pinned=is_pinned) for part in value)
    if kind is dict:
        return {name: copied(part, is_pinned=is_pinned) for name, part in value.items()}
    another = copy.deepcopy(value)
    if is_pinned:
        from torch.utils.data._utils.pin_memory import pin_memory

        return pin_memory(another)
    return another


def size_of(value: Any, depth: int = 4) -> int:
    """Return the bytes of the arrays in a batch; what is no array counts as nothing."""
    if hasattr(value, "element_size") and hasattr(value, "numel"):
        return int(value.numel() * value.element_size())
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if not depth:
        return 0
    if isinstance(value, (list, tuple)):
        return sum(size_of(part, depth - 1) for part in value)
    parts = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return sum(size_of(part, depth - 1) for part in list(parts.values()))


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
        self._deadline.start()
        _signal_all(pids, signal.SIGSTOP)

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
    return subprocess.Popen(
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

