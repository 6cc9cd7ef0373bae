"""Scripts that are formulas: what a step takes with which overrides, and which losses it has."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.studies.fakes import Calm, Notes

from laptime.phase import Phase
from laptime.studies.process import ArmEndedError
from laptime.study import TurnPolicy
from laptime.timing.clock import read_ns
from laptime.tune import (
    LoaderFacts,
    OptimizerFacts,
    PilotRecord,
    TuneArm,
    TuneRequest,
    overrides_of,
)
from laptime.tune_store import TuneDirectory, create_tuning
from laptime.tuning.choice.candidates import KINDS, Kind
from laptime.tuning.findings import Findings
from laptime.tuning.ground.blocks import Ground, Memory
from laptime.tuning.ground.costs import Costs
from laptime.tuning.search import Search

MS = 1_000_000
Overrides = Mapping[str, Any]


LOADER = LoaderFacts(place="train.py:7")
SGD = OptimizerFacts(name="SGD")


def losses_of(seed: int, steps: int = 120) -> list[float]:
    drawn = random.Random(f"losses {seed}")
    start = 2.3 + drawn.gauss(0, 0.05)
    return [start * math.exp(-step / 200) + drawn.gauss(0, 0.02) for step in range(steps)]


@dataclass(frozen=True)
class Script:
    """One script: times in milliseconds."""

    compute_ms: float = 10.0
    load_ms: float = 0.1
    """A batch, by one worker."""
    optimizer_ms: float = 0.3
    start_ms: float = 5.0
    """Of a loader with workers, once an epoch."""
    num_workers: int = 0
    steps_per_epoch: float | None = 100.0
    speed: Callable[[Overrides], float] = lambda _: 1.0
    """What overrides make of the time of a step."""
    losses: Callable[[Overrides, int], list[float | None]] = lambda _, seed: list(losses_of(seed))
    epoch_of: Callable[[Overrides, float], float] = lambda _, steps: steps
    ends: Mapping[str, ArmEndedError] = field(default_factory=dict)
    """By the name of an override: it comes to nothing."""
    loader: LoaderFacts | None = LOADER
    optimizers: tuple[OptimizerFacts, ...] = (SGD,)
    noise: float = 0.004
    process_noise: float = 0.003
    cpus: int = 2

    def step_ms(self, overrides: Overrides) -> tuple[float, float]:
        """Return the whole of a step, and what of it waits for batches."""
        workers = overrides.get("num_workers", self.num_workers)
        rest = (self.compute_ms + self.optimizer_ms) * self.speed(overrides)
        wait = max(0.0, self.load_ms / workers - rest) if workers else self.load_ms
        return rest + wait, wait

    def edge_ms(self, overrides: Overrides) -> float:
        workers = overrides.get("num_workers", self.num_workers)
        if not workers or overrides.get("persistent_workers"):
            return 0.1
        return self.start_ms

    def pilot(self) -> PilotRecord:
        step, wait = self.step_ms({})
        compute = (self.compute_ms + self.optimizer_ms) * self.speed({})
        share = self.optimizer_ms / (self.compute_ms + self.optimizer_ms)
        phases = {
            Phase.DATA_WAIT: wait,
            Phase.FORWARD: compute * (1 - share) / 3,
            Phase.BACKWARD: compute * (1 - share) * 2 / 3,
            Phase.OPTIMIZER: compute * share,
        }
        ns = {phase: round(value * MS) for phase, value in phases.items()}
        loader = self.loader and self.loader.model_copy(update={"num_workers": self.num_workers})
        return PilotRecord(
            cpus=self.cpus, cores=self.cpus, threads=self.cpus, step_s=step / 1e3,
            steps_per_epoch=self.steps_per_epoch, edges_s=self.edge_ms({}) / 1e3,
            has_warm_start=True, wall_ns=sum(ns.values()), phases_ns=ns, loader=loader,
            optimizers=self.optimizers, start_s=0.01, prepare_s=0.01,
        )  # fmt: skip


class FakeScript:
    """A process of a script."""

    def __init__(self, script: Script, arm: TuneArm, block: int, seed: int) -> None:
        self.arm, self.pids, self.closed = arm, (4242,), False
        self.broken: ArmEndedError | None = None
        self._script, self._block = script, block
        self._overrides = overrides_of(arm.changes)
        self._drawn = random.Random(f"{seed} {block} {arm.name}")
        self._slow = math.exp(self._drawn.gauss(0, script.process_noise))

    def tell(self, do: str, **details: Any) -> None: ...

    def reply(self, timeout_s: float) -> dict[str, Any]:
        return {}

    def ask(self, do: str, timeout_s: float, **details: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self, f"_{do}")(**details)
        return answer

    def let_go(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def _prepare(self) -> dict[str, Any]:
        if self.broken is not None:
            raise self.broken
        for name, error in self._script.ends.items():
            if name in self._overrides:
                raise error
        workers = self._overrides.get("num_workers", self._script.num_workers)
        steps = self._script.steps_per_epoch
        edge = round(self._script.edge_ms(self._overrides) * MS)
        return {
            "setup_ns": (9_000 if "compile" in self._overrides else 10) * MS,
            "cold_start_ns": edge, "loader_start_ns": [edge], "loader_end_ns": [],
            "num_workers": workers, "prefetch_factor": 2,
            "steps_per_epoch": self._script.epoch_of(self._overrides, steps) if steps else 0.0,
        }  # fmt: skip

    def _turn(self, discard: int, min_steps: int, min_s: float) -> dict[str, Any]:
        step, wait = self._script.step_ms(self._overrides)
        off = self._slow * math.exp(self._drawn.gauss(0, self._script.noise))
        ns = {
            Phase.FORWARD.value: round((step - wait) * off * MS * min_steps),
            Phase.DATA_WAIT.value: round(wait * off * MS * min_steps),
        }
        return {
            "steps": min_steps, "wall_ns": sum(ns.values()), "phases_ns": ns, "device_ns": None,
            "discarded": discard, "worker_cpu_ns": 0,
        }  # fmt: skip

    def _edges(self) -> dict[str, Any]:
        return {}

    def _memory(self) -> dict[str, Any]:
        workers = self._overrides.get("num_workers", self._script.num_workers)
        return {"worker_bytes": workers * 10**8 or None}

    def _losses(self) -> dict[str, Any]:
        return {"losses": self._script.losses(self._overrides, self._block)}


class Machine:
    """Starts processes of one script, and remembers them."""

    def __init__(self, script: Script, seed: int = 0) -> None:
        self.script, self.seed = script, seed
        self.started: list[FakeScript] = []

    def start(self, arm: TuneArm, block: int) -> FakeScript:
        process = FakeScript(self.script, arm, block, self.seed)
        self.started.append(process)
        return process


class TuneNotes(Notes):
    """A listener that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[tuple[str, list[str]]] = []

    def stage_started(self, plan: Any, stage: Any, words: Any) -> None:
        self.stages.append((stage, [arm.name for arm in plan.arms]))


