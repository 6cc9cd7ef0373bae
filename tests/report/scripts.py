"""Runs of scripts as recorders leave them, made up: epochs, windows and facts that fit together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laptime.phase import Phase
from laptime.record import DeviceTimes
from laptime.script import (
    ProcessRecord,
    ScriptEpoch,
    ScriptRecord,
    ScriptStatus,
    ScriptWindow,
)
from laptime.script_facts import RecorderRecord
from laptime.script_store import ScriptDirectory

MS = 1_000_000

STEP = {
    Phase.DATA_WAIT: 6.0,
    Phase.FORWARD: 1.0,
    Phase.BACKWARD: 2.0,
    Phase.OPTIMIZER: 0.5,
    Phase.OTHER: 0.5,
}
"""A step in milliseconds: mostly waiting for data."""

EDGES = {Phase.LOADER_START: 20.0, Phase.LOADER_END: 5.0}
"""What an epoch takes besides its steps."""


def place(line: int, name: str = "train.py") -> dict[str, Any]:
    return {"path": f"/home/me/{name}", "line": line, "text": f"{name}:{line}"}


LOADER: dict[str, Any] = {
    "place": place(42), "class": "DataLoader", "batch_size": 128, "num_workers": 0,
    "pin_memory": False, "persistent_workers": False, "prefetch_factor": None, "batches": 200,
    "dataset": "Photos", "iterable": False, "training_passes": 4, "evaluation_passes": 0,
    "start_ns": [20 * MS], "end_ns": [5 * MS],
}  # fmt: skip

FACTS: dict[str, Any] = {
    "schema_number": 1, "pid": 4242, "rank": 0, "world_size": 1, "python": "3.9.18",
    "executable": "/opt/venv/bin/python", "torch": "2.1.2", "argv": ["train.py"],
    "cwd": "/home/me", "device": "cpu", "device_name": "AMD EPYC 7763", "threads": 2,
    "interop_threads": 2, "start_method": "fork", "cuda": None, "cudnn": None,
    "setup_ns": 2300 * MS, "epochs": 4, "steps": 800, "complete": True, "ended": "exit",
    "loaders": [LOADER],
    "roots": [{"class": "ResNet", "kind": "module", "parameters": 11_173_962, "calls": 800,
               "place": place(50)}],
    "optimizers": [{"class": "SGD", "place": place(33), "stepped_at": place(52),
                    "parameters": 11_173_962, "steps": 800, "lr": 0.1, "foreach": None,
                    "fused": None}],
    "syncs": [{"what": "item", "place": place(55), "count": 800, "ns": 4 * MS}],
    "saves": [], "evaluations": [],
    "other": [{"after": "optimizer", "ns": 350 * MS, "place": place(52)},
              {"after": "loading", "ns": 50 * MS, "place": place(48)}],
    "missing": [], "overhead_ns": 8 * MS, "transitions": 4800, "headroom": None, "workers": None,
    "notes": [],
}  # fmt: skip

STATUS: dict[str, Any] = {
    "schema_number": 1, "command": ["python", "train.py", "--lr", "0.1"], "cwd": "/home/me",
    "started": "2026-01-01T10:00:00+00:00", "steps_asked": None, "status": "completed",
    "exit_status": 0, "reason": None, "wall_ns": 11_000 * MS, "host": "a-host", "process": 1,
    "process_started_s": 1.0,
}  # fmt: skip

Ms = Mapping[Phase, float]


def total(*parts: tuple[Ms, float]) -> dict[Phase, int]:
    """Return nanoseconds of phases, each of some parts so many times."""
    found: dict[Phase, int] = {}
    for phases, times in parts:
        for phase, each in phases.items():
            found[phase] = found.get(phase, 0) + round(each * times * MS)
    return found


def rows(
    epochs: int = 4,
    steps: int = 200,
    step: Ms = STEP,
    edges: Ms = EDGES,
    *,
    window: int = 60,
    wobble: Sequence[float] = (1.0, 1.02, 0.99, 1.01, 0.98),
    drift: Sequence[float] = (1.4, 1.0, 1.02, 0.99, 1.01),
    **given: Any,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines of epochs and of windows.

    Args:
        epochs: How many.
        steps: Of each.
        step: A step in milliseconds.
        edges: An epoch's start and end.
        window: Steps of a window; what does not fill one stays outside of windows.
        wobble: What waits are multiplied by, window by window.
        drift: What everything is multiplied by, epoch by epoch; the first is cold.
        given: Fields of every epoch.
    """
    lines: list[dict[str, Any]] = []
    windows: list[dict[str, Any]] = []
    for number in range(1, epochs + 1):
        factor = drift[(number - 1) % len(drift)]
        spent = total((edges, factor))
        for place_, first in enumerate(range(1, steps + 1, window)):
            count = min(window, steps + 1 - first)
            waits = wobble[(number + place_) % len(wobble)]
            own = {p: ms * (waits if p is Phase.DATA_WAIT else 1) for p, ms in step.items()}
            phases = total((own, count * factor))
            spent = {p: spent.get(p, 0) + phases.get(p, 0) for p in {*spent, *phases}}
            if first == 1:
                start = total((edges, factor)).get(Phase.LOADER_START, 0)
                phases[Phase.LOADER_START] = start
            if count == window:
                windows.append({"epoch": number, "first_step": first, "steps": count,
                                "wall_ns": sum(phases.values()), "phases_ns": by_name(phases),
                                "device_ns": None})  # fmt: skip
        line = {
            "epoch": number, "steps": steps, "samples": 128 * steps, "loss": 2.0 / number,
            "wall_ns": sum(spent.values()), "phases_ns": by_name(spent), "mode": "host",
            "device_ns": None, "cold": number == 1, "complete": True, "loader": 0,
            "evaluations": 0,
        }  # fmt: skip
        lines.append({**line, **given})
    return lines, windows


