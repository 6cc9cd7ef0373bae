"""An arm's process as the study sees it: asked, waited for with a limit, and ended for certain."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any, Protocol

from laptime.replicate import Outcome
from laptime.studies.ending import ending
from laptime.studies.starters import Starter
from laptime.study import Arm
from laptime.timing.clock import read_ns
from laptime.units import nanoseconds, seconds

_CLOSE_S = 5.0
"""How long an arm that was told to end may take before it is killed."""


class ArmEndedError(Exception):
    """An arm came to an end before its block did; carries the outcome."""

    def __init__(self, status: Outcome, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.status, self.reason, self.refused = status, reason, refused


class ArmHandle(Protocol):
    """An arm that can be asked; the real one is a process, that of a test is not."""

    pids: tuple[int, ...]

    def ask(self, do: str, timeout_s: float, **details: Any) -> dict[str, Any]:
        """Send a request and return the reply.

        Raises:
            ArmEndedError: The arm ended instead, or took too long.
        """

    def tell(self, do: str, **details: Any) -> None:
        """Send a request; :meth:`reply` waits for the answer."""

    def reply(self, timeout_s: float) -> dict[str, Any]:
        """Return the answer to the last request."""

    def let_go(self) -> None:
        """Say that nothing more will be asked: the arm may end by itself."""

    def close(self) -> None:
        """End the arm, whatever it is doing."""


class ArmProcess:
    """A fresh process for one arm, with a group of its own that dies with the study."""

    def __init__(self, arm: Arm, log: Path, starter: Starter) -> None:
        self._process = starter.start(log)
        self.pids: tuple[int, ...] = (self._process.pid,)
        self._read = b""
        self.tell("build", settings=arm.settings.flat(), resident=arm.feed == "resident")

    def ask(self, do: str, timeout_s: float, **details: Any) -> dict[str, Any]:
        """Send a request and return the reply.

        Raises:
            ArmEndedError: The arm ended instead, or took too long.
        """
        self.tell(do, **details)
        return self.reply(timeout_s)

    def tell(self, do: str, **details: Any) -> None:
        """Send a request; :meth:`reply` waits for the answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: the reply will say how
            self._process.stdin.write((json.dumps({"do": do, **details}) + "\n").encode())
            self._process.stdin.flush()

    def reply(self, timeout_s: float) -> dict[str, Any]:
        """Return the answer to the last request.

        Raises:
            ArmEndedError: The arm ended instead, or took too long.
        """
        answer: dict[str, Any] = json.loads(self._line(timeout_s))
        self.pids = tuple(answer.pop("pids"))
        if "ended" in answer:
            self.close()
            raise ArmEndedError(**answer["ended"])
        return answer

    def let_go(self) -> None:
        """Say that nothing more will be asked: the arm may end by itself."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def close(self) -> None:
        """End the arm, whatever it is doing; nothing of it stays stopped or behind."""
        process = self._process
        assert process.stdout is not None
        self.let_go()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_CLOSE_S)
        self._kill_group()
        process.wait()
        process.stdout.close()

    def _kill_group(self) -> None:
        """Kill what is left of the group: SIGKILL reaches stopped processes too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.returncode is None:  # forked just now, it may lead no group yet
            os.kill(self._process.pid, signal.SIGKILL)

    def _line(self, timeout_s: float) -> bytes:
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline_ns = read_ns() + nanoseconds(timeout_s)
        while b"\n" not in self._read:
            left_s = seconds(deadline_ns - read_ns())
            if left_s <= 0 or not select.select([descriptor], [], [], left_s)[0]:
                self._kill_group()
                self.close()
                raise ArmEndedError("timed_out", f"no answer in {timeout_s:g} s")
            chunk = os.read(descriptor, 65_536)
            if not chunk:
                raise self._killed()
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _killed(self) -> ArmEndedError:
        self.close()
        return ArmEndedError(*ending(self._process.returncode))
