"""A plan to its blocks: what is done is skipped, what is interrupted is run again whole."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from laptime.replicate import Block, Stage, TrainedReplicate
from laptime.report.charts.study import write_charts
from laptime.studies.block import BlockListener, BlockRun, Meter
from laptime.studies.price import Pilot, Price, known_pilot
from laptime.studies.process import ArmHandle, ArmProcess
from laptime.studies.starters import build_starter
from laptime.study import Arm, Plan, StudyRecord
from laptime.study_store import StudyDirectory
from laptime.timing.clock import read_ns
from laptime.timing.environment import usable_cpus
from laptime.timing.noise import NoiseMeter, Sentinel
from laptime.units import nanoseconds, seconds


class StudyListener(BlockListener, Protocol):
    """Whoever shows a study while it goes on."""

    def stage_started(self, plan: Plan, stage: Stage, price: Price | None) -> None:
        """A plan is written and its first block begins."""

    def block_started(self, block: int, blocks: int) -> None:
        """A block begins."""

    def block_ended(self, block: Block, plan: Plan) -> None:
        """A block is stored."""

    def training_ended(self, replicate: TrainedReplicate, done: int, of: int) -> None:
        """A training run for loss and accuracy is stored."""


@dataclass(frozen=True)
class Workshop:
    """What a study works with: where it writes, what starts arms, who watches, until when."""

    directory: StudyDirectory
    listener: StudyListener
    meter: Meter
    start_arm: Callable[[Arm], ArmHandle]
    start_ns: int
    budget_s: float | None = None

    def left_s(self) -> float | None:
        """Return what is left of the budget; None without one."""
        if self.budget_s is None:
            return None
        return self.budget_s - seconds(read_ns() - self.start_ns)

    def pilot(self, arm: Arm, timeout_s: float) -> Pilot | None:
        """Take one short look at an arm; None where it ended in it: the price is unknown then."""
        warn = self.listener.warned
        return known_pilot(arm, self.start_arm, timeout_s, warn, usable_cpus())


def open_workshop(
    directory: StudyDirectory, listener: StudyListener, budget_s: float | None = None
) -> Workshop:
    """Return what a study on this machine works with."""
    starter = build_starter()

    def start(arm: Arm) -> ArmHandle:
        return ArmProcess(arm, directory.logs / f"{arm.name}.txt", starter)

    meter = NoiseMeter(_sentinel(directory))
    return Workshop(directory, listener, meter, start, read_ns(), budget_s)


def _sentinel(directory: StudyDirectory) -> Sentinel:
    """Return the study's sentinel: calibrated once, so that readings after a resume compare."""
    known = directory.read_sentinel()
    if known is not None:
        return Sentinel(known)
    sentinel = Sentinel.calibrated()
    directory.write_sentinel(sentinel.repetitions)
    return sentinel


def run_stage(
    workshop: Workshop, plan: Plan, stage: Stage = "main", price: Price | None = None
) -> list[Block]:
    """Write the plan, run its blocks, and return all of them.

    A block that is interrupted leaves no line behind and is run again whole by a resume.

    Raises:
        SettingsError: The directory holds another plan of this stage.
    """
    directory = workshop.directory
    if not directory.read_aside().knows("usable_cpus"):
        directory.write_aside("usable_cpus", usable_cpus())
    directory.write_plan(plan, stage)
    done = {block.block for block in directory.read_blocks(stage)}
    if len(done) < plan.blocks:
        workshop.listener.stage_started(plan, stage, price)
    run = BlockRun(plan, workshop.start_arm, workshop.meter, workshop.listener, stage=stage)
    longest_ns = 0
    for number in range(1, plan.blocks + 1):
        left_s = workshop.left_s()
        if number in done:
            continue
        if left_s is not None and longest_ns and nanoseconds(left_s) < longest_ns:
            workshop.listener.warned(
                f"The budget ends here: {number - 1} of {plan.blocks} blocks were run."
            )
            break
        workshop.listener.block_started(number, plan.blocks)
        block = run.run(number)
        directory.append_block(block)
        workshop.listener.block_ended(block, plan)
        longest_ns = max(longest_ns, block.wall_ns)
    return directory.read_blocks(stage)


def keep_record(directory: StudyDirectory, record: StudyRecord) -> None:
    """Write what the study says, as JSON and as charts; both can be made again from the rest."""
    directory.write_record(record)
    write_charts(record, directory.charts)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end a study as Ctrl-C does: arms are ended, finished blocks stay."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's form
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: whoever runs us there has signals of its own
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