def by_name(phases: Mapping[Phase, int]) -> dict[str, int]:
    return {phase.value: phases.get(phase, 0) for phase in Phase}


def process(
    facts: Mapping[str, Any] | None = None, *, epoch: Mapping[str, Any] | None = None, **given: Any
) -> ProcessRecord:
    """Return a training process.

    Args:
        facts: Of its recorder, where they are not the usual ones.
        epoch: Fields of every epoch.
        given: To :func:`rows`.
    """
    epochs, windows = rows(**given, **(epoch or {}))
    return ProcessRecord(
        recorder=RecorderRecord.model_validate({**FACTS, **(facts or {})}),
        epochs=tuple(map(ScriptEpoch.model_validate, epochs)),
        windows=tuple(map(ScriptWindow.model_validate, windows)),
    )


DEVICE = {
    "transfer_ns": 50, "forward_ns": 200, "backward_ns": 400, "optimizer_ns": 50, "stall_ns": 80,
    "host_gap_ns": 200, "closure_ns": 20,
}  # fmt: skip
"""A window on a device in milliseconds: 20 steps in a second."""

GPU = {"device": "cuda:0", "device_name": "NVIDIA H200", "cuda": "12.1", "cudnn": "8902"}


def device_times(times: int = 1, *, invalid: int = 0, **given: int) -> DeviceTimes:
    parts = {name: ms * MS * times for name, ms in {**DEVICE, **given}.items()}
    inside = {Phase.DATA_WAIT: 100, Phase.FORWARD: 100, Phase.BACKWARD: 100, Phase.SYNC: 700}
    return DeviceTimes(
        windows=times, steps=20 * times, wall_ns=1000 * MS * times, hidden_ns=20 * MS * times,
        invalid_windows=invalid, host_phases_ns=total((inside, times)), **parts,
    )  # fmt: skip


def on_device(
    facts: Mapping[str, Any] | None = None, *, epochs: int = 4, invalid: int = 0, **given: int
) -> ProcessRecord:
    """Return a training process on a GPU: five windows an epoch, and what stands around them."""
    edges = {Phase.LOADER_START: 100.0, Phase.LOADER_END: 20.0, Phase.OTHER: 80.0}
    whole = device_times(5, invalid=5 * invalid, **given)
    phases = {p: whole.host_phases_ns[p] + total((edges, 1)).get(p, 0) for p in Phase}
    one = device_times(1, invalid=invalid, **given)
    return ProcessRecord(
        recorder=RecorderRecord.model_validate({**FACTS, **GPU, **(facts or {})}),
        epochs=tuple(
            ScriptEpoch(
                epoch=number, steps=100, samples=12_800, loss=2 / number,
                wall_ns=sum(phases.values()), phases_ns=phases, mode="events", device_ns=whole,
                cold=number == 1, loader=0, evaluations=0,
            )
            for number in range(1, epochs + 1)
        ),
        windows=tuple(
            ScriptWindow(
                epoch=number, first_step=1 + 20 * place_, steps=20, wall_ns=one.wall_ns,
                phases_ns=one.host_phases_ns, device_ns=one,
            )
            for number in range(1, epochs + 1)
            for place_ in range(5)
        ),
    )  # fmt: skip


def script(
    main: ProcessRecord | None = None, status: Mapping[str, Any] | None = None, **given: Any
) -> ScriptRecord:
    """Return a script's run: the usual one, but for what is given."""
    values = {
        "id": "2026-01-01T10-00-00_train_aaaaaa",
        "directory": "runs/2026-01-01T10-00-00_train_aaaaaa",
        "status": ScriptStatus.model_validate({**STATUS, **(status or {})}),
        "main": main or process(),
    }
    return ScriptRecord(**{**values, **given})


def write_script(
    name: str,
    facts: Mapping[str, Any] | None = None,
    *,
    runs_dir: Path | str = "runs",
    status: Mapping[str, Any] | None = None,
    **given: Any,
) -> ScriptDirectory:
    """Write the directory of a script's run as the parent and the recorder do."""
    directory = ScriptDirectory(Path(runs_dir) / name)
    directory.path.mkdir(parents=True)
    directory.write_status(ScriptStatus.model_validate({**STATUS, **(status or {})}))
    write_process(directory.path, facts, **given)
    return directory


def write_process(path: Path, facts: Mapping[str, Any] | None = None, **given: Any) -> None:
    """Write what a training process leaves."""
    path.mkdir(parents=True, exist_ok=True)
    epochs, windows = rows(**given)
    (path / "recorder.json").write_text(json.dumps({**FACTS, **(facts or {})}))
    for log, lines in (("epochs", epochs), ("windows", windows)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (path / f"{log}.jsonl").write_text(text)
    steps = [
        {"epoch": line["epoch"], "step": n, "loss": line["loss"], "samples": 128}
        for line in epochs
        for n in range(1, line["steps"] + 1)
    ]
    (path / "steps.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
