"""Arms without processes, a machine without noise, listeners that remember."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

from laptime.census import (
    CensusRecord,
    Convolutions,
    Inspection,
    LinearLayers,
    OptimizerState,
    Parameters,
    PassRecord,
    SampleRecord,
)
from laptime.phase import Phase
from laptime.record import EnvironmentRecord
from laptime.replicate import NoiseRecord, Outcome
from laptime.settings import build_settings
from laptime.studies.process import ArmEndedError
from laptime.study import Arm
from laptime.timing.noise import NoiseMeter, Sentinel

StepNs = Callable[[str, int], int]
"""Arm and number of its turn to nanoseconds a step."""

ENVIRONMENT = {
    "cpu": "fake", "cpus_usable": 2, "cpus_total": 2, "memory_bytes": 10**10,
    "memory_usable_bytes": 10**10, "shm_bytes": 10**9, "platform": "fake", "python": "3.11",
    "torch": "2.13", "laptime": "0", "device": "cpu", "device_name": "fake", "threads": 2,
    "interop_threads": 2, "start_method": "fork",
}  # fmt: skip


def arm(name: str, **settings: Any) -> Arm:
    return Arm(name=name, settings=build_settings(settings))


class FakeArm:
    """An arm whose steps take what a function says; it may end at a request."""

    def __init__(
        self,
        arm: Arm,
        step_ns: StepNs,
        log: list[tuple[str, str]],
        ends: dict[str, ArmEndedError] | None = None,
    ) -> None:
        self.arm, self.pids = arm, (4242,)
        self._step_ns, self._log, self._ends = step_ns, log, ends or {}
        self._turns = 0
        self.closed = False

    def tell(self, do: str, **details: Any) -> None:
        self._log.append((self.arm.name, do))

    def reply(self, timeout_s: float) -> dict[str, Any]:
        self._may_end("build")
        return {}

    def ask(self, do: str, timeout_s: float, **details: Any) -> dict[str, Any]:
        self.tell(do)
        self._may_end(do)
        answer: dict[str, Any] = getattr(self, f"_{do}")(**details)
        return answer

    def let_go(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True
        self._log.append((self.arm.name, "close"))

    def _may_end(self, do: str) -> None:
        if do in self._ends:
            raise self._ends[do]

    def _prepare(self, warm_up: int = 5) -> dict[str, Any]:
        settings = self.arm.settings
        resident = self.arm.feed == "resident"
        return {
            "setup_ns": 10, "cold_start_ns": 5, "loader_start_ns": [] if resident else [1000],
            "loader_end_ns": [] if resident else [500], "first_losses": [2.3, 2.2],
            "step_ns": self._step_ns(self.arm.name, 1), "steps_per_epoch": 40.0,
            "num_workers": 0 if resident else settings.loader.num_workers,
            "overhead_share": 0.0, "parameters": 10, "data_sha256": "aa", "data_label": "fake",
            "environment": ENVIRONMENT, "warnings": [],
        }  # fmt: skip

    def _turn(self, discard: int, min_steps: int, min_s: float) -> dict[str, Any]:
        self._turns += 1
        step_ns = self._step_ns(self.arm.name, self._turns)
        steps = max(min_steps, math.ceil(min_s * 1e9 / step_ns))
        wall_ns = steps * step_ns
        return {
            "discarded": discard, "steps": steps, "wall_ns": wall_ns, "device_ns": None,
            "phases_ns": {Phase.FORWARD.value: wall_ns}, "worker_cpu_ns": 0,
        }  # fmt: skip

    def _memory(self) -> dict[str, Any]:
        return {"worker_bytes": 1000 * self.arm.settings.loader.num_workers or None}

    def _alone(self, discard: int, steps: int, longest_s: float) -> dict[str, Any]:
        return {"alone_batches": steps, "alone_ns": steps * 1000}

    def _gradients(self) -> dict[str, Any]:
        return {"gradients": [["conv", 1.0]]}


class FakeMachine:
    """Starts fake arms and remembers what was asked of whom, in order."""

    def __init__(
        self, step_ns: StepNs, ends: dict[str, dict[str, ArmEndedError]] | None = None
    ) -> None:
        self.log: list[tuple[str, str]] = []
        self.arms: list[FakeArm] = []
        self._step_ns, self._ends = step_ns, ends or {}

    def start(self, arm: Arm) -> FakeArm:
        started = FakeArm(arm, self._step_ns, self.log, self._ends.get(arm.name))
        self.arms.append(started)
        return started


class Calm(NoiseMeter):
    """A machine on which nothing else happens; foreign load comes from an iterator."""

    def __init__(self, foreign: Iterable[float] = ()) -> None:
        super().__init__(Sentinel(1, work=lambda count: None, clock=lambda: 0), frozenset())
        self._foreign = iter(foreign)

    def before(self, pids: Collection[int], *, fresh: bool = False) -> Any:
        return None

    def after(self, reading: Any) -> NoiseRecord:
        return NoiseRecord(
            sentinel_before_ns=10**8, sentinel_after_ns=10**8,
            foreign_cores=next(self._foreign, 0.0),
        )  # fmt: skip


class Notes:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.turns: list[tuple[str, int]] = []
        self.ends: list[tuple[str, Outcome, str]] = []
        self.warnings: list[str] = []
        self.blocks: list[int] = []
        self.trainings = 0

    def turn_taken(self, arm: str, round_number: int, step_s: float) -> None:
        self.turns.append((arm, round_number))

    def arm_ended(self, arm: str, status: Outcome, reason: str) -> None:
        self.ends.append((arm, status, reason))

    def warned(self, text: str) -> None:
        self.warnings.append(text)

    def stage_started(self, plan: Any, stage: Any, price: Any) -> None: ...

    def block_started(self, block: int, blocks: int) -> None: ...

    def block_ended(self, block: Any, plan: Any) -> None:
        self.blocks.append(block.block)

    def training_ended(self, replicate: Any, done: int, of: int) -> None:
        self.trainings += 1


def inspection() -> Inspection:
    """Return what might have been counted of a model of one convolution."""
    few = PassRecord(
        samples=1, macs=3, input_bytes=4, saved_bytes=5, gradient_tensors=1,
        gradient_elements=2, nonzero_gradients=2,
    )  # fmt: skip
    state = OptimizerState(
        settings="lr 0.1", gradient_tensors=1, gradient_elements=2, gradient_bytes=8,
        nonzero_gradients=2, state_elements={}, step_counters=0, state_bytes=0,
    )  # fmt: skip
    census = CensusRecord(
        model="resnet18", width=64, norm="batch", sample=SampleRecord(shape=(3, 32, 32)),
        convolutions=Convolutions(
            total=1, main_path=1, projections=0, uncalled=0, functions=0,
            by_kernel={"3x3": 1}, by_stage={"32x32": 1},
        ),
        linear=LinearLayers(
            total=1, last="linear", in_features=512, out_features=10, last_map=(512, 4, 4)
        ),
        norms={"BatchNorm2d": 1},
        parameters=Parameters(
            trainable=2, frozen=0, tensors=1, bytes=8, buffers=0, buffer_bytes=0
        ),
        macs=1, layers=(), passes=(few, few.model_copy(update={"samples": 2, "macs": 6})),
        optimizers={"sgd": state},
    )  # fmt: skip
    return Inspection(
        census=census, twin=census, batch_size=128, epoch_samples=50_000, precision="float32",
        machine=EnvironmentRecord(**ENVIRONMENT),
    )  # fmt: skip
