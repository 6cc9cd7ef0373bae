"""A tuning from its request to its result, in a directory of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from laptime.errors import LaptimeError
from laptime.files import locked
from laptime.studies.block import Meter
from laptime.studies.process import ArmHandle
from laptime.studies.runner import interruptible
from laptime.timing.clock import read_ns
from laptime.timing.environment import usable_memory_bytes
from laptime.timing.noise import NoiseMeter, Sentinel
from laptime.tune import TuneArm, TuneRequest
from laptime.tune_store import TuneDirectory, create_tuning
from laptime.tuning.arms.family import FamilyMeter
from laptime.tuning.arms.job import Job
from laptime.tuning.arms.pilot import Look
from laptime.tuning.arms.scripts import Scripts
from laptime.tuning.arms.watchdog import Watchdog
from laptime.tuning.choice.candidates import JOB_KINDS, KINDS, Kind, check_only
from laptime.tuning.conclusion import Tuned, conclude
from laptime.tuning.ground.blocks import Ground, Memory, TuneListener
from laptime.tuning.ground.costs import Costs
from laptime.tuning.search import Search


class Arms(Protocol):
    """What starts the processes of a tuning: a script's, or the built-in job's."""

    @property
    def is_script(self) -> bool:
        """Whether turns go from epoch to epoch."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What there is to try."""

    def look(self) -> Look:
        """Take the first look at the unchanged job."""

    def start(self, arm: TuneArm, block: int) -> ArmHandle:
        """Start an arm in a block."""


def run_tuning(
    request: TuneRequest,
    runs_dir: Path,
    listener: TuneListener,
    *,
    arms: Arms | None = None,
    meter: Meter | None = None,
    free_bytes: Callable[[], int] = usable_memory_bytes,
) -> Tuned:
    """Tune a script or the built-in job.

    Args:
        request: What is asked for.
        runs_dir: Where the directory of the tuning is made.
        listener: Who shows how far it is.
        arms: What starts processes; None: what the request is about.
        meter: Who watches the machine.
        free_bytes: Memory that is free.

    Raises:
        LaptimeError: It cannot be begun and has left nothing behind, or the disk refuses.
        KeyboardInterrupt: Somebody ended it; what was found until then is kept.
    """
    check_only(request.only, KINDS if request.command else JOB_KINDS)
    directory = create_tuning(runs_dir, request, _word(request))
    start_ns = read_ns()
    try:
        with locked(directory.path), interruptible(), _arms(request, directory, arms) as chosen:
            look = chosen.look()
            directory.write_request(request, look.record)
            directory.write_recorder(look.recorder)
            watcher = meter or FamilyMeter(NoiseMeter(Sentinel.calibrated()))
            costs = Costs(look.record, turn_s=look.turn_s, short=look.short)
            memory = Memory(free_bytes, look.record.resident_bytes)
            ground = Ground(
                directory, request, chosen.start, watcher, listener, costs, start_ns, memory
            )
            search = Search(
                ground, look.record, chosen.kinds, free_bytes, is_script=chosen.is_script
            )
            try:
                search.run()
            finally:
                tuned = conclude(directory, request, look, search.findings, ground, start_ns)
                if ground.blocks:
                    directory.write_record(tuned.record)
    except (LaptimeError, KeyboardInterrupt):
        if not directory.blocks.exists():
            directory.discard()
        raise
    directory.write_record(tuned.record)
    return tuned


@contextmanager
def _arms(request: TuneRequest, directory: TuneDirectory, arms: Arms | None) -> Iterator[Arms]:
    if arms is not None:
        yield arms
    elif request.command:
        watchdog = Watchdog()
        try:
            yield Scripts(request, directory.logs, watchdog)
        finally:
            watchdog.close()
    else:
        yield Job(request, directory.logs)


def _word(request: TuneRequest) -> str:
    """Return what a tuning is called after: the script, else the command, else the model."""
    command = request.command
    if not command:
        assert request.settings is not None
        return request.settings.model.model
    scripts = [Path(word).stem for word in command[1:] if word.endswith(".py")]
    modules = [command[i + 1] for i, word in enumerate(command[:-1]) if word == "-m"]
    return (scripts or modules or [Path(command[0]).name])[0]
