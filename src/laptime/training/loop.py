"""A run from its settings to its record: started, resumed, stopped, and every outcome recorded."""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from laptime.errors import (
    CheckpointError,
    LaptimeError,
    SettingsError,
    StoreError,
    TrainingError,
)
from laptime.files import locked, write_atomically
from laptime.record import Overhead, RunRecord, Status
from laptime.settings import RunSettings
from laptime.store import (
    RunDirectory,
    StatusRecord,
    check_free_space,
    create_run,
    is_alive,
    new_status,
)
from laptime.timing.clock import read_ns
from laptime.timing.environment import collect_environment
from laptime.timing.overhead import measure_step_overhead_ns
from laptime.training.checkpoint import Cursor, load_checkpoint, newest_valid
from laptime.training.epoch import DivergedError, Epoch, InterruptedRunError
from laptime.training.garbage import frozen_garbage
from laptime.training.job import Job, build_job
from laptime.training.listener import Listener, Silence
from laptime.training.outcome import status_of, summary
from laptime.training.weights import weights_sha256

# Weights, gradients' twin in the optimizer (two of them for Adam), 4 bytes each, two checkpoints
# kept and one being written.
_CHECKPOINT_BYTES_PER_PARAMETER = {"adam": 36, "adamw": 36, "adadelta": 36}


def train(settings: RunSettings, runs_dir: Path, listener: Listener | None = None) -> RunRecord:
    """Train as the settings say and keep everything in a new directory under ``runs_dir``.

    A run that diverges, fails, runs out of memory or is interrupted ends with a record too:
    look at its status.

    Raises:
        LaptimeError: The run could not begin, or the disk refused in the middle of it.
    """
    start_ns = read_ns()
    job = build_job(settings)
    _check_disk(job, runs_dir)
    run = create_run(runs_dir, settings.model.model)
    run.write_start(settings, collect_environment(str(job.device)), job.data.record())
    return _Run(job, run, new_status(), listener or Silence(), start_ns).finish(None)


def resume(run: RunDirectory, settings: RunSettings, listener: Listener | None = None) -> RunRecord:
    """Go on from the newest valid checkpoint; a run that is complete returns its record.

    On a CPU with the same number of threads it ends with the bits of an uninterrupted run.

    Args:
        run: The run's directory.
        settings: The run's own, with more epochs if wanted; anything else must be the same.
        listener: Whoever shows it.

    Raises:
        LaptimeError: Settings or data differ, the run is still going on, or a file is damaged.
    """
    with locked(run.path) as is_ours:
        if not is_ours:
            raise StoreError(f"{run.id} is being resumed by another process. Wait for it.")
        return _resume(run, settings, listener or Silence())


def _resume(run: RunDirectory, settings: RunSettings, listener: Listener) -> RunRecord:
    start_ns = read_ns()
    before = run.read_status()
    check_resumable(run, before, settings)
    if before.status == "completed" and len(run.read_epochs()) >= settings.training.epochs:
        return run.read_record()
    job = build_job(settings)
    if job.data.record() != run.read_data():
        raise SettingsError(
            f"{run.id} was trained on other data ({run.read_data().source}, "
            f"{run.read_data().train_samples} samples). Give the same data, or start a new run."
        )
    status = new_status().model_copy(
        update={"resumed": before.resumed + 1, "setup_ns": before.setup_ns}
    )
    run.write_start(settings, collect_environment(str(job.device)), job.data.record())
    cursor = _go_back(run, job, listener)
    return _Run(job, run, status, listener, start_ns).finish(cursor)


def check_resumable(run: RunDirectory, status: StatusRecord, settings: RunSettings) -> None:
    """Refuse to resume what is going on, or with settings that would make it another run.

    Raises:
        StoreError: The run's process is alive.
        SettingsError: A setting differs.
    """
    if status.status == "running" and is_alive(status, run.silent_s()):
        raise StoreError(
            f"{run.id} is still running (process {status.process} on {status.host}). "
            f"Wait for it, or stop it first."
        )
    done = len(run.read_epochs())
    if settings.training.epochs < done:
        raise SettingsError(
            f"epochs is {settings.training.epochs}, but {run.id} has finished {done}. "
            f"Use --epochs {done} or more."
        )
    was, now = run.read_settings().flat(), settings.flat()
    free = {"epochs", "checkpoint_every"} if was["schedule"] == "constant" else {"checkpoint_every"}
    for name in was:
        if name not in free and was[name] != now[name]:
            raise SettingsError(
                f"{name} is {now[name]!r}, but {run.id} was started with {was[name]!r}. "
                f"Leave it out, or start a new run."
            )