def request(**more: Any) -> TuneRequest:
    given = {"command": ("python", "train.py"), "turns": TurnPolicy(min_turns=4, max_turns=6)}
    return TuneRequest(**{**given, **more})


@dataclass
class Tuning:
    """A search that has ended, and what it ran on."""

    findings: Findings
    machine: Machine
    notes: TuneNotes
    directory: TuneDirectory

    @property
    def names(self) -> set[str]:
        return {process.arm.name for process in self.machine.started}


def tune(
    tmp_path: Path,
    script: Script,
    asked: TuneRequest | None = None,
    *,
    seed: int = 0,
    kinds: Mapping[str, Kind] = KINDS,
    meter: Calm | None = None,
    machine: Machine | None = None,
) -> Tuning:
    asked, notes = asked or request(), TuneNotes()
    machine = machine or Machine(script, seed)
    directory = create_tuning(tmp_path, asked, "train")
    pilot = script.pilot()
    costs = Costs(pilot, turn_s=0.01)
    memory = Memory(lambda: 10**12)
    ground = Ground(
        directory, asked, machine.start, meter or Calm(), notes, costs, read_ns(), memory
    )
    search = Search(ground, pilot, kinds, memory.free_bytes, is_script=True)
    return Tuning(search.run(), machine, notes, directory)


def without_noise(script: Script) -> Script:
    return replace(script, noise=1e-4, process_noise=1e-4)
