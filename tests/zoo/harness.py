"""Runs scripts with and without laptime, and reads what each of them says about the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from laptime.phase import Phase

HERE = Path(__file__).parent
PYTHON = os.environ.get("LAPTIME_ZOO_PYTHON", sys.executable)


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str
    directory: Path | None = None

    def read(self, name: str) -> Any:
        """Return a file of the run directory: a document, or a list for JSON lines."""
        assert self.directory is not None, f"no run directory; standard error: {self.stderr}"
        text = (self.directory / name).read_text()
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text)


def environment(**added: str) -> dict[str, str]:
    """Return the environment of every script: quiet, and without laptime's own variables."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAPTIME_", "COV_"))}
    quiet = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    return {**kept, **quiet, "ZOO_PYTHON": PYTHON, **added}


def execute(
    command: list[str], cwd: Path, given: str = "", variables: Mapping[str, str] | None = None
) -> Ran:
    """Run a command to its end."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(**(variables or {})),
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def execute_under_laptime(
    command: list[str],
    cwd: Path,
    runs: Path,
    given: str = "",
    variables: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
) -> Ran:
    """Run a command under ``laptime run``; find the run directory that it left, if any."""
    prefix = [sys.executable, "-m", "laptime", "run", "--runs-dir", str(runs), *options, "--"]
    ran = execute([*prefix, *command], cwd, given, variables)
    left = sorted(runs.iterdir()) if runs.is_dir() else []
    assert len(left) <= 1, left
    return Ran(ran.status, ran.stdout, ran.stderr, left[0] if left else None)


def importable(modules: tuple[str, ...]) -> bool:
    """Say whether the interpreter of the scripts has these modules or their members."""
    checks = "; ".join(f"pkgutil.resolve_name({name!r})" for name in modules)
    code = f"import pkgutil; {checks or 'pass'}"
    return subprocess.run([PYTHON, "-c", code], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Truth:
    """What a script says of itself in the last line of its output."""

    steps: int
    epochs: int
    bottleneck: str
    samples: int | None
    loss: float | None
    planted_s: Mapping[str, float]


def read_truth(ran: Ran) -> Truth:
    """Return the truth that a script told."""
    last = ran.stdout.splitlines()[-1] if ran.stdout else ""
    assert last.startswith("TRUTH "), f"{last}\n{ran.stderr}"
    return Truth(**json.loads(last.removeprefix("TRUTH ")))


def told(ran: Ran) -> tuple[list[str], Truth]:
    """Return what a script printed, without the timings of its truth."""
    return ran.stdout.splitlines()[:-1], replace(read_truth(ran), planted_s={})


@dataclass(frozen=True)
class Comparison:
    """One phase by two clocks, less what it takes without the planted cost."""

    phase: Phase
    truth_s: float
    found_s: float
    tolerance_s: float

    @property
    def error_s(self) -> float:
        """Seconds found too many."""
        return self.found_s - self.truth_s

    @property
    def holds(self) -> bool:
        """Whether the error is within the tolerance."""
        return abs(self.error_s) <= self.tolerance_s

    def __str__(self) -> str:
        return (
            f"{self.phase.value:<12} truth {self.truth_s * 1e3:8.1f} ms  found "
            f"{self.found_s * 1e3:8.1f} ms  error {self.error_s * 1e3:+7.1f} "
            f"of {self.tolerance_s * 1e3:.1f} ms{'' if self.holds else '  <--'}"
        )


def found_s(ran: Ran) -> dict[Phase, float]:
    """Return the seconds that the recorder charged to each phase, over all epochs."""
    epochs = ran.read("epochs.jsonl")
    return {phase: sum(e["phases_ns"][phase.value] for e in epochs) / 1e9 for phase in Phase}


def compare(costly: Ran, control: Ran) -> list[Comparison]:
    """Compare every phase, those without a planted cost too: their truth is 0."""
    truth, without = read_truth(costly), read_truth(control)
    found, left = found_s(costly), found_s(control)
    tolerance_s = max(0.002 * truth.steps, 0.03 * sum(found.values()))
    return [
        Comparison(
            phase,
            truth.planted_s.get(phase.value, 0.0) - without.planted_s.get(phase.value, 0.0),
            found[phase] - left[phase],
            tolerance_s,
        )
        for phase in Phase
    ]
