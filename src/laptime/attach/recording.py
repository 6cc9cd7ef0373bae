"""One process with torch in it: recorder and hooks together, from torch's import to the end."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import Any, List, Optional

from laptime.attach import overrides
from laptime.attach.book import Book
from laptime.attach.found import Found, process_rank
from laptime.attach.gate import Gate
from laptime.attach.hooks.loader import hook_loaders
from laptime.attach.hooks.roots import Roots
from laptime.attach.hooks.tensors import hook_safetensors as _hook_safetensors
from laptime.attach.hooks.tensors import hook_tensors
from laptime.attach.hooks.tracing import keep_out
from laptime.attach.hooks.updates import hook_updates
from laptime.attach.journal import Journal, trace
from laptime.attach.recorder import Recorder
from laptime.phase import Phase
from laptime.timing.clock import device_wait, read_ns

_STOP_TRIES = 2
"""How often a script may catch the end that --steps asks for before its process is ended."""


class Recording:
    """What is recorded in this process, and how it ends."""

    def __init__(self, run: str, start_ns: int) -> None:
        self._run, self._start_ns = run, start_ns
        self._pid = os.getpid()
        self._most_steps = int(os.environ.get("LAPTIME_STEPS", "0"))
        self._control = os.environ.get("LAPTIME_CONTROL", "")
        self._stops = 0
        self._closed = False
        self._exit = os._exit
        self.gate: Any = None
        self._headroom: Any = None
        self._workers: Any = None
        self.recorder = Recorder(self._new_book(start_ns))
        self.roots = Roots(self.recorder)
        self._changes = overrides.Overrides.from_environment(self.recorder)

    def hook(self) -> None:
        """Touch torch; after this the script goes on."""
        recorder = self.recorder
        changes = self._changes
        self._measure_more()
        hook_loaders(recorder, changes.loader)
        hook_updates(recorder, self.roots, changes.optimizer)
        hook_tensors(recorder)
        changes.process()
        self._listen()
        keep_out()
        os._exit = self._leave  # type: ignore[assignment]
        os.register_at_fork(after_in_child=self._forked)
        atexit.register(self.close, "exit")

    def _measure_more(self) -> None:
        """Switch on what was asked for; nothing of it is imported otherwise."""
        if os.environ.get("LAPTIME_HEADROOM"):
            from laptime.attach.headroom import Headroom

            self._headroom = Headroom(self.recorder)
            self._headroom.replay.hook()
        if os.environ.get("LAPTIME_WORKERS"):
            from laptime.attach.workers import Workers

            self._workers = Workers(self.recorder, self._run)
            self._workers.hook()

    def _new_book(self, start_ns: int) -> Book:
        kind = Book
        if os.environ.get("LAPTIME_HEADROOM"):
            from laptime.attach.replay import OwnBook

            kind = OwnBook
        return kind(self._open_journal, Found(), start_ns)

    def _listen(self) -> None:
        recorder = self.recorder
        recorder.before_pass = self._look_for_roots
        recorder.first_step = self._first_step
        if self._most_steps or self._control or self._changes.has_later_ones or self._headroom:
            recorder.at_boundary = self._at_boundary
        recorder.may_wait = recorder.at_boundary is None and self._workers is None
        if self._headroom is not None:
            self._headroom.replay.listen()

    def _look_for_roots(self) -> None:
        """Look through the living objects, in time that is ours."""
        if self.roots.is_dirty:
            self.recorder.catch_up()
            left = self.recorder.enter(Phase.LOGGING)
            self.roots.find()
            self.recorder.enter(left)

    def close(self, ended: str) -> None:
        """Write what is not written; a child that was forked leaves its parent's record alone."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        book = self.recorder.book
        book.found.roots = self.roots.rows()
        try:
            if self._headroom is not None:
                self._headroom.close()
            if self._workers is not None:
                self._workers.close()
            self._note_missing()
            self.recorder.close(ended)
            if self.gate is not None:
                self.gate.ended(book.steps)
        except Exception as error:  # noqa: BLE001 - the script's own end must not be another one
            trace(self._run, "failed", reason=f"{type(error).__name__}: {error}")

    def _open_journal(self) -> Journal:
        trace(self._run, "step")
        return Journal(self._run, process_rank())

    def _first_step(self, facts: Any) -> None:
        """Learn, at an optimizer's first step, which device is trained on."""
        found = self.recorder.book.found
        if facts is not found.optimizers[0] and found.device != "cpu":
            return
        device = self.roots.device()
        found.roots = self.roots.rows()
        if device is not None and device.type == "cuda":
            import torch

            from laptime.timing.clock import CudaClock
            from laptime.timing.windows import EventTimer, WindowPolicy

            found.device = str(device)
            found.device_name = torch.cuda.get_device_name(device)
            recorder = self.recorder
            recorder.use_timer(EventTimer(recorder.ledger, CudaClock(device), WindowPolicy()))

    def _at_boundary(self) -> None:
        book = self.recorder.book
        self._changes.stepped(book.steps)
        if self._control and self.gate is None:
            self._open_gate()
        if self.gate is not None and not self.gate.stepped():
            self.stop()
        if self._headroom is not None and not self._headroom.stepped():
            self.stop()
        if self._most_steps and book.steps >= self._most_steps:
            self.stop()

    def _open_gate(self) -> None:
        """Take turns from here on, if this is the process that the command is about."""
        path, self._control = self._control, ""
        if self.recorder.book.journal.path != self._run:
            return
        wait = device_wait(self.recorder.book.found.device)
        with contextlib.suppress(OSError):  # nobody asks: the script runs on
            self.gate = Gate(self.recorder, path, wait)

    def stop(self) -> None:
        """End the script here, as ``sys.exit(0)`` would."""
        trace(self._run, "steps")
        self.close("steps")
        self._stops += 1
        if self._stops > _STOP_TRIES:
            _flush()
            self._exit(0)
        raise SystemExit(0)

    def _leave(self, status: int) -> None:
        self.close("os._exit")
        self._exit(status)

    def begin_again(self, run: str, start_ns: int) -> None:
        """Record into another directory from here on: what is known of models is found anew."""
        self._run, self._start_ns = run, start_ns
        self._start_over(start_ns)
        self.roots.forget()

    def _forked(self) -> None:
        """In a child: forget what the parent recorded; a child that trains has its own record."""
        self._start_over(read_ns())
        if self._headroom is not None:
            self._headroom.forked()
        if self._workers is not None:
            self._workers.forked()
        _close_with_process(self)

    def _start_over(self, start_ns: int) -> None:
        book, was = self._new_book(start_ns), self.recorder.book.found
        for row in was.loaders:
            row.update(training_passes=0, evaluation_passes=0, start_ns=[], end_ns=[])
        for row in was.optimizers:
            row.update(steps=0, stepped_at=None)
        # The same rows: loaders and optimizers that live on are known by them.
        book.found.loaders, book.found.optimizers = was.loaders, was.optimizers
        self.recorder.__init__(book)  # type: ignore[misc]
        self._listen()
        self._pid, self._closed, self.gate = os.getpid(), False, None

    def _note_missing(self) -> None:
        book, missing = self.recorder.book, self.recorder.book.found.missing
        if book.epoch is not None and book.epoch.training is None:
            missing["loader"] = "no DataLoader was read by the thread that trains"
        if not self.roots.was_called:
            known = self.roots.are_known
            missing["forward"] = (
                "the module that holds the parameters was never called itself"
                if known
                else "no module holds the parameters that the optimizer updates"
            )


def _close_with_process(recording: Recording) -> None:
    """Close at the end of a process that multiprocessing started: it runs no ``atexit``."""
    if "multiprocessing.util" in sys.modules:
        util = sys.modules["multiprocessing.util"]
        util.register_after_fork(recording, _finalize_later)


def _finalize_later(recording: Recording) -> None:
    from multiprocessing import util

    util.Finalize(None, recording.close, args=("exit",), exitpriority=100)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


_RECORDINGS: List[Recording] = []


def start(run: str, start_ns: int) -> None:
    """Record this process from here on."""
    recording = Recording(run, start_ns)
    _RECORDINGS.append(recording)
    recording.hook()


def current() -> Optional[Recording]:
    """Return what records this process; None where nothing does."""
    return _RECORDINGS[-1] if _RECORDINGS else None


def hook_safetensors(module: Any) -> None:
    """Follow checkpoints of a library that was imported after torch."""
    recording = current()
    if recording is not None:
        _hook_safetensors(module, recording.recorder)
