"""What starts an arm's process: a fork of one that has imported torch, or a new interpreter.

Importing torch takes longer than most blocks measure. A fork server imports it once a block and
never computes: a child forked after a parallel operation hangs in its own. It lives while one of
its arms does, so the next block has another server, and with it another layout of memory.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol

from laptime.orphans import die_with_parent

FORKS = sys.platform == "linux"
"""Whether arms are forked: torch survives that on Linux only."""

_IMPORT_S = 600.0
"""How long a server may take to import torch: file systems of clusters can be slow."""


_IMPORTED = "laptime.studies.arm", "torch._dynamo"
"""What every arm imports; the second is imported by the first optimizer of a process."""


class Started(Protocol):
    """A process with pipes, the leader of a group of its own; as :class:`subprocess.Popen`."""

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    returncode: Any

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: It has not ended by then.
        """


class Starter(Protocol):
    """Whoever starts arms."""

    def start(self, log: Path) -> Started:
        """Start a process that serves as an arm; its standard error is added to the log."""


class Spawner:
    """Start each arm in a new interpreter."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = {**os.environ, **(environ or {})}

    def start(self, log: Path) -> Started:
        """Start a process that serves as an arm; its standard error is added to the log."""
        with log.open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-c", "from laptime.studies import arm; arm.main()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env=self._environ,
            )


class ForkServer:
    """Fork arms from a process that has imported torch; Linux only.

    Args:
        environ: Added to the environment of the server, and so of its arms.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        # Asking the driver itself whether there is a GPU would leave forks without CUDA:
        # https://docs.pytorch.org/docs/stable/cuda_environment_variables.html
        own = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        self._environ = {**os.environ, **own, **(environ or {})}
        self._spawner = Spawner(environ)
        self._arms: set[int] = set()
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start(self, log: Path) -> Started:
        """Start a process that serves as an arm; its standard error is added to the log.

        Where the server cannot be had, a new interpreter serves, and says why it does not.
        """
        forked = self._fork(log)
        if forked is None:
            self._end()
            return self._spawner.start(log)
        self._arms.add(forked.pid)
        return forked

    def returncode(self, pid: int) -> int:
        """Return how an arm that has ended did; the server ends with the last one."""
        answer = self._ask(str(pid).encode())
        self._arms.discard(pid)
        if not self._arms:
            self._end()
        return int(answer) if answer else -signal.SIGKILL  # its death kills all arms

    def _fork(self, log: Path) -> Forked | None:
        if self._server is None:
            self._begin(log)
        request_end, requests = os.pipe()
        replies, reply_end = os.pipe()
        with log.open("ab") as errors:
            answer = self._ask(b"fork", [request_end, reply_end, errors.fileno()])
        os.close(request_end)
        os.close(reply_end)
        if answer:
            with contextlib.suppress(OSError):  # it has ended and its server too
                return Forked(int(answer), requests, replies, self)
        os.close(requests)
        os.close(replies)
        return None

    def _begin(self, log: Path) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(_IMPORT_S)
        with theirs, log.open("ab") as errors:
            self._server = subprocess.Popen(
                [sys.executable, "-c", "from laptime.studies import starters; starters.serve()"],
                stdin=theirs.fileno(),
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                env=self._environ,
            )

    def _ask(self, message: bytes, descriptors: Sequence[int] = ()) -> bytes:
        """Send a request and return the answer; empty where the server is no more."""
        if self._channel is None:
            return b""
        try:
            socket.send_fds(self._channel, [message], descriptors)
            return self._channel.recv(64)
        except OSError:
            return b""

    def _end(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                self._server.kill()  # it has nothing left to do
            self._server.wait()
        self._channel = self._server = None


class Forked:
    """An arm that a server has forked."""

    def __init__(self, pid: int, requests: int, replies: int, server: ForkServer) -> None:
        self._ended = os.pidfd_open(pid)
        self.pid = pid
        self.stdin: IO[bytes] | None = os.fdopen(requests, "wb")
        self.stdout: IO[bytes] | None = os.fdopen(replies, "rb")
        self.returncode: int | None = None
        self._server = server

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: It has not ended by then.
        """
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("arm", timeout or 0.0)
            os.close(self._ended)
            self.returncode = self._server.returncode(self.pid)
        return self.returncode


def build_starter() -> Starter:
    """Return what starts arms here."""
    return ForkServer() if FORKS else Spawner()


def serve() -> None:
    """Import torch, and fork an arm or say how one ended whenever the study asks."""
    die_with_parent()
    gc.disable()  # it finds nothing in imports, and takes a tenth of the time
    channel = socket.socket(fileno=0)
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    me = os.getpid()
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, 64, 3)
        if not message:
            return
        if descriptors:
            pid = os.fork()
            if pid == 0:
                channel.close()
                _become_arm(me, descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            channel.send(str(pid).encode())
        else:
            status = os.waitpid(int(message), 0)[1]
            channel.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become_arm(server: int, descriptors: Sequence[int]) -> NoReturn:
    """Go on as an arm with these for standard input, output and error; never return."""
    try:
        os.setsid()
        die_with_parent(server)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdin = os.fdopen(0)
        from laptime.studies import arm

        arm.main()
    except BaseException:  # noqa: BLE001 - nothing may get back into the server's loop
        traceback.print_exc()
    finally:
        os._exit(1)
