"""The first look at the unchanged script: what it is, how long a step takes, where that goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from laptime.errors import LaptimeError
from laptime.files import read_lines
from laptime.phase import Phase
from laptime.studies.block import FIRST_STEPS
from laptime.studies.process import ArmEndedError, ArmHandle
from laptime.study import TurnPolicy
from laptime.timing.clock import read_ns
from laptime.timing.environment import usable_cpus
from laptime.tune import LoaderFacts, OptimizerFacts, PilotRecord
from laptime.tuning.arms.family import family, resident_bytes
from laptime.tuning.arms.script import WARM_UP_STEPS, ScriptProcess, training_loader
from laptime.units import nanoseconds, seconds

LEAST_STEPS = 6
"""One to warm up, three that find caches filled, one that counts, and the last: the end."""

_IN_FLIGHT = 8
"""Steps that a turn may leave out: those of four workers with two batches each."""

PILOT_TURNS = 4
"""The fewest of a block: a script that lasts so long can take turns."""

_LONG_NS = nanoseconds(10.0)

DEVICE_PHASES = {
    Phase.DATA_WAIT: "stall_ns",
    Phase.TRANSFER: "transfer_ns",
    Phase.FORWARD: "forward_ns",
    Phase.BACKWARD: "backward_ns",
    Phase.OPTIMIZER: "optimizer_ns",
    Phase.OTHER: "host_gap_ns",
}
"""Where a device's own attribution of its steps has what, by phase."""


class ScriptEndedError(LaptimeError):
    """Report a script that came to nothing: it failed, or it never trained."""

    def __init__(self, text: str, exit_status: int) -> None:
        super().__init__(text)
        self.exit_status = exit_status


@dataclass(frozen=True)
class Look:
    """What a pilot found."""

    record: PilotRecord
    recorder: dict[str, Any]
    """As the recorder wrote it."""
    turn_s: float
    """Seconds of a turn, what it leaves out included."""
    short: TurnPolicy | None = None
    """The one turn that the script has steps for; None where it has enough for several."""
    warm_up: int = WARM_UP_STEPS


def look_at(start: Callable[[int], ScriptProcess], policy: TurnPolicy, timeout_s: float) -> Look:
    """Run the unchanged script for a few turns; once more where it is too short for them.

    Args:
        start: Starts it, with so many steps to warm up.
        policy: Turns of the blocks to come.
        timeout_s: How long it may answer nothing.

    Raises:
        ArmEndedError: It ended before its first step, or in another way than by itself.
        ScriptEndedError: It has too few steps.
    """
    process = start(WARM_UP_STEPS)
    try:
        return _look(process, policy, timeout_s, turns=PILOT_TURNS, warm_up=WARM_UP_STEPS)
    except ArmEndedError as error:
        if error.status != "completed":
            raise
    finally:
        process.close()
    total = int(process.recorder.get("steps", 0))
    warm_up, short = short_turn(total)
    again = start(warm_up)
    try:
        found = _look(again, short, timeout_s, turns=1, warm_up=warm_up)
    finally:
        again.close()
    record = found.record.model_copy(update={"total_steps": total})
    return Look(record, found.recorder, found.turn_s, short, warm_up)