class _Run:
    """A run in progress: its status, and how it ends."""

    def __init__(
        self,
        job: Job,
        run: RunDirectory,
        status: StatusRecord,
        listener: Listener,
        start_ns: int,
    ) -> None:
        self._job, self._run, self._listener = job, run, listener
        self._status, self._start_ns = status, start_ns
        self._stopping = False

    def finish(self, cursor: Cursor | None) -> RunRecord:
        """Train to the end, or to whatever ends it; the status says which."""
        with self._signals():
            self._train(cursor)
        return self._run.read_record()

    def _train(self, cursor: Cursor | None) -> None:
        self._start()
        try:
            with frozen_garbage():
                self._epochs(cursor)
            self._end("completed", None)
        except DivergedError as error:
            self._end("diverged", str(error))
        except InterruptedRunError as error:
            self._end("interrupted", str(error))
        except KeyboardInterrupt:
            self._end("interrupted", "stopped from outside at once, before a checkpoint")
        except LaptimeError as error:
            with contextlib.suppress(StoreError):  # the disk that refused may refuse this too
                self._end("failed", str(error))
            raise TrainingError(
                f"{error} What was done is kept: go on with "
                f"`laptime train --resume {self._run.path}`."
            ) from error
        except Exception as error:  # noqa: BLE001 - a user's code may raise anything: recorded
            if self._stopping:  # what the stop broke is no failure of the training
                self._end("interrupted", f"stopped from outside, in the middle of a step ({error})")
            else:
                self._fail(error)

    def _start(self) -> None:
        job = self._job
        overhead_ns = measure_step_overhead_ns(lambda: job.build_timer()[1])
        self._overhead_ns = 0.0 if job.mode == "off" else overhead_ns
        self._write(parameters=job.parameters)
        for line in job.warnings:
            self._listener.warned(line)
        self._listener.run_started(self._run.read_record(), job.settings.model.model)
        self._write(setup_ns=self._status.setup_ns + read_ns() - self._start_ns)

    def _epochs(self, cursor: Cursor | None) -> None:
        cursor = cursor or _beginning(1, step_rows=0, window_rows=0)
        cold = True
        while cursor.epoch <= self._job.settings.training.epochs:
            epoch = Epoch(
                self._job, self._run, self._listener, self._stop_requested, cursor, cold=cold
            )
            record, ended = epoch.run()
            self._listener.epoch_ended(record)
            cursor, cold = _following(ended), False

    def _end(self, status: Status, reason: str | None) -> None:
        self._write(
            status=status,
            reason=reason,
            weights_sha256=weights_sha256(self._job.model),
            overhead=self._overhead(),
        )

    def _fail(self, error: Exception) -> None:
        """Record what the user's code raised; the traceback is theirs to read, in a file."""
        write_atomically(
            self._run.path / "error.txt", traceback.format_exc().encode(errors="backslashreplace")
        )
        self._end(status_of(error), summary(error))

    def _overhead(self) -> Overhead | None:
        epochs = self._run.read_epochs()
        steps = sum(epoch.steps for epoch in epochs)
        if not steps:
            return None
        step_ns = sum(epoch.wall_ns for epoch in epochs) / steps
        return Overhead(
            per_step_us=self._overhead_ns / 1e3, share=min(1.0, self._overhead_ns / step_ns)
        )

    def _write(self, **changes: object) -> None:
        self._status = self._status.model_copy(update=changes)
        self._run.write_status(self._status)

    def _stop_requested(self) -> bool:
        return self._stopping

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop between two steps on the first SIGINT or SIGTERM; at once on the second."""

        def request_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            if self._stopping:
                raise KeyboardInterrupt
            self._stopping = True
            self._listener.warned("Stopping after this step; Ctrl-C again stops at once.")

        try:
            before = {n: signal.signal(n, request_stop) for n in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever runs us there has signals of its own
            before = {}
        try:
            yield
        finally:
            for number, action in before.items():
                signal.signal(number, action)


def _beginning(epoch: int, *, step_rows: int, window_rows: int) -> Cursor:
    return Cursor(
        epoch=epoch, steps=0, samples=0, correct=0, loss_sum=0.0, wall_ns=0, phases_ns={},
        step_rows=step_rows, window_rows=window_rows,
    )  # fmt: skip


def _following(ended: Cursor) -> Cursor:
    return _beginning(ended.epoch + 1, step_rows=ended.step_rows, window_rows=ended.window_rows)


def _go_back(run: RunDirectory, job: Job, listener: Listener) -> Cursor | None:
    """Load the newest checkpoint that is whole; without one the run begins again."""
    found, damaged = newest_valid(run.checkpoints)
    for line in damaged:
        listener.warned(f"{line} {'An older one is used.' if found else ''}".strip())
    if found is None:
        if damaged or run.read_epochs():
            listener.warned(f"{run.id} has no checkpoint that is whole: it begins again.")
        run.rewind(epochs=0, step_rows=0, window_rows=0)
        return None
    declaration, cursor = found
    load_checkpoint(declaration, job.model, job.optimizer)
    return _rewind(run, job, cursor)


def _rewind(run: RunDirectory, job: Job, cursor: Cursor) -> Cursor:
    """Cut the logs back to the checkpoint; return where to go on.

    The record of an epoch is written after its last checkpoint: it may be there or not.
    """
    whole = cursor.steps >= job.loader.num_steps
    run.rewind(
        epochs=cursor.epoch if whole else cursor.epoch - 1,
        step_rows=cursor.step_rows,
        window_rows=cursor.window_rows,
    )
    stored = len(run.read_epochs())
    if len(run.read_steps()) != cursor.step_rows or stored < cursor.epoch - 1:
        raise CheckpointError(
            f"{run.id} has lost rows of its logs, so its epochs cannot be completed. "
            f"Start a new run."
        )
    if whole and stored == cursor.epoch:
        return _following(cursor)
    return cursor.model_copy(update={"segments": cursor.segments + 1})


def _check_disk(job: Job, runs_dir: Path) -> None:
    per_parameter = _CHECKPOINT_BYTES_PER_PARAMETER.get(job.settings.optimizer.optimizer, 24)
    check_free_space(runs_dir, job.parameters * per_parameter + 10_000_000)
