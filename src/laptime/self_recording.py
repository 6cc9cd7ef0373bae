"""A run that a process records of itself: the recorder of ``laptime run``, begun from inside.

The standard library and torch only: it enters other people's environments.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import re
import secrets
import shlex
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from laptime.errors import StoreError
from laptime.phase import Phase
from laptime.timing.clock import calendar_now, read_ns

_ATTACHED: list[Any] = []
"""What was begun from inside of this process: hooks stay, and serve one recording at a time."""


def foreign_recorder() -> Any:
    """Return the recorder that came in with the command of this process; None without one."""
    from laptime.attach import recording as attached

    running = attached.current()
    return None if running is None or running in _ATTACHED else running.recorder


class SelfRecording:
    """One recording, from :meth:`begin` to :meth:`end`, and the directory that it writes."""

    def __init__(self, runs_dir: Path, word: str | None) -> None:
        self.directory = _new_directory(runs_dir, word or _script_word())
        self._start_ns = read_ns()
        self._attached: Any = None
        self._status: dict[str, Any] = {
            "schema_number": 1,
            "command": list(getattr(sys, "orig_argv", [sys.executable, *sys.argv])),
            "cwd": str(Path.cwd()),
            "started": calendar_now().isoformat(timespec="seconds"),
            "steps_asked": None,
            "status": "running",
            "exit_status": None,
            "reason": None,
            "wall_ns": 0,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "process_started_s": _process_started_s(),
        }

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that is recorded, and not one that it forked."""
        return bool(self._status["process"] == os.getpid())

    def begin(self) -> Any:
        """Let the recorder into this process, and return it."""
        self._write_status()
        run = str(self.directory.resolve())
        self._attached = _attached_to_torch(run, self._start_ns)
        recorder = self._attached.recorder
        recorder.book.found.note("a ledger was opened within the script: set-up counts from there")
        atexit.register(self._lost)
        return recorder

    def end(self, status: str, reason: str | None) -> str:
        """Write what is not written, and leave torch to itself; return what there is to tell.

        Args:
            status: completed, failed or interrupted.
            reason: Why, where it is not completed.
        """
        atexit.unregister(self._lost)
        recorder = self._attached.recorder
        self._attached.close("exit")
        # Hooks act in the thread that is recorded alone, and no thread has this number.
        recorder.rest()
        wall_ns = read_ns() - self._start_ns
        self._status.update(status=status, reason=reason, wall_ns=wall_ns)
        with contextlib.suppress(StoreError):  # a full disk must not end a training at its end
            self._write_status()
        steps, epochs = recorder.book.steps, recorder.book.epochs
        if not steps:
            return (
                f"nothing was recorded in {self.directory}: no optimizer took a step. "
                "Call step() after every update that no optimizer of torch makes."
            )
        counted = f"{steps:,} step{'s' * (steps != 1)} in {epochs:,} epoch{'s' * (epochs != 1)}"
        return f"recorded {counted}: laptime report {shlex.quote(str(self.directory))}"

    def _lost(self) -> None:
        if self.is_ours:
            words = self.end("interrupted", "the process ended before the ledger was closed")
            sys.stderr.write(f"laptime: {words}\n")

    def _write_status(self) -> None:
        path = self.directory / "script.json"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(self._status, indent=2) + "\n")
            temporary.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error


def hold_evaluation(recorder: Any, place: Any) -> Callable[[], None]:
    """Give all that follows to an evaluation; call what is returned at its end.

    A step that has been taken is counted first, and its window ends: no step holds an evaluation.
    """
    if recorder.is_held:
        return _nothing
    if recorder.has_stepped:
        recorder.commit()
    recorder.enter(Phase.EVALUATION)
    book, since_ns = recorder.book, recorder.ledger.now_ns
    book.cut_window(recorder.timer)
    book.forget_step()
    recorder.is_held = True
    recorder.fetch_depth += 1  # loaders that begin within it are none of their own
    recorder.enter = _held

    def end() -> None:
        recorder.fetch_depth -= 1
        if recorder.is_held:  # training within it has ended it before
            recorder.release()
        if book.epoch is not None:
            book.epoch.evaluations += 1
        key = place["text"] if place else ""
        row = book.found.evaluations.setdefault(key, {"place": place, "passes": 0, "ns": 0})
        row["passes"] += 1
        row["ns"] += recorder.ledger.now_ns - since_ns

    return end


def _held(phase: Any) -> Any:  # noqa: ARG001 - takes what the ledger's takes
    return Phase.EVALUATION


def _nothing() -> None:
    """Do nothing."""


def _attached_to_torch(run: str, start_ns: int) -> Any:
    """Return what records into a directory from here on; torch is touched once a process."""
    import torch

    from laptime.attach import recording as attached

    if not _ATTACHED:
        attached.start(run, start_ns)
        _ATTACHED.append(attached.current())
    else:
        _ATTACHED[0].begin_again(run, start_ns)
    roots = _ATTACHED[0].roots
    optimizers = [o for o in gc.get_objects() if issubclass(type(o), torch.optim.Optimizer)]
    for optimizer in optimizers:  # made before: their steps are seen, their parameters were not
        roots.optimizer_made(p for group in optimizer.param_groups for p in group["params"])
    return _ATTACHED[0]


def _new_directory(runs_dir: Path, word: str) -> Path:
    """Create a directory with a name as ``laptime run`` gives: when, a word, random digits."""
    plain = re.sub(r"[^a-z0-9]+", "-", Path(word).stem.lower()).strip("-")[:40] or "script"
    stamp = calendar_now().strftime("%Y-%m-%dT%H-%M-%S")
    directory = runs_dir / f"{stamp}_{plain}_{secrets.token_hex(3)}"
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(directory, error) from error
    return directory


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be written: {error.strerror or error}. Name another directory for runs."
    )


def _script_word() -> str:
    """Return what the run is called after: the script; ``python`` in a notebook or a shell."""
    return sys.argv[0] if sys.argv and sys.argv[0].endswith(".py") else "python"


def _process_started_s() -> float:
    """Return when this process began, as seconds of the calendar; now, where nothing tells.

    Whoever reads the run compares it with the process of that number, if there is one.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        stat = Path("/proc/stat").read_text()
    except OSError:
        return calendar_now().timestamp()
    boot_s = re.search(r"^btime (\d+)", stat, re.MULTILINE)
    assert boot_s is not None
    return int(boot_s[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
