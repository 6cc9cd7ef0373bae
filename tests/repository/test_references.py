from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from laptime.phase import Phase
from laptime.record import (
    DataRecord,
    DeviceTimes,
    EnvironmentRecord,
    EpochRecord,
    Overhead,
    RunRecord,
    StepRecord,
    WindowRecord,
)
from laptime.settings import build_settings

KINDS = {
    "integer": int,
    "number": float,
    "string": str,
    "boolean": bool,
    "list": list,
    "object": dict,
    "null": type(None),
}


def test_the_command_line_page_is_what_the_commands_say(root: Path, tmp_path: Path) -> None:
    # In a process of its own: click keeps what a command was first asked about its help.
    page = tmp_path / "cli.md"
    subprocess.run([sys.executable, root / "docs" / "generate_cli.py", page], check=True)

    assert (root / "docs" / "cli.md").read_text() == page.read_text(), "stale: run `make docs`"


@pytest.fixture
def documented(documents: dict[str, str]) -> dict[str, str]:
    """Return the type of every field that docs/record.md names."""
    rows = re.findall(r"^\| `([\w.\[\]]+)` \| ([a-z ]+) \|", documents["docs/record.md"], re.M)
    return {path: kinds for path, kinds in rows if set(kinds.split(" or ")) <= set(KINDS)}


def record(*, full: bool) -> RunRecord:
    """Return a record with everything in it, or with as little as can be."""
    device = DeviceTimes(**dict.fromkeys(DeviceTimes.model_fields, 1) | {"host_phases_ns": {}})
    mode = "host" if full else "off"
    counted: dict[str, Any] = {"samples": 4, "steps": 1, "correct": 2, "mode": mode}
    spent: dict[str, Any] = {"phases_ns": {Phase.FORWARD: 7}, "wall_ns": 7}
    tested: dict[str, Any] = {"test_loss": 1.0, "test_correct": 1, "test_samples": 2}
    plain = EpochRecord(epoch=1, loss=None, **counted, **spent)
    rich = EpochRecord(epoch=1, loss=1.5, **counted, **spent, **tested, device_ns=device)
    words = dict.fromkeys(EnvironmentRecord.model_fields, "word")
    numbers = ("cpus_usable", "cpus_total", "memory_bytes", "memory_usable_bytes")
    counts = dict.fromkeys((*numbers, "threads", "interop_threads", "clock_resolution_ns"), 1)
    given = {"samples": 8, "data_dir": "d", "threads": 1}
    optional = ("cuda", "cudnn", "driver", "git_sha", "git_dirty", "shm_bytes")
    present = {"shm_bytes": 1, "git_dirty": False} if full else dict.fromkeys(optional)
    return RunRecord(
        id="run",
        directory="runs/run",
        status="completed",
        reason="said" if full else None,
        settings=build_settings(given if full else {}).flat(),
        environment=EnvironmentRecord(**{**words, **counts, "variables": (("A", "1"),), **present}),
        data=DataRecord(
            name="n", source="s", verified=True, label="l", sha256="0" if full else None,
            train_samples=8, test_samples=0, num_classes=10 if full else None,
        ),
        parameters=3,
        setup_ns=5,
        epochs=(rich if full else plain,),
        weights_sha256="0" if full else None,
        overhead=Overhead(per_step_us=1.0, share=0.1),
    )  # fmt: skip


def fields(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and value of every field; a list of objects is entered as ``[]``."""
    if isinstance(value, dict):
        for name, inner in value.items():
            here = f"{path}.{name}" if path else name
            yield here, inner
            yield from fields(inner, here)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from fields(value[0], f"{path}[]")


ENTERED = {"run", "settings", "environment", "data", "epochs", "best", "overhead"}
"""Objects that have a table of their own, and no row."""


def test_every_field_of_the_document_is_documented_and_no_other(
    documented: dict[str, str],
) -> None:
    found = {path for path, _ in fields(record(full=True).document())} - ENTERED
    named = {p for p in found if not p.startswith("epochs[].device_ns.host_phases_ns.")}

    assert named == set(documented)


@pytest.mark.parametrize("full", [True, False])
def test_every_value_of_the_document_has_the_documented_type(
    documented: dict[str, str], full: bool
) -> None:
    for path, value in fields(record(full=full).document()):
        if path in documented:
            kinds = {KINDS[kind] for kind in documented[path].split(" or ")}
            assert type(value) in kinds, (path, value)


def test_a_field_that_may_be_null_is_null_somewhere_or_present_somewhere(
    documented: dict[str, str],
) -> None:
    empty = dict(fields(record(full=False).document()))
    rich = dict(fields(record(full=True).document()))

    for path, kinds in documented.items():
        if kinds.endswith(" or null"):
            assert empty[path] is None, path
            assert rich[path] is not None, path


@pytest.mark.parametrize(
    ("name", "model"), [("steps.jsonl", StepRecord), ("windows.jsonl", WindowRecord)]
)
def test_the_lines_of_a_log_hold_what_is_documented(
    documents: dict[str, str], name: str, model: type[StepRecord | WindowRecord]
) -> None:
    row = re.search(rf"^\| `{name}` \| [^:]*: ([^|]*) \|", documents["docs/record.md"], re.M)
    assert row is not None

    assert row[1].split(", ") == list(model.model_fields)
