"""Somebody's script as an arm: started with the recorder in it, and asked through its gate."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import select
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laptime.errors import SettingsError, StoreError
from laptime.files import read_json, read_lines, remove_tree
from laptime.launch.recorded import recorder_environment
from laptime.launch.recorded_end import end_of, nothing_recorded
from laptime.replicate import Outcome
from laptime.script_store import new_script_status
from laptime.studies.ending import ending
from laptime.studies.process import ArmEndedError
from laptime.timing.clock import read_ns
from laptime.tuning.arms.family import family, kill
from laptime.tuning.arms.watchdog import Watchdog
from laptime.units import nanoseconds, seconds

_CLOSE_S = 5.0
"""How long a script that was told to end may take before it is killed."""

_LOOK_S = 0.1
"""How often it is seen whether a script lives that has not come to its first step."""

WARM_UP_STEPS = 5
"""Run before the first turn of every arm and not counted, as in studies."""

_LONGEST_LINE = 200

_OUT_OF_MEMORY = re.compile("out of memory|OutOfMemory|MemoryError|Cannot allocate memory")


class ScriptProcess:
    """One process of a script, with a group of its own; nothing of it stays behind.

    What it prints goes to a log, and it reads nothing. When it ends by itself what it has left in
    its files answers for it.

    Args:
        command: What to run.
        overrides: What is changed in it.
        log: Where its output is added.
        watchdog: Who ends it if we cannot.
        warm_up: Steps before the first turn.
    """

    def __init__(
        self,
        command: Sequence[str],
        overrides: Mapping[str, object],
        log: Path,
        watchdog: Watchdog,
        warm_up: int = WARM_UP_STEPS,
    ) -> None:
        self._room = Path(tempfile.mkdtemp(prefix="laptime-"))  # a socket's path must be short
        self.run = self._room / "run"
        self.run.mkdir()
        self._command, self._log = tuple(command), log
        self._watchdog, self._warm_up = watchdog, warm_up
        self._gate = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._gate.bind(str(self._room / "gate"))
        self._gate.listen()
        self._channel: socket.socket | None = None
        self._read = b""
        self._ended: ArmEndedError | None = None
        self._is_over = False
        self.recorder: dict[str, Any] = {}
        """What the recorder has written of it; whole once it is closed."""
        self._process = self._start(overrides)
        self._watchdog.add(self._process.pid)
        self.pids: tuple[int, ...] = (self._process.pid,)

    def ask(self, do: str, timeout_s: float, **details: Any) -> dict[str, Any]:
        """Send a request and return the reply; of a script at its end, what its files hold.

        Raises:
            ArmEndedError: The script ended instead, or took too long.
        """
        if self._ended is not None:
            return self._left(do)
        if do == "prepare":
            details.setdefault("warm_up", self._warm_up)
        self.tell(do, **details)
        answer = self.reply(timeout_s)
        if do == "prepare":
            return self._prepared(answer)
        return _known(answer)

    def tell(self, do: str, **details: Any) -> None:
        """Send a request; :meth:`reply` waits for the answer."""
        if self._channel is not None:
            with contextlib.suppress(OSError):  # it has ended: the reply will say how
                self._channel.sendall((json.dumps({"do": do, **details}) + "\n").encode())

    def reply(self, timeout_s: float) -> dict[str, Any]:
        """Return the answer to the last request; at first, wait for the first step of a training.

        Raises:
            ArmEndedError: The script ended instead, or took too long.
        """
        deadline_ns = read_ns() + nanoseconds(timeout_s)
        if self._channel is None:
            self._channel = self._accepted(deadline_ns, timeout_s)
            self._look_around()
            return {}
        answer: dict[str, Any] = json.loads(self._line(deadline_ns, timeout_s))
        self._look_around(answer.pop("pids", ()))
        if "ended" in answer:
            raise self._over(answer["ended"])
        if "error" in answer:
            raise ArmEndedError("failed", str(answer["error"]))
        return answer

    def let_go(self) -> None:
        """Say that nothing more will be asked: the script may end by itself."""
        if self._ended is None:
            self.tell("close")

    def end(self) -> None:
        """End the script, whatever it is doing; nothing of it stays stopped. Its files do."""
        if self._is_over:
            return
        self._is_over = True
        if self._channel is not None:
            self.let_go()
            self._wait()
        self._kill()
        self._watchdog.forget(self._process.pid)
        self.recorder = self._written()

    def close(self) -> None:
        """End the script and remove what only it needed."""
        self.end()
        for end in (self._channel, self._gate):
            if end is not None:
                end.close()
        with contextlib.suppress(StoreError):  # whoever left the family may still write here
            remove_tree(self._room)

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it lives."""
        return self._process.poll()

    def last_line(self) -> str:
        """Return the last thing that it said."""
        said = [line.strip() for line in read_lines(self._log) if line.strip()]
        return said[-1][:_LONGEST_LINE] if said else ""

    def _start(self, overrides: Mapping[str, object]) -> subprocess.Popen[bytes]:
        environ = recorder_environment(
            self.run, CONTROL=str(self._room / "gate"), OVERRIDES=json.dumps(overrides)
        )
        try:
            with self._log.open("ab") as output:
                return subprocess.Popen(  # noqa: S603 - to run it is what was asked for
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environ,
                    start_new_session=True,
                )
        except OSError as error:
            self._gate.close()
            remove_tree(self._room)
            raise SettingsError(
                f"{self._command[0]!r} cannot be started ({error.strerror}). See that it can run."
            ) from error

    def _accepted(self, deadline_ns: int, timeout_s: float) -> socket.socket:
        """Wait until the script has taken its first step and stands at the gate."""
        while not select.select([self._gate], [], [], _LOOK_S)[0]:
            if self._process.poll() is not None:
                raise self._without_a_step()
            if read_ns() > deadline_ns:
                raise self._timed_out(timeout_s)
        return self._gate.accept()[0]

    def _line(self, deadline_ns: int, timeout_s: float) -> bytes:
        assert self._channel is not None
        while b"\n" not in self._read:
            left_s = seconds(deadline_ns - read_ns())
            if left_s <= 0 or not select.select([self._channel], [], [], left_s)[0]:
                raise self._timed_out(timeout_s)
            chunk = b""
            with contextlib.suppress(OSError):  # reset by a script that was killed
                chunk = self._channel.recv(1 << 16)
            if not chunk:
                self._wait()
                raise self._at_an_end("without a word")
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _over(self, ended: Mapping[str, str]) -> ArmEndedError:
        """Return how the script ended by itself: what it answers is not its exit status."""
        self._wait()
        if ended["status"] == "completed" and self._process.returncode not in (0, None):
            return self._at_an_end("")
        status: Outcome = "diverged" if ended["status"] == "diverged" else "completed"
        if ended["status"] == "failed":
            status = "failed"
        self._ended = ArmEndedError(status, ended["reason"])
        return self._ended

    def _without_a_step(self) -> ArmEndedError:
        """Return how a script ended that took no step; ``refused``: it came to a good end."""
        if self._process.returncode:
            return self._at_an_end("before its first step")
        ended = end_of(new_script_status(self._command), 0, self.run, 0)
        self._ended = ArmEndedError("failed", nothing_recorded(ended, self.run), refused=True)
        return self._ended

    def _at_an_end(self, when: str) -> ArmEndedError:
        code = self._process.returncode
        status, reason = ending(code if code is not None else -signal.SIGKILL)
        last = self.last_line() if status == "failed" else ""
        if _OUT_OF_MEMORY.search(last):
            status = "out_of_memory"
        said = f": {last}" if last else ""
        self._ended = ArmEndedError(status, f"{reason} {when}".rstrip() + said)
        return self._ended

    def _timed_out(self, timeout_s: float) -> ArmEndedError:
        self._kill()
        self._ended = ArmEndedError("timed_out", f"no answer in {timeout_s:g} s")
        return self._ended

    def _wait(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSE_S)

    def _look_around(self, told: Sequence[int] = ()) -> None:
        """Note all that belongs to the script, the command's own process first."""
        living = [process.pid for process in family(self._process.pid)]
        self.pids = tuple(dict.fromkeys((self._process.pid, *told, *living)))

    def _kill(self) -> None:
        """Kill what is left, in its group and beyond: SIGKILL reaches stopped processes too."""
        beyond = family(self._process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        kill(beyond)
        self._process.wait()

    def _prepared(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the facts of a start; its first steps belong to it, and what they compile."""
        self.recorder = answer.pop("recorder", {})
        loader = training_loader(self.recorder)
        facts = _known(answer)
        first_steps_ns = self._warm_up * int(answer.get("step_ns") or 0)
        facts["setup_ns"] = int(answer.get("setup_ns") or 0) + first_steps_ns
        facts["prefetch_factor"] = (loader or {}).get("prefetch_factor")
        return facts

    def _left(self, do: str) -> dict[str, Any]:
        """Answer for a script that has ended, from what it has written."""
        if do == "losses":
            rows = [json.loads(line) for line in read_lines(self.run / "steps.jsonl")]
            return {"losses": [_finite(row["loss"]) for row in rows]}
        if do == "edges":
            loader = training_loader(self._written()) or {}
            starts = loader.get("start_ns", [])
            return {"loader_start_ns": starts[1:], "loader_end_ns": loader.get("end_ns", [])}
        return {}

    def _written(self) -> dict[str, Any]:
        path = self.run / "recorder.json"
        found: dict[str, Any] = read_json(path) if path.is_file() else self.recorder
        return found


def training_loader(recorder: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the loader that training reads most; None where there is none."""
    loaders = [row for row in recorder.get("loaders", ()) if row.get("training_passes")]
    return max(loaders, key=lambda row: int(row["training_passes"]), default=None)


def _known(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer with 0 for an epoch of unknown length, and only finite losses."""
    found = dict(answer)
    if "steps_per_epoch" in found:
        found["steps_per_epoch"] = found["steps_per_epoch"] or 0.0
    for name in ("losses", "first_losses"):
        if name in found:
            found[name] = [_finite(loss) for loss in found[name]]
    return found


def _finite(loss: float | None) -> float | None:
    return loss if loss is not None and math.isfinite(loss) else None
