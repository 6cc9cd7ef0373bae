"""A foreign command with the recorder in the processes that it starts."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import laptime
from laptime.errors import SettingsError
from laptime.orphans import die_with_parent

HOME = Path(laptime.__file__).resolve().parent.parent
"""The directory that holds this package: foreign interpreters import the recorder from it."""

INJECT = HOME / "laptime" / "attach" / "inject"

_VARIABLES = tuple(
    f"LAPTIME_{word}"
    for word in ("RUN", "HOME", "STEPS", "CONTROL", "OVERRIDES", "HEADROOM", "WORKERS")
)
"""What the recorder is told; of a recording around this one, nothing is handed on."""

FORWARDED = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""Signals that are meant for the script when they are sent to us."""


def full_command(words: Sequence[str]) -> tuple[str, ...]:
    """Return the command that is meant; ``train.py`` alone is short for ``python train.py``.

    Raises:
        SettingsError: There is none, or it cannot be found.
    """
    if not words:
        raise SettingsError(
            "the command is missing. Name what is to be run: laptime run -- python train.py."
        )
    command = tuple(words)
    if command[0].endswith(".py") and not os.access(command[0], os.X_OK):
        if not Path(command[0]).is_file():
            raise SettingsError(f"{command[0]!r} is no file. Name a script that is there.")
        command = (_python(), *command)
    if shutil.which(command[0]) is None:
        raise SettingsError(
            f"{command[0]!r} is no command that can be run. Name one that is on PATH, or its path."
        )
    return command


def recorder_environment(run: Path, **asked: str) -> dict[str, str]:
    """Return the environment in which Python processes take the recorder in.

    Args:
        run: The directory of the run.
        asked: More for the recorder, by its variables without their prefix: STEPS, CONTROL ...
    """
    path = os.environ.get("PYTHONPATH")
    outer = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    return {
        **outer,
        "PYTHONPATH": os.pathsep.join([str(INJECT), *([path] if path else [])]),
        "LAPTIME_RUN": str(run.resolve()),
        "LAPTIME_HOME": str(HOME),
        **{f"LAPTIME_{name}": value for name, value in asked.items() if value},
    }


def run_attached(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command as if it had been started by itself; return how it ended.

    Terminal, streams, process group and signals are its own. What is sent to us is passed on, from
    the first moment on: until it runs, signals wait.

    Raises:
        SettingsError: The system cannot start it.
    """
    before = {number: signal.getsignal(number) for number in FORWARDED}
    forwarder = _Forwarder()
    try:
        for number in FORWARDED:
            signal.signal(number, forwarder)
        process = _start(command, environ, before)
        forwarder.begin(process)
        while True:
            with contextlib.suppress(InterruptedError):
                return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_like(returncode: int) -> int:
    """Return the exit status of a command that ended so; a signal ends this process too."""
    if returncode >= 0:
        return returncode
    sys.stdout.flush()
    sys.stderr.flush()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core file is enough
    with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler to be set
        signal.signal(-returncode, signal.SIG_DFL)
    os.kill(os.getpid(), -returncode)
    return 128 - returncode


def isolation(command: Sequence[str]) -> str | None:
    """Return the flag with which Python is told not to let the recorder in; None without one.

    ``-I`` and ``-E`` ignore PYTHONPATH, ``-S`` does not import sitecustomize.
    """
    for place, word in enumerate(command):
        if Path(word).name.startswith("python"):
            found = next((flag for flag in _flags(command[place + 1 :]) if _isolates(flag)), None)
            if found is not None:
                return found
    return None


def _flags(words: Sequence[str]) -> Iterator[str]:
    """Return the options that stand before what Python is to run."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            return
        yield word
        if word in _WITH_A_VALUE:
            next(rest, None)
        elif re.match(r"-[a-zA-Z]*[cm]", word):
            return


_WITH_A_VALUE = {"-W", "-X", "--check-hash-based-pycs"}


def _isolates(flag: str) -> bool:
    """Tell a flag, or one bundled with others, that keeps the recorder out."""
    letters = "" if flag.startswith("--") else re.split(r"[cmWX]", flag[1:])[0]
    return bool(set(letters) & set("ISE"))


def shown(command: Sequence[str]) -> str:
    """Return a command as one would type it."""
    return shlex.join(command)


def _python() -> str:
    return next((name for name in ("python", "python3") if shutil.which(name)), sys.executable)


def _start(
    command: Sequence[str], environ: Mapping[str, str], handlers: Mapping[int, Any]
) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def become_it() -> None:
        for number, handler in handlers.items():
            if handler is signal.SIG_IGN:  # as under nohup; exec resets what has a handler
                signal.signal(number, handler)
        die_with_parent(parent)

    try:
        return subprocess.Popen(  # noqa: S603 - to run it is what was asked for
            command, env=environ, preexec_fn=become_it, close_fds=False
        )
    except OSError as error:
        raise SettingsError(
            f"{command[0]!r} cannot be started ({error.strerror}). Check that it can be run."
        ) from error


class _Forwarder:
    """A handler that passes signals on; what a terminal sends has reached the command already."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: list[int] = []

    def begin(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on to a process that has just been started, and first what came before it."""
        self._process = process
        for number in self._waiting:
            self._pass_on(process, number)

    def __call__(self, number: int, frame: Any) -> None:  # noqa: ARG002 - a handler's form
        if self._process is None:
            self._waiting.append(number)
        else:
            self._pass_on(self._process, number)

    def _pass_on(self, process: subprocess.Popen[bytes], number: int) -> None:
        from_terminal = number in {signal.SIGINT, signal.SIGQUIT} and _is_in_foreground()
        if not from_terminal:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


def _is_in_foreground() -> bool:
    """Tell whether a terminal sends its signals to our process group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
