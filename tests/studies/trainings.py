"""Training runs and arms without processes, for studies that need both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.studies.fakes import Calm, FakeArm, FakeMachine, Notes, StepNs

from laptime.phase import Phase
from laptime.record import EpochRecord
from laptime.replicate import TrainedReplicate
from laptime.settings import RunSettings
from laptime.studies.process import ArmEndedError
from laptime.studies.runner import Workshop
from laptime.studies.training_process import TrainingTask
from laptime.studies.training_runs import run_trainings
from laptime.study import Arm, Plan, StudyRequest, TurnPolicy
from laptime.study_store import StudyDirectory, create_study
from laptime.timing.clock import read_ns

S = 1_000_000_000

Ending = str | EpochRecord | BaseException
"""A status, or the last epoch of a run that completed, or what is raised instead."""

Outcomes = Callable[[str, int, RunSettings], Ending]
"""Arm, seed and settings to how the run ends."""


def epoch(loss: float = 1.0, correct: int = 3000, **given: Any) -> EpochRecord:
    values = {"epoch": 1, "samples": 10_000, "steps": 200, "mode": "host", "phases_ns": {}}
    return EpochRecord(**{**values, "loss": loss, "correct": correct, "wall_ns": 0, **given})


class FakeTraining:
    """A training run in progress; ``refused`` is a status of its own."""

    def __init__(self, task: TrainingTask, outcome: Outcomes) -> None:
        self.task, self.killed = task, False
        self._given = outcome(task.arm.name, task.seed, task.arm.settings)
        self.refused = self._given == "refused"

    def poll(self) -> TrainedReplicate | None:
        given = self._given
        if isinstance(given, BaseException):
            raise given
        last = given if isinstance(given, EpochRecord) else None
        status = "completed" if last else "failed" if given == "refused" else str(given)
        return TrainedReplicate(
            arm=self.task.arm.name, seed=self.task.seed, status=status,
            reason=None if last else f"it {given}", run=f"runs/{self.task.arm.name}",
            epochs=(last,) if last else (), wall_ns=S,
        )  # fmt: skip

    def kill(self) -> None:
        self.killed = True


class Trainings:
    """Starts fake trainings, remembers which, and makes the runs of whole plans."""

    def __init__(self, outcome: Outcomes = lambda arm, seed, settings: epoch()) -> None:
        self.started: list[FakeTraining] = []
        self._outcome = outcome

    def __call__(self, task: TrainingTask) -> FakeTraining:
        self.started.append(FakeTraining(task, self._outcome))
        return self.started[-1]

    @property
    def log(self) -> list[tuple[str, int]]:
        return [(handle.task.arm.name, handle.task.seed) for handle in self.started]

    def train(self, workshop: Workshop, plan: Plan) -> list[TrainedReplicate]:
        return run_trainings(workshop, plan, parallel=1, start=self)


class WholeArm(FakeArm):
    """An arm with an optimizer phase, and with what a study of training asks for besides turns."""

    facts: Mapping[str, Any] = {}

    def _prepare(self) -> dict[str, Any]:
        return {**super()._prepare(), **self.facts}

    def _turn(self, discard: int, min_steps: int, min_s: float) -> dict[str, Any]:
        turn = super()._turn(discard, min_steps, min_s)
        update_ns = turn["wall_ns"] // 10
        spent_ns = {Phase.OPTIMIZER: update_ns, Phase.FORWARD: turn["wall_ns"] - update_ns}
        return {**turn, "phases_ns": {phase.value: spent for phase, spent in spent_ns.items()}}

    def _gradients(self) -> dict[str, Any]:
        scale = 1.0 if self.arm.settings.model.norm == "batch" else 1e-3
        return {"gradients": [["conv1.weight", scale], ["linear.weight", math.nan]]}

    def _activations(self) -> dict[str, Any]:
        return {"activations": [["conv1", 0.5]]}


class Machine(FakeMachine):
    """Starts such arms; what an arm says of itself may differ from arm to arm."""

    facts: Mapping[str, Mapping[str, Any]] = {}

    def start(self, arm: Arm) -> FakeArm:
        started = WholeArm(arm, self._step_ns, self.log, self._ends.get(arm.name))
        started.facts = self.facts.get(arm.name, {})
        self.arms.append(started)
        return started


def steady(name: str, turn: int) -> int:
    return 30_000_000  # twenty of them are longer than half a second


def workshop_in(
    path: Path,
    request: StudyRequest | None = None,
    step_ns: StepNs = steady,
    ends: dict[str, dict[str, ArmEndedError]] | None = None,
    budget_s: float | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> Workshop:
    """Return a place to work in, with arms that are no processes."""
    if request is not None:
        directory = create_study(path, request)
    else:
        directory = StudyDirectory(path)
        path.mkdir(parents=True, exist_ok=True)
    machine = Machine(step_ns, ends)
    machine.facts = facts or {}
    return Workshop(directory, Notes(), Calm(), machine.start, read_ns(), budget_s)


def request_of(study: str, settings: RunSettings, **given: Any) -> StudyRequest:
    values = {"seeds": (0, 1, 2, 3, 4), "turns": TurnPolicy(max_turns=4), "blocks": 5}
    return StudyRequest(study=study, settings=settings, **{**values, **given})
