"""The arms of the built-in job: the same training as ``laptime train``, with other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from laptime.errors import SettingsError
from laptime.phase import Phase
from laptime.record import EnvironmentRecord
from laptime.settings import RunSettings
from laptime.studies.plan import varied
from laptime.studies.process import ArmEndedError, ArmHandle, ArmProcess
from laptime.studies.starters import Starter, build_starter
from laptime.study import Arm
from laptime.timing.clock import read_ns
from laptime.tune import (
    BASELINE,
    LoaderFacts,
    OptimizerFacts,
    PilotRecord,
    TuneArm,
    TuneRequest,
    overrides_of,
)
from laptime.tuning.arms.pilot import (
    DEVICE_PHASES,
    PILOT_TURNS,
    Look,
    ScriptEndedError,
    take_turns,
)
from laptime.tuning.choice.candidates import JOB_KINDS, Kind
from laptime.units import seconds

RULES = {
    "sgd": "SGD", "nesterov": "SGD", "adagrad": "Adagrad", "adadelta": "Adadelta", "adam": "Adam",
    "adamw": "AdamW",
}  # fmt: skip
"""What torch calls the rules of the settings."""

LOSS_STEPS = 20
"""Run before the first turn, and compared: turns of the job keep no losses."""


class JobArm:
    """One process of the built-in job, asked as a script is."""

    def __init__(self, handle: ArmHandle, settings: RunSettings) -> None:
        self._handle, self._settings = handle, settings
        self._losses: Sequence[float | None] = ()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process and its loader's workers."""
        return self._handle.pids

    @pids.setter
    def pids(self, pids: tuple[int, ...]) -> None:
        """Take note of other processes."""
        self._handle.pids = pids

    def ask(self, do: str, timeout_s: float, **details: Any) -> dict[str, Any]:
        """Send a request and return the reply; what only scripts know has none.

        Raises:
            ArmEndedError: The arm ended instead, or took too long.
        """
        if do == "edges":
            return {}
        if do == "losses":
            return {"losses": list(self._losses)}
        if do != "prepare":
            return self._handle.ask(do, timeout_s, **details)
        start_ns = read_ns()
        facts = self._handle.ask(do, timeout_s, warm_up=LOSS_STEPS)
        self._losses = facts.pop("first_losses")
        facts["setup_ns"] += read_ns() - start_ns
        facts["prefetch_factor"] = self._settings.loader.prefetch_factor
        return facts

    def tell(self, do: str, **details: Any) -> None:
        """Send a request; :meth:`reply` waits for the answer."""
        self._handle.tell(do, **details)

    def reply(self, timeout_s: float) -> dict[str, Any]:
        """Return the answer to the last request."""
        return self._handle.reply(timeout_s)

    def let_go(self) -> None:
        """Say that nothing more will be asked."""
        self._handle.let_go()

    def close(self) -> None:
        """End the arm, whatever it is doing."""
        self._handle.close()


class Job:
    """Starts the built-in job with other settings.

    Args:
        request: What was asked for.
        logs: Where its output goes.
        starter: What starts processes; None: what is usual here.
    """

    is_script = False

    def __init__(self, request: TuneRequest, logs: Path, starter: Starter | None = None) -> None:
        assert request.settings is not None
        self._request, self._logs = request, logs
        self._base = request.settings
        self._starter = starter or build_starter()

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """What there is to try."""
        return JOB_KINDS

    def start(self, arm: TuneArm, block: int) -> JobArm:
        """Start an arm; all arms of a block have one seed."""
        seed = self._base.training.seed + block
        settings = varied(self._base, **{**overrides_of(arm.changes), "seed": seed})
        log = self._logs / f"{arm.name.replace(' ', '_')}.txt"
        return JobArm(
            ArmProcess(Arm(name=arm.name, settings=settings), log, self._starter), settings
        )

    def look(self) -> Look:
        """Take the first look at the unchanged job.

        Raises:
            LaptimeError: It cannot be built, or ends.
        """
        handle = self.start(TuneArm(name=BASELINE), 0)
        try:
            return self._look(handle)
        except ArmEndedError as error:
            if error.refused:
                raise SettingsError(error.reason) from error
            raise ScriptEndedError(
                f"the job ended in its first steps: {error.reason}. `laptime train` with the same "
                f"settings says more.",
                exit_status=1,
            ) from error
        finally:
            handle.close()

    def _look(self, handle: JobArm) -> Look:
        timeout_s, policy = self._request.timeout_s, self._request.turns
        start_ns = read_ns()
        handle.reply(timeout_s)
        built_ns = read_ns()
        facts = handle.ask("prepare", timeout_s)
        ready_ns = read_ns()
        flight = facts["num_workers"] * self._base.loader.prefetch_factor
        turns = take_turns(handle, policy, timeout_s, discard=flight, turns=PILOT_TURNS)
        over_ns = read_ns()
        memory = handle.ask("memory", timeout_s)
        machine = EnvironmentRecord.model_validate(facts["environment"])
        cores = psutil.cpu_count(logical=False) or machine.cpus_usable
        phases = {p: sum(_spent_ns(turn, p) for turn in turns) for p in Phase}
        starts, ends = facts["loader_start_ns"] or [0], facts["loader_end_ns"] or [0]
        record = PilotRecord(
            device=machine.device,
            device_name=machine.device_name,
            cpus=machine.cpus_usable,
            cores=min(cores, machine.cpus_usable),
            threads=machine.threads,
            torch=machine.torch,
            step_s=fmean(seconds(turn["wall_ns"]) / turn["steps"] for turn in turns),
            steps_per_epoch=facts["steps_per_epoch"],
            edges_s=seconds(sum(starts)) / len(starts) + seconds(sum(ends)) / len(ends),
            has_warm_start=True,
            wall_ns=sum(turn["wall_ns"] for turn in turns),
            phases_ns=phases,
            loader=self._loader(),
            optimizers=(self._optimizer(),),
            is_compiled=self._base.training.compile,
            worker_bytes=memory["worker_bytes"],
            overhead_share=facts["overhead_share"],
            start_s=seconds(built_ns - start_ns),
            prepare_s=seconds(ready_ns - built_ns),
            notes=tuple(facts["warnings"]),
        )
        return Look(record, {}, seconds(over_ns - ready_ns) / len(turns))

    def _optimizer(self) -> OptimizerFacts:
        settings = self._base.optimizer
        return OptimizerFacts(name=RULES[settings.optimizer], fused=settings.fused)

    def _loader(self) -> LoaderFacts | None:
        loader = self._base.loader
        if loader.loader == "device":
            return None
        return LoaderFacts(
            kind=loader.loader,
            num_workers=loader.num_workers,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
            pin_memory=loader.pin_memory,
        )


def _spent_ns(turn: Mapping[str, Any], phase: Phase) -> int:
    """Return what a turn spent in a phase; on a device, by its own attribution."""
    device = turn["device_ns"]
    if not device:
        return int(turn["phases_ns"].get(phase.value, 0))
    return int(device[DEVICE_PHASES[phase]]) if phase in DEVICE_PHASES else 0
