"""Training runs for loss and accuracy: one for each arm and seed, every end recorded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from laptime.data.catalog import build_data
from laptime.errors import SettingsError, StoreError
from laptime.factory import is_factory
from laptime.record import DataRecord
from laptime.replicate import TrainedReplicate
from laptime.settings import DataSettings
from laptime.statistics.accuracy import trained_arms
from laptime.store import RunDirectory
from laptime.studies.plan import varied
from laptime.studies.runner import Workshop
from laptime.studies.training_plans import read_first_run, runs_of, training_order
from laptime.studies.training_process import TrainingHandle, TrainingProcess, TrainingTask
from laptime.study import Arm, Plan
from laptime.study_store import StudyDirectory
from laptime.timing.clock import sleep_s
from laptime.timing.environment import usable_cpus
from laptime.units import seconds

_POLL_S = 0.1

StartTraining = Callable[[TrainingTask], TrainingHandle]


def run_trainings(
    workshop: Workshop,
    plan: Plan,
    *,
    parallel: int | None = None,
    start: StartTraining = TrainingProcess,
) -> list[TrainedReplicate]:
    """Make the runs of a plan that are not stored yet, and return all of them in its order.

    Seed by seed, so that an interruption leaves whole seeds. A run that ends is stored at once
    and never made again; one that was interrupted is made again whole, in a new folder.

    Args:
        workshop: Where, for whom, until when.
        plan: Its arms, without those that are there once more or take resident batches.
        parallel: Runs at a time; None: two on a CPU, with half of its cores each, else one.
        start: What starts a run.

    Raises:
        SettingsError: The very first run is refused: so would be all others.
    """
    wanted = training_order(plan)
    directory = workshop.directory
    done = {(run.arm, run.seed) for run in directory.read_trained()}
    places = parallel or simultaneous(plan)
    threads = max(1, usable_cpus() // places) if places > 1 else None
    tasks = [
        TrainingTask(arm, seed, directory, plan.timeout_s, threads)
        for arm, seed in wanted
        if (arm.name, seed) not in done
    ]
    if tasks:
        first = tasks[0] if len(tasks) == len(wanted) else None
        _Bench(workshop, start, places, len(wanted)).make(tasks, first)
    runs = runs_of(plan, directory.read_trained())
    _keep_first_run(directory, runs)
    return runs


def _keep_first_run(directory: StudyDirectory, runs: Sequence[TrainedReplicate]) -> None:
    """Store where the first run was made and on what: one of another study may go away."""
    found = read_first_run(directory, runs)
    if found is not None and not directory.read_aside().knows("first_run"):
        directory.write_aside("first_run", found)


def simultaneous(plan: Plan) -> int:
    """Return how many runs at a time are fastest: two on a CPU with two cores or more.

    Two runs on a thread each take half the time of one after the other on two threads (2 cores,
    width 8, torch 2.13). A device is one run's own.
    """
    if usable_cpus() < 2:
        return 1
    devices = {arm.settings.training.device for arm in trained_arms(plan)}
    if devices == {"auto"}:
        from laptime.training.device import choose_device  # torch comes with it

        devices = {choose_device("auto").type}
    return 2 if devices == {"cpu"} else 1


class _Bench:
    """Places for a few runs at a time."""

    def __init__(self, workshop: Workshop, start: StartTraining, places: int, of: int) -> None:
        self._workshop, self._start, self._places, self._of = workshop, start, places, of
        self._running: dict[TrainingTask, TrainingHandle] = {}
        self._longest_s = 0.0

    def make(self, tasks: Sequence[TrainingTask], first: TrainingTask | None) -> None:
        """Make all runs; whatever ends this ends those in progress too."""
        waiting = deque(tasks)
        done = self._of - len(waiting)
        try:
            while waiting or self._running:
                self._fill(waiting)
                ended = list(self._ended())
                for task, handle, replicate in ended:
                    if handle.refused and task is first:
                        raise SettingsError(replicate.reason)
                    done += 1
                    self._workshop.directory.append_trained(replicate)
                    self._longest_s = max(self._longest_s, seconds(replicate.wall_ns))
                    self._workshop.listener.training_ended(replicate, done, self._of)
                if self._running and not ended:
                    sleep_s(_POLL_S)
        finally:
            for handle in self._running.values():
                handle.kill()

    def _fill(self, waiting: deque[TrainingTask]) -> None:
        while waiting and len(self._running) < self._places:
            if self._is_too_late():
                self._workshop.listener.warned(
                    f"The budget ends here: {len(waiting)} of {self._of} training runs are missing."
                )
                waiting.clear()
                return
            task = waiting.popleft()
            self._running[task] = self._start(task)

    def _is_too_late(self) -> bool:
        left_s = self._workshop.left_s()
        return left_s is not None and self._longest_s > 0 and left_s < self._longest_s

    def _ended(self) -> Iterator[tuple[TrainingTask, TrainingHandle, TrainedReplicate]]:
        for task, handle in list(self._running.items()):
            replicate = handle.poll()
            if replicate is not None:
                del self._running[task]
                yield task, handle, replicate


def adopt_trained(directory: StudyDirectory, plan: Plan, source: StudyDirectory) -> int:
    """Take over runs that were made with the same settings and seed; return how many.

    Only outcomes that would come out again: completed and diverged. A run stays where it is; the
    path to it is kept. Runs on other data than those that are here now are left alone.

    Args:
        directory: Where they are wanted.
        plan: What is wanted.
        source: Another study, or this one, whose main plan has arms of the same settings.
    """
    has_data = _SameData(is_checked=source.path != directory.path)
    arms = trained_arms(source.read_plan())
    done = {(run.arm, run.seed) for run in directory.read_trained()}
    theirs = {(run.arm, run.seed): run for run in source.read_trained()}
    adopted = 0
    for arm, seed in training_order(plan):
        found = (theirs.get((other.name, seed)) for other in arms if _is_same(arm, other))
        run = next((run for run in found if run and run.status in _REPEATABLE and run.run), None)
        if run is None or (arm.name, seed) in done or not has_data(arm.settings.data, source, run):
            continue
        directory.append_trained(_moved(run, arm, source, directory))
        adopted += 1
    return adopted


_REPEATABLE = ("completed", "diverged")


class _SameData:
    """Whether a name such as ``auto`` means the same images now as it did for a run."""

    def __init__(self, *, is_checked: bool) -> None:
        self._is_checked = is_checked
        self._here: dict[DataSettings, DataRecord] = {}

    def __call__(
        self, settings: DataSettings, source: StudyDirectory, run: TrainedReplicate
    ) -> bool:
        if not self._is_checked or is_factory(settings.data):
            return True
        if settings not in self._here:
            self._here[settings] = build_data(settings).record()
        try:
            return RunDirectory(source.path / (run.run or "")).read_data() == self._here[settings]
        except StoreError:  # the run has been removed: what it was trained on is not known
            return False


def _is_same(arm: Arm, other: Arm) -> bool:
    return varied(arm.settings, seed=0) == varied(other.settings, seed=0)


def _moved(
    run: TrainedReplicate, arm: Arm, source: StudyDirectory, directory: StudyDirectory
) -> TrainedReplicate:
    path = os.path.relpath(source.path / (run.run or ""), directory.path)
    return run.model_copy(update={"arm": arm.name, "run": Path(path).as_posix()})
