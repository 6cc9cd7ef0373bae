"""One epoch, from before ``iter(loader)`` to its record; evaluation and checkpoints inside."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

from laptime.data.batches import Batch
from laptime.errors import DataError
from laptime.phase import LOADING, Phase
from laptime.record import DeviceTimes, EpochRecord, WindowRecord
from laptime.store import RunDirectory
from laptime.timing.windows import Window, sum_device_windows
from laptime.training.checkpoint import Cursor, save_checkpoint
from laptime.training.job import Job
from laptime.training.listener import Listener, Progress
from laptime.training.meter import Meter, finite
from laptime.training.optimizers import scheduled_lr, set_lr
from laptime.training.step import evaluate
from laptime.units import seconds


class DivergedError(Exception):
    """The loss is no longer a finite number."""

    def __init__(self, epoch: int, step: int) -> None:
        super().__init__(f"the loss is not finite at epoch {epoch}, step {step}")


class InterruptedRunError(Exception):
    """Somebody asked the run to stop, and it has stopped between two steps."""

    def __init__(self, epoch: int, step: int, num_steps: int) -> None:
        super().__init__(f"stopped from outside in epoch {epoch}, after step {step} of {num_steps}")


class Epoch:
    """An epoch in progress: its ledger, its sums, and the logs it writes.

    Loop, with its phases::

        loader_start    batches = loader.batches(epoch); batch = next(batches)
        for each step:
            transfer forward backward optimizer    step(batch)
            sync logging                           a window is full: losses cross, rows are written
            checkpoint                             every so many steps
            data_wait                              batch = next(batches)
        loader_end      the next() that finds the end
        evaluation      the test set, if asked for
        checkpoint      the end of the epoch
    """

    def __init__(
        self,
        job: Job,
        run: RunDirectory,
        listener: Listener,
        stop_requested: Callable[[], bool],
        start: Cursor,
        *,
        cold: bool,
    ) -> None:
        self._cold = cold
        self._job, self._run, self._listener = job, run, listener
        self._stop_requested = stop_requested
        self._before = start
        self._meter = Meter(start.epoch, start.steps, start.samples, start.correct, start.loss_sum)
        self._step_rows, self._window_rows = start.step_rows, start.window_rows
        self._windows: list[Window] = []
        self._test: tuple[float | None, int, int | None] | None = None
        gc.collect()  # between epochs, and not inside a step
        self._ledger, self._timer = job.build_timer(start.steps + 1)

    def run(self) -> tuple[EpochRecord, Cursor]:
        """Train, evaluate, write the checkpoint; return the stored record and where the run stands.

        Raises:
            DivergedError: The loss is not finite; what was done is stored as a record.
            InterruptedRunError: A stop was requested; a checkpoint is written.
            DataError: The loader ended before its own length.
        """
        try:
            if self._meter.steps < self._job.loader.num_steps:
                self._train()
            self._evaluate()
            self._checkpoint()
        except DivergedError:
            self._store()
            self._job.loader.close()
            raise
        except BaseException:
            self._job.loader.close()
            raise
        return self._store(), self._cursor()

    def _train(self) -> None:
        enter, num_steps = self._timer.enter, self._job.loader.num_steps
        first_step = self._meter.steps + 1
        enter(Phase.LOADER_START)
        batches = self._job.loader.batches(self._meter.epoch, self._meter.steps)
        batch = self._next(batches, first_step)
        for step in range(first_step, num_steps + 1):
            self._schedule(step)
            self._meter.add(self._job.step(batch, enter))
            window_is_full = self._timer.end_step()
            if window_is_full or step == num_steps or self._interrupts(step):
                self._settle(step)
            if step < num_steps:
                enter(Phase.DATA_WAIT)
                batch = self._next(batches, step + 1)
        enter(Phase.LOADER_END)
        next(batches, None)
        enter(Phase.OTHER)

    def _schedule(self, step: int) -> None:
        settings, num_steps = self._job.settings, self._job.loader.num_steps
        if settings.optimizer.schedule != "constant":
            done = (self._meter.epoch - 1) * num_steps
            all_steps = settings.training.epochs * num_steps
            lr = scheduled_lr(settings.optimizer, done + step, all_steps)
            set_lr(self._job.optimizer, lr)

    def _next(self, batches: Iterator[Batch], step: int) -> Batch:
        try:
            return next(batches)
        except StopIteration:
            raise DataError(
                f"the loader ended before step {step} of {self._job.loader.num_steps}. "
                f"len() of the dataset must be the number of its samples."
            ) from None

    def _interrupts(self, step: int) -> bool:
        """Return whether something other than a full window ends the window after this step."""
        return self._stop_requested() or self._checkpoint_is_due(step)

    def _checkpoint_is_due(self, step: int) -> bool:
        every = self._job.settings.training.checkpoint_every
        return bool(every) and step % every == 0 and step < self._job.loader.num_steps

    def _settle(self, step: int) -> None:
        """End the window: bring losses over, write rows, tell the listener, stop if asked to."""
        window = self._timer.close_window()
        self._timer.enter(Phase.LOGGING)
        rows = self._meter.flush()
        self._run.append_steps(rows)
        self._step_rows += len(rows)
        if window is not None:
            self._windows.append(window)
            self._run.append_window(_window_record(self._meter.epoch, window))
            self._window_rows += 1
        self._listener.progressed(self._progress(step))
        self._timer.enter(Phase.OTHER)
        if self._meter.diverged_at is not None:
            raise DivergedError(self._meter.epoch, self._meter.diverged_at)
        stopping = self._stop_requested()
        if stopping or self._checkpoint_is_due(step):
            self._checkpoint()
        if stopping:
            raise InterruptedRunError(self._meter.epoch, step, self._job.loader.num_steps)

    def _evaluate(self) -> None:
        before = self._before
        if self._job.test_loader is None:
            return
        if before.test_correct is not None:
            self._test = before.test_loss, before.test_correct, before.test_samples
            return
        left = self._timer.enter(Phase.EVALUATION)
        loss, correct, samples = evaluate(
            self._job.model,
            self._job.test_loader.batches(1),
            self._job.mover,
            self._job.settings.training.precision,
        )
        self._test = finite(loss), correct, samples
        self._timer.enter(left)

    def _checkpoint(self) -> None:
        left = self._timer.enter(Phase.CHECKPOINT)
        self._run.sync_logs()
        save_checkpoint(self._run.checkpoints, self._cursor(), self._job.model, self._job.optimizer)
        self._timer.enter(left)

    def _cursor(self) -> Cursor:
        """Return where the run stands, with the time spent up to now."""
        return Cursor(
            **self._sums(),
            loss_sum=self._meter.loss_sum,
            step_rows=self._step_rows,
            window_rows=self._window_rows,
        )

    def _store(self) -> EpochRecord:
        """Write the record of the epoch as far as it has come."""
        record = EpochRecord(
            **self._sums(),
            loss=self._meter.loss,
            mode=self._job.mode,
            cold=self._cold,
            complete=self._meter.steps == self._job.loader.num_steps,
        )
        self._run.append_epoch(record)
        return record

    def _sums(self) -> dict[str, Any]:
        """Return what a cursor and a record share: counts, and time up to now."""
        self._ledger.enter(self._ledger.phase)
        meter, before, spent_ns = self._meter, self._before, self._ledger.spent_ns()
        test_loss, test_correct, test_samples = self._test or (None, None, None)
        return {
            "epoch": meter.epoch,
            "steps": meter.steps,
            "samples": meter.samples,
            "correct": meter.correct,
            "test_loss": test_loss,
            "test_correct": test_correct,
            "test_samples": test_samples,
            "wall_ns": before.wall_ns + sum(spent_ns.values()),
            "phases_ns": {phase: before.phases_ns[phase] + spent_ns[phase] for phase in Phase},
            "device_ns": self._device_times(),
            "segments": before.segments,
        }

    def _device_times(self) -> DeviceTimes | None:
        sums = sum_device_windows(self._windows)
        here = DeviceTimes(**sums) if sums else None
        return _added(self._before.device_ns, here)

    def _progress(self, step: int) -> Progress:
        spent_ns = self._ledger.spent_ns()
        elapsed_ns = max(1, sum(spent_ns.values()))
        steps = step - self._before.steps
        start_ns = spent_ns[Phase.LOADER_START]
        samples = self._meter.samples - self._before.samples
        return Progress(
            epoch=self._meter.epoch,
            epochs=self._job.settings.training.epochs,
            step=step,
            num_steps=self._job.loader.num_steps,
            loss=self._meter.loss,
            correct=self._meter.correct,
            samples=self._meter.samples,
            elapsed_s=seconds(elapsed_ns),
            step_s=seconds(elapsed_ns - start_ns) / steps,
            samples_per_s=samples / seconds(elapsed_ns),
            loading_share=sum(spent_ns[phase] for phase in LOADING) / elapsed_ns,
        )


def _window_record(epoch: int, window: Window) -> WindowRecord:
    sums = sum_device_windows([window])
    return WindowRecord(
        epoch=epoch,
        first_step=window.first_step,
        steps=window.steps,
        wall_ns=window.wall_ns,
        phases_ns=window.phases_ns,
        device_ns=DeviceTimes(**sums) if sums else None,
    )


def _added(before: DeviceTimes | None, here: DeviceTimes | None) -> DeviceTimes | None:
    """Add the device times of two segments of one epoch, field by field."""
    if before is None or here is None:
        return before or here
    sums = {
        name: getattr(before, name) + getattr(here, name)
        for name in DeviceTimes.model_fields
        if name != "host_phases_ns"
    }
    phases_ns = {
        phase: before.host_phases_ns[phase] + here.host_phases_ns[phase] for phase in Phase
    }
    return DeviceTimes(**sums, host_phases_ns=phases_ns)
