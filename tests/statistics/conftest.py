"""Builders of made-up studies: plans, blocks, replicates, turns, training runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import pytest

from laptime.phase import Phase
from laptime.record import DeviceTimes, EnvironmentRecord, EpochRecord
from laptime.replicate import Block, NoiseRecord, Replicate, TrainedReplicate, Turn
from laptime.settings import build_settings
from laptime.study import Arm, Plan

STEP_S = {"w0": 0.050, "w2": 0.035, "w4": 0.030, "w2 again": 0.035, "resident": 0.028}
"""Seconds a step of the arms of the study that is built when nothing else is said."""

STEPS_PER_EPOCH = 100.0


class Builder:
    """Builds records as a quiet machine leaves them; what is given replaces what is made up.

    Noise is lognormal and drawn from one seed: two tests that build the same get the same.
    """

    def __init__(self) -> None:
        self.random = Random(0)

    def factor(self, sd: float) -> float:
        return self.random.lognormvariate(0.0, sd)

    def environment(self, **given: Any) -> EnvironmentRecord:
        values = {
            "cpu": "Xeon 8268",
            "cpus_usable": 16,
            "cpus_total": 48,
            "memory_bytes": 64 << 30,
            "memory_usable_bytes": 60 << 30,
            "shm_bytes": 1 << 30,
            "platform": "Linux",
            "python": "3.13.1",
            "torch": "2.13.0",
            "laptime": "0.1.0",
            "device": "cpu",
            "device_name": "Xeon 8268",
            "threads": 16,
            "interop_threads": 24,
            "start_method": "forkserver",
        }
        return EnvironmentRecord(**{**values, **given})

    def noise(self, **given: Any) -> NoiseRecord:
        values = {
            "sentinel_before_ns": round(60e6 * self.factor(0.02)),
            "sentinel_after_ns": round(60e6 * self.factor(0.02)),
            "foreign_cores": 0.03,
            "steal": 0.01,
            "pressure": 0.05,
            "clock_mhz": 2900.0 * self.factor(0.005),
        }
        return NoiseRecord(**{**values, **given})

    def turn(
        self, step_s: float = 0.035, number: int = 1, loading: float = 0.3, **given: Any
    ) -> Turn:
        """Build a turn of half a second or more; a share of it is loading, 5 % the optimizer."""
        steps = given.pop("steps", max(20, round_up(0.5 / step_s)))
        wall_ns = given.pop("wall_ns", int(step_s * steps * 1e9))
        phases = {
            Phase.DATA_WAIT: int(loading * wall_ns),
            Phase.OPTIMIZER: wall_ns // 20,
            Phase.OTHER: wall_ns // 100,
        }
        phases[Phase.FORWARD] = wall_ns - sum(phases.values())
        values = {
            "round": number,
            "discarded": 4,
            "steps": steps,
            "wall_ns": wall_ns,
            "phases_ns": phases,
            "worker_cpu_ns": 2 * wall_ns,
            "noise": self.noise(),
        }
        return Turn(**{**values, **given})

    def device_times(self, wall_ns: int, steps: int, **given: Any) -> DeviceTimes:
        """Build a device window that closes: a tenth is stall, a twentieth the optimizer."""
        stall_ns, optimizer_ns = wall_ns // 10, wall_ns // 20
        values = {
            "windows": 1,
            "steps": steps,
            "wall_ns": wall_ns,
            "transfer_ns": 0,
            "forward_ns": wall_ns - stall_ns - optimizer_ns,
            "backward_ns": 0,
            "optimizer_ns": optimizer_ns,
            "stall_ns": stall_ns,
            "host_gap_ns": 0,
            "hidden_ns": 0,
            "closure_ns": 0,
            "invalid_windows": 0,
            "host_phases_ns": {Phase.FORWARD: wall_ns},
        }
        return DeviceTimes(**{**values, **given})

    def device_turn(self, step_s: float = 0.035, number: int = 1, **given: Any) -> Turn:
        """Build a turn on a GPU whose whole wall is one device window."""
        turn = self.turn(step_s, number)
        times = self.device_times(turn.wall_ns, turn.steps, **given)
        return changed(turn, phases_ns={Phase.FORWARD: turn.wall_ns}, device_ns=times)

    def replicate(
        self,
        arm: str = "w2",
        block: int = 1,
        step_s: float = 0.035,
        num_turns: int = 6,
        turn_sd: float = 0.01,
        **given: Any,
    ) -> Replicate:
        values = {
            "arm": arm,
            "block": block,
            "status": "completed",
            "steps_per_epoch": STEPS_PER_EPOCH,
            "num_workers": 2,
            "loader_start_ns": (200_000_000, 210_000_000),
            "loader_end_ns": (20_000_000,),
            "turns": tuple(
                self.turn(step_s * self.factor(turn_sd), n) for n in range(1, num_turns + 1)
            ),
            "alone_batches": 20,
            "alone_ns": 400_000_000,
            "worker_bytes": 400_000_000,
            "first_losses": (2.31, 2.29, 2.30, 2.27, 2.25),
            "environment": self.environment(),
            "parameters": 11_173_962,
            "data_sha256": "ab" * 32,
            "data_label": "embedded set",
            "overhead_share": 0.002,
        }
        return Replicate(**{**values, **given})

    def arm(self, name: str, **given: Any) -> Arm:
        """Build an arm; ``feed`` and ``again_of`` are the arm's, all else is a setting."""
        own = {key: given.pop(key) for key in ("feed", "again_of") if key in given}
        settings = {"data": "synthetic", "device": "cpu", **given}
        return Arm(name=name, settings=build_settings(settings), **own)

    def plan(self, arms: Sequence[Arm] | None = None, **given: Any) -> Plan:
        """Build a plan; without arms that of a study of 0, 2 and 4 workers, 2 the baseline."""
        worker_arms = (
            self.arm("w0", num_workers=0),
            self.arm("w2", num_workers=2),
            self.arm("w4", num_workers=4),
            self.arm("w2 again", num_workers=2, again_of="w2"),
            self.arm("resident", num_workers=2, feed="resident"),
        )
        values = {
            "study": "workers",
            "arms": tuple(arms or worker_arms),
            "baseline": "w2",
            "factors": ("num_workers",),
            "blocks": 5,
        }
        return Plan(**{**values, **given})

    def block(
        self,
        plan: Plan,
        number: int = 1,
        step_s: Mapping[str, float] = STEP_S,
        block_sd: float = 0.005,
        **given: Any,
    ) -> Block:
        """Build a block; ``given`` goes to its replicates."""
        replicates = tuple(
            self.replicate(
                arm.name, number, step_s.get(arm.name, 0.035) * self.factor(block_sd), **given
            )
            for arm in plan.arms
        )
        return Block(
            block=number, started="2026-01-01T00:00:00", wall_ns=80 * 10**9, replicates=replicates
        )

    def blocks(self, plan: Plan, count: int | None = None, **given: Any) -> list[Block]:
        """Build the blocks of a plan, as many as it asks for."""
        numbers = range(1, (plan.blocks if count is None else count) + 1)
        return [self.block(plan, number, **given) for number in numbers]

    def trained(self, arm: str = "w2", seed: int = 0, **given: Any) -> TrainedReplicate:
        """Build a run of two epochs with an accuracy of about one half."""
        values = {
            "arm": arm,
            "seed": seed,
            "status": "completed",
            "epochs": tuple(self.epoch(number) for number in (1, 2)),
            "wall_ns": 10 * 10**9,
        }
        return TrainedReplicate(**{**values, **given})

    def epoch(self, number: int = 1, **given: Any) -> EpochRecord:
        values = {
            "epoch": number,
            "samples": 1000,
            "steps": 10,
            "loss": 1.5 * self.factor(0.02),
            "correct": 500 + self.random.randrange(-20, 21),
            "wall_ns": 5 * 10**9,
            "phases_ns": {Phase.FORWARD: 5 * 10**9},
            "mode": "host",
        }
        return EpochRecord(**{**values, **given})

    def changed(self, record: Any, **values: Any) -> Any:
        return changed(record, **values)

    def change_replicates(
        self, blocks: Sequence[Block], change: Callable[[Replicate], Replicate], *arms: str
    ) -> list[Block]:
        """Return blocks in which the replicates of some arms, or of all, are changed."""
        return [
            changed(
                block,
                replicates=tuple(
                    change(replicate) if not arms or replicate.arm in arms else replicate
                    for replicate in block.replicates
                ),
            )
            for block in blocks
        ]

    def change_turns(
        self, blocks: Sequence[Block], change: Callable[[Turn], Turn], *arms: str
    ) -> list[Block]:
        """Return blocks in which the turns of some arms, or of all, are changed."""

        def of(replicate: Replicate) -> Replicate:
            return changed(replicate, turns=tuple(change(turn) for turn in replicate.turns))

        return self.change_replicates(blocks, of, *arms)


def round_up(value: float) -> int:
    return -int(-value // 1)


def changed(record: Any, **values: Any) -> Any:
    """Return a copy with some fields replaced, checked like any other record."""
    fields = {name: getattr(record, name) for name in type(record).model_fields}
    return type(record)(**{**fields, **values})


@pytest.fixture
def builder() -> Builder:
    return Builder()
