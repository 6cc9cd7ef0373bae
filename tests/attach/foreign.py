"""Environments that hold nothing of ours, and commands run in them with and without laptime."""

from __future__ import annotations

import difflib
import functools
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.zoo.harness import Ran

VARIABLE = "LAPTIME_FOREIGN_PYTHON"
REASON = f"name interpreters in {VARIABLE}, as paths are named in PATH"

NAMED = [word for word in os.environ.get(VARIABLE, "").split(os.pathsep) if word]
"""Interpreters of other environments, other versions of Python and torch if possible."""

BARE = "this Python without laptime"
"""An environment that is made from what is here, without a network."""

TRAINING = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(32, 4)
loader = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=8)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(2):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    print(epoch, f"{loss.item():.5f}", sys.argv, flush=True)
"""
"""Eight steps in two epochs."""

STEPS = 8


def make_environment(path: Path, *names: str) -> Path:
    """Return the interpreter of an environment that has these distributions and what they need.

    They are links to this environment's: no download, no copy.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True)
    site = next((path / "lib").glob("python3*")) / "site-packages"
    for name in _with_requirements(names):
        distribution = importlib.metadata.distribution(name)
        home = Path(str(distribution.locate_file("")))
        for top in {Path(file).parts[0] for file in distribution.files or ()}:
            link = site / top
            if top not in {"..", "__pycache__"} and not link.exists():
                link.symlink_to(home / top)
    return path / "bin" / "python"


def _with_requirements(names: tuple[str, ...]) -> Iterator[str]:
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            required = importlib.metadata.requires(name) or ()
        except importlib.metadata.PackageNotFoundError:  # of another platform or Python
            continue
        yield name
        words = [re.match(r"[\w.-]+", line) for line in required if "extra ==" not in line]
        waiting += [word[0] for word in words if word]


@functools.cache
def version(python: str | Path) -> tuple[int, int]:
    """Return the version of an interpreter."""
    found = _answer(python, "import sys; print('%d %d' % sys.version_info[:2])")
    major, minor = found.split()
    return int(major), int(minor)


@functools.cache
def has_torch(python: str | Path) -> bool:
    """Say whether an interpreter finds torch."""
    try:
        return bool(_answer(python, "import torch; print(torch.__version__)"))
    except subprocess.CalledProcessError:
        return False


def _answer(python: str | Path, code: str) -> str:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def enterable() -> Any:
    """Return what parametrizes a test by every interpreter that the recorder can enter."""
    named = [word for word in NAMED if version(word) >= (3, 9)]
    return [BARE, *(named or [pytest.param("", marks=pytest.mark.skip(reason=REASON))])]


def environment(**added: str) -> dict[str, str]:
    """Return the environment of a script: as it is, without laptime's own variables."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAPTIME_", "COV_"))}
    kept.pop("PYTHONPATH", None)
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **added}


def _changes(plain: str, under: str) -> Iterator[str]:
    # A recursion ends some frames earlier where somebody stands between.
    before, after = (re.sub(r"repeated \d+ more", "repeated", text) for text in (plain, under))
    return difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)


@dataclass(frozen=True)
class Pair:
    """A command without laptime and under ``laptime run --quiet``."""

    plain: Ran
    under: Ran

    def check(self) -> None:
        """Fail where what the script says, or how it ends, is not the same."""
        changes = [*_changes(self.plain.stdout, self.under.stdout)]
        changes += _changes(self.plain.stderr, self.under.stderr)
        assert not changes, "\n".join(changes)
        assert self.under.status == self.plain.status

    @property
    def steps(self) -> int:
        """Steps that the recorder counted."""
        return int(self.under.read("recorder.json")["steps"])


@dataclass(frozen=True)
class Place:
    """A directory to run commands in, and the variables that they get."""

    path: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> str:
        """Write a file, its directories included; return its path from here."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return name

    def plain(self, *command: str, given: str = "") -> Ran:
        """Run a command without laptime."""
        done = subprocess.run(
            command, cwd=self.path, env=environment(**self.variables), input=given,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, done.stderr)

    def under(self, *command: str, given: str = "", options: tuple[str, ...] = ()) -> Ran:
        """Run a command under laptime, which leaves its directory outside of this one."""
        words = [str(word) for word in command]
        runs = self.path.parent / f"{self.path.name}-runs"
        before = set(runs.iterdir()) if runs.is_dir() else set()
        prefix = [sys.executable, "-m", "laptime", "run", "--runs-dir", str(runs), *options, "--"]
        done = subprocess.run(
            [*prefix, *words], cwd=self.path, env=environment(**self.variables), input=given,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        left = [path for path in runs.iterdir() if path not in before] if runs.is_dir() else []
        assert len(left) == 1, (left, done.stderr)
        return Ran(done.returncode, done.stdout, done.stderr, left[0])

    def pair(self, *command: str, given: str = "") -> Pair:
        """Run a command without laptime and under it, at the same time: nothing here is timed."""
        with ThreadPoolExecutor(1) as pool:
            plain = pool.submit(self.plain, *command, given=given)
            under = self.under(*command, given=given, options=("--quiet",))
        return Pair(plain.result(), under)
