"""What runs in an arm's process: a training that advances a turn at a time, on request.

Started by :mod:`laptime.studies.starters`; requests come as JSON lines on standard
input, and replies go to what was standard output. What the user's code prints goes to standard
error.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TextIO

import psutil
import torch

from laptime.data.batches import Batch
from laptime.data.loaders import EndlessLoader, build_loader
from laptime.errors import LaptimeError
from laptime.orphans import die_with_parent
from laptime.phase import Phase
from laptime.record import DeviceTimes
from laptime.settings import RunSettings, build_settings
from laptime.timing.clock import device_wait, read_ns
from laptime.timing.environment import collect_environment
from laptime.timing.overhead import measure_step_overhead_ns
from laptime.timing.windows import sum_device_windows
from laptime.training.job import build_job
from laptime.training.meter import Meter
from laptime.training.outcome import status_of, summary
from laptime.units import nanoseconds

WARM_UP_STEPS = 5
"""Run before the first turn of every arm and not counted: they pay for what later steps find."""

_RESIDENT_BYTES = 512 << 20
_RESIDENT_BATCHES = 8
_EDGES_NS = nanoseconds(0.5)
_MAX_EDGES = 3


class NotFiniteError(Exception):
    """The loss is no longer a finite number."""


class TurnTaker:
    """One arm's training, which moves only when told to."""

    def __init__(self, settings: RunSettings, *, resident: bool) -> None:
        start_ns = read_ns()
        self._job = build_job(settings)
        self._resident = resident
        changes = {"num_workers": 0} if resident else {}
        loader_settings = settings.loader.model_copy(update=changes)
        self._loader: EndlessLoader = build_loader(
            self._job.data.train, loader_settings, settings.training.seed, self._job.device,
            train=True, endless=True, channels_last=settings.training.channels_last,
        )  # fmt: skip
        self._job = replace(self._job, loader=self._loader)
        self._burst = max(1, self._loader.num_workers)  # batches come in bursts of one a worker
        self._wait = device_wait(str(self._job.device))
        self._batches: Iterator[Batch] = iter(())
        self._epoch = 1
        self._stopped: tuple[int, ...] = ()
        self._turn_steps = 0
        self._setup_ns = read_ns() - start_ns

    def prepare(self, warm_up: int = WARM_UP_STEPS) -> dict[str, Any]:
        """Warm up, time loader starts and ends, and leave the loader ready for turns."""
        job = self._job
        cold_start_ns = self._start()
        losses = [self._plain_step() for _ in range(warm_up)]
        step_ns = self._time_of(self._plain_step)
        first_end_ns = self._end()
        starts_ns, ends_ns = self._edges(cold_start_ns, first_end_ns)
        overhead_ns = measure_step_overhead_ns(lambda: job.build_timer()[1])
        self._start()
        # A worker that is stopped before it has asked to die with its parent would stay stopped
        # for good if this process is killed: each has made a batch when the last one has.
        for _ in self._loader.worker_pids():
            next(self._batches)
        self._pause()
        gc.collect()
        gc.freeze()  # what is here now stays: the collection of a turn need not look at it again
        return {
            "setup_ns": self._setup_ns,
            "cold_start_ns": 0 if self._resident else cold_start_ns,
            "loader_start_ns": [] if self._resident else starts_ns,
            "loader_end_ns": [] if self._resident else ends_ns,
            "first_losses": losses,
            "step_ns": step_ns,
            "steps_per_epoch": self._loader.num_samples / job.settings.loader.batch_size,
            "num_workers": self._loader.num_workers,
            "overhead_share": min(1.0, overhead_ns / max(1, step_ns)),
            "parameters": job.parameters,
            "data_sha256": job.data.record().sha256,
            "data_label": job.data.record().label,
            "environment": collect_environment(str(job.device)).model_dump(mode="json"),
            "warnings": list(job.warnings),
        }

    def turn(self, discard: int, min_steps: int, min_s: float) -> dict[str, Any]:
        """Run some steps that do not count and some that do; stand still again.

        The first turn finds how many steps make it long enough; the later ones take as many, so
        that no turn ends because a step was slow.
        """
        self._resume()
        for _ in range(discard):
            self._job.step(next(self._batches), _no_phase)
        self._wait()
        gc.collect()
        cpu_ns = self._worker_cpu_ns()
        measured = self._counted(self._turn_steps or min_steps, 0 if self._turn_steps else min_s)
        self._turn_steps = measured["steps"]
        cpu_ns = self._worker_cpu_ns() - cpu_ns
        self._pause()
        return {**measured, "discarded": discard, "worker_cpu_ns": max(0, cpu_ns)}

    def alone(self, discard: int, steps: int, longest_s: float) -> dict[str, Any]:
        """Take batches and do nothing with them, once those made in advance are used up."""
        self._resume()
        for _ in range(discard):
            next(self._batches)
        start_ns, count = read_ns(), 0
        while count < steps and read_ns() - start_ns < nanoseconds(longest_s):
            for _ in range(self._burst):
                next(self._batches)
                count += 1
        spent_ns = read_ns() - start_ns
        self._pause()
        return {"alone_batches": count, "alone_ns": spent_ns}

    def memory(self) -> dict[str, Any]:
        """Return the memory of the workers, where the system knows it.

        Pages that a worker shares count by its share, as in a proportional set size, but of this
        arm's processes only: how many other arms there are is no property of this one.
        """
        sizes = [_share_bytes(pid, len(self._stopped) + 1) for pid in self._stopped]
        known = [size for size in sizes if size is not None]
        return {"worker_bytes": sum(known) if known and len(known) == len(sizes) else None}

    def gradients(self) -> dict[str, Any]:
        """Return the gradient norm of each convolution and linear layer after one backward."""
        job = self._job
        batch = job.mover(next(iter(self._fresh_batches())))
        job.optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(job.model(batch[0]), batch[1])
        loss.backward()  # type: ignore[no-untyped-call]
        norms = [
            (name, float(p.grad.norm()))
            for name, p in job.model.named_parameters()
            if p.grad is not None and p.dim() > 1
        ]
        job.optimizer.zero_grad(set_to_none=True)
        return {"gradients": norms}

    def activations(self) -> dict[str, Any]:
        """Return the standard deviation of what each convolution and linear layer puts out."""
        inputs, _ = self._job.mover(next(iter(self._fresh_batches())))
        spreads: list[tuple[str, float]] = []

        def note(name: str) -> Callable[..., None]:
            return lambda _module, _given, out: spreads.append((name, float(out.float().std())))

        hooks = [
            module.register_forward_hook(note(name))
            for name, module in self._job.model.named_modules()
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
        ]
        try:
            with torch.no_grad():
                self._job.model(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return {"activations": spreads}

    def close(self) -> None:
        """Let the workers go."""
        self._resume()
        self._loader.close()

    def pids(self) -> list[int]:
        """Return this process and its workers."""
        return [os.getpid(), *self._stopped]

    def _counted(self, min_steps: int, min_s: float) -> dict[str, Any]:
        meter = Meter(1)
        _, timer = self._job.build_timer()
        start_ns, steps = read_ns(), 0
        while steps < min_steps or read_ns() - start_ns < nanoseconds(min_s):
            for _ in range(self._burst):
                timer.enter(Phase.DATA_WAIT)
                batch = next(self._batches)
                meter.add(self._job.step(batch, timer.enter))
                timer.end_step()
                steps += 1
        window = timer.close_window()
        assert window is not None
        meter.flush()
        if meter.diverged_at is not None:
            raise NotFiniteError("the loss is not finite")
        sums = sum_device_windows([window])
        device = DeviceTimes(**sums).model_dump(mode="json") if sums else None
        return {
            "steps": steps,
            "wall_ns": window.wall_ns,
            "phases_ns": {phase.value: spent for phase, spent in window.phases_ns.items()},
            "device_ns": device,
        }

    def _edges(self, cold_start_ns: int, first_end_ns: int) -> tuple[list[int], list[int]]:
        """Start and end the loader some times more; slow ones once."""
        starts_ns: list[int] = []
        ends_ns = [first_end_ns]
        while len(starts_ns) < _MAX_EDGES and not self._resident:
            starts_ns.append(self._start())
            ends_ns.append(self._end())
            if sum(starts_ns) + sum(ends_ns) + cold_start_ns > _EDGES_NS:
                break
        return starts_ns, ends_ns

    def _start(self) -> int:
        """Start the loader up to its first batch; that batch is the next to be taken."""
        start_ns = read_ns()
        batches = self._loader.batches(self._epoch)
        first = next(batches)
        spent_ns = read_ns() - start_ns
        self._epoch += 1
        self._batches = itertools.chain([first], batches)
        if self._resident:
            self._batches = itertools.cycle(self._on_device(self._batches))
        return spent_ns

    def _on_device(self, batches: Iterator[Batch]) -> list[Batch]:
        first = next(batches)
        size = sum(part.nbytes for part in first)
        count = max(1, min(_RESIDENT_BATCHES, _RESIDENT_BYTES // max(1, size)))
        held = [first, *itertools.islice(batches, count - 1)]
        return [self._job.mover(batch) for batch in held]

    def _end(self) -> int:
        """Let the loader come to its end; return the time of the ``next()`` that finds it."""
        if self._resident:
            return 0
        self._loader.let_end()
        while True:
            start_ns = read_ns()
            if next(self._batches, None) is None:
                return read_ns() - start_ns

    def _plain_step(self) -> float | None:
        result = self._job.step(next(self._batches), _no_phase)
        loss = float(result.loss)
        if loss != loss or loss in {float("inf"), float("-inf")}:
            raise NotFiniteError("the loss is not finite")
        return loss

    def _time_of(self, step: Callable[[], object]) -> int:
        self._wait()
        start_ns = read_ns()
        step()
        self._wait()
        return read_ns() - start_ns

    def _fresh_batches(self) -> Iterator[Batch]:
        return self._loader.batches(1)

    def _pause(self) -> None:
        """Stop the workers: an arm that waits for its turn uses no CPU."""
        self._stopped = self._loader.worker_pids()
        for pid in self._stopped:
            os.kill(pid, signal.SIGSTOP)

    def _resume(self) -> None:
        for pid in self._stopped:
            os.kill(pid, signal.SIGCONT)

    def _worker_cpu_ns(self) -> int:
        return sum(_cpu_ns(pid) for pid in self._stopped)


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until they end; what goes wrong is the last reply."""
    arm: TurnTaker | None = None
    for line in requests:
        request = json.loads(line)
        try:
            reply, arm = _answer(request, arm)
        except NotFiniteError as error:
            reply = {"ended": {"status": "diverged", "reason": str(error)}}
        except LaptimeError as error:
            reply = {"ended": {"status": "failed", "reason": str(error), "refused": True}}
        except Exception as error:  # noqa: BLE001 - a user's code may raise anything: recorded
            reply = {"ended": {"status": status_of(error), "reason": summary(error)}}
        pids = arm.pids() if arm else [os.getpid()]
        replies.write(json.dumps({**reply, "pids": pids}) + "\n")
        replies.flush()
        if "ended" in reply:
            break
    if arm is not None:
        arm.close()


def _answer(request: dict[str, Any], arm: TurnTaker | None) -> tuple[dict[str, Any], TurnTaker]:
    do = request.pop("do")
    if arm is None:
        arm = TurnTaker(build_settings(request["settings"]), resident=request["resident"])
        return {}, arm
    return getattr(arm, do)(**request) or {}, arm


def _no_phase(phase: Phase) -> Phase:
    return phase


def _share_bytes(pid: int, processes: int) -> int | None:
    try:
        memory = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return None
    return int(memory.uss + (memory.rss - memory.uss) / processes)


def _cpu_ns(pid: int) -> int:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0
    return nanoseconds(times.user + times.system)


def main() -> None:
    """Serve the study that started this process, and end without taking torch apart (0.3 s)."""
    die_with_parent()
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    gc.disable()
    serve(sys.stdin, replies)
    sys.stderr.flush()
    os._exit(0)