def short_turn(total: int) -> tuple[int, TurnPolicy]:
    """Return the warm-up and the one turn of a script that has only so many steps.

    Raises:
        ScriptEndedError: It has fewer than six.
    """
    if total < LEAST_STEPS:
        raise ScriptEndedError(
            f"the script took {total} steps and ended, but at least {LEAST_STEPS} are needed. "
            f"Give it more epochs or more data.",
            exit_status=3,
        )
    warm_up = max(1, min(WARM_UP_STEPS, total // 5))
    last = 1  # at the end of its last step a script no longer stands still
    room = total - warm_up - FIRST_STEPS - last
    # Where there are steps to spare, workers may have batches under way and finish a burst.
    counted = room - _IN_FLIGHT if room > 3 * _IN_FLIGHT else max(1, room - FIRST_STEPS)
    return warm_up, TurnPolicy(min_turns=1, max_turns=1, min_steps=max(1, counted), min_s=0.0)


def _look(
    process: ScriptProcess, policy: TurnPolicy, timeout_s: float, *, turns: int, warm_up: int
) -> Look:
    start_ns = read_ns()
    process.reply(timeout_s)
    there_ns = read_ns()
    prepared = process.ask("prepare", timeout_s)
    ready_ns = read_ns()
    discard = _IN_FLIGHT if turns > 1 else FIRST_STEPS
    taken = take_turns(process, policy, timeout_s, discard=discard, turns=turns)
    over_ns = read_ns()
    edges, losses = process.ask("edges", timeout_s), process.ask("losses", timeout_s)
    memory = process.ask("memory", timeout_s)
    resident = resident_bytes(family(process.pids[0]))
    process.end()
    recorder, device_phases = process.recorder, _device_phases(process.run)
    facts = {**prepared, **edges, **losses, **memory}
    wall_ns, phases_ns = device_phases or _host_phases(taken)
    record = PilotRecord(
        **_machine(recorder),
        step_s=fmean(seconds(turn["wall_ns"]) / turn["steps"] for turn in taken),
        steps_per_epoch=facts.get("steps_per_epoch") or None,
        edges_s=_edges_s(facts),
        has_warm_start=bool(facts.get("loader_start_ns")),
        wall_ns=wall_ns,
        phases_ns=phases_ns,
        loader=loader_facts(recorder),
        optimizers=optimizer_facts(recorder),
        is_compiled=any(root.get("kind") == "compiled" for root in recorder.get("roots", ())),
        worker_bytes=facts.get("worker_bytes"),
        resident_bytes=resident,
        has_losses=any(loss is not None for loss in facts["losses"]),
        overhead_share=facts.get("overhead_share") or 0.0,
        start_s=seconds(there_ns - start_ns),
        prepare_s=seconds(ready_ns - there_ns),
        notes=tuple(recorder.get("notes", ())),
    )
    return Look(record, recorder, seconds(over_ns - ready_ns) / len(taken), warm_up=warm_up)


def take_turns(
    handle: ArmHandle, policy: TurnPolicy, timeout_s: float, *, discard: int, turns: int
) -> list[dict[str, Any]]:
    """Take some turns; one only where it is long: the blocks would be longer still."""
    taken: list[dict[str, Any]] = []
    start_ns = read_ns()
    while len(taken) < turns and read_ns() - start_ns < _LONG_NS:
        asked = {"discard": discard, "min_steps": policy.min_steps, "min_s": policy.min_s}
        taken.append(handle.ask("turn", timeout_s, **asked))
    return taken


def _machine(recorder: Mapping[str, Any]) -> dict[str, Any]:
    cpus = usable_cpus()
    return {
        "device": recorder.get("device") or "cpu",
        "device_name": recorder.get("device_name") or "",
        "torch": str(recorder.get("torch") or ""),
        "threads": recorder.get("threads") or cpus,
        "cpus": cpus,
        "cores": min(cpus, psutil.cpu_count(logical=False) or cpus),
    }


def _edges_s(facts: Mapping[str, Any]) -> float:
    """Return loader start and end of an epoch, as :class:`Yardstick` reads them."""
    first = facts.get("cold_start_ns") or 0 if facts.get("num_workers") else 0
    starts = facts.get("loader_start_ns") or [first]
    ends = facts.get("loader_end_ns") or [0]
    return seconds(sum(starts)) / len(starts) + seconds(sum(ends)) / len(ends)


def _host_phases(taken: Sequence[Mapping[str, Any]]) -> tuple[int, dict[Phase, int]]:
    phases = {p: sum(turn["phases_ns"].get(p.value, 0) for turn in taken) for p in Phase}
    return sum(turn["wall_ns"] for turn in taken), phases


def _device_phases(run: Path) -> tuple[int, dict[Phase, int]] | None:
    """Return a device's own attribution of the steps, where the recorder's windows have one."""
    rows = [json.loads(line) for line in read_lines(run / "windows.jsonl")]
    times = [row["device_ns"] for row in rows if row.get("device_ns")]
    if not times:
        return None
    phases = {p: sum(int(row[name]) for row in times) for p, name in DEVICE_PHASES.items()}
    return sum(int(row["wall_ns"]) for row in times), {p: phases.get(p, 0) for p in Phase}


def loader_facts(recorder: Mapping[str, Any]) -> LoaderFacts | None:
    """Return the loader that training reads most; None where there is none."""
    loader = training_loader(recorder)
    if loader is None:
        return None
    # One that is made anew for every epoch is one loader: its line says so.
    read = {_place(row) for row in recorder["loaders"] if row.get("training_passes")}
    return LoaderFacts(
        place=_place(loader),
        num_workers=loader.get("num_workers") or 0,
        prefetch_factor=loader.get("prefetch_factor"),
        persistent_workers=bool(loader.get("persistent_workers")),
        pin_memory=bool(loader.get("pin_memory")),
        is_iterable=bool(loader.get("iterable")),
        num_loaders=len(read),
    )


def _place(row: Mapping[str, Any]) -> str | None:
    place: str | None = (row.get("place") or {}).get("text")
    return place


def optimizer_facts(recorder: Mapping[str, Any]) -> tuple[OptimizerFacts, ...]:
    """Return the optimizers that have taken a step."""
    return tuple(
        OptimizerFacts(name=row["class"], fused=row.get("fused"), foreach=row.get("foreach"))
        for row in recorder.get("optimizers", ())
        if row.get("steps")
    )
