from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import laptime

PUBLIC = [
    "CheckpointError",
    "DataError",
    "DeviceError",
    "EpochRecord",
    "LaptimeError",
    "LoopLedger",
    "ModelError",
    "Phase",
    "RunDirectory",
    "RunRecord",
    "RunSettings",
    "SettingsError",
    "StoreError",
    "TrainingError",
    "__version__",
    "build_settings",
    "find_run",
    "ledger",
    "resume",
    "train",
]

HEAVY = ("torch", "numpy", "altair", "pandas", "scipy")


@pytest.mark.parametrize(
    "code",
    [
        "import laptime",
        "import laptime; laptime.build_settings({}); laptime.find_run; laptime.RunRecord",
        "import laptime.report.runs.run, laptime.store",
        "import sys, laptime.cli.main as m; sys.argv = ['laptime', '--help']\n"
        "try:\n    m.main()\nexcept SystemExit as end:\n    assert end.code == 0",
    ],
    ids=["package", "settings and records", "reports", "help"],
)
def test_what_reads_and_what_helps_loads_nothing_heavy(code: str) -> None:
    report = f"import sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "[]"


def test_the_public_names_are_these() -> None:
    assert sorted(laptime.__all__) == sorted(PUBLIC)
    assert dir(laptime) == sorted(PUBLIC)


def test_every_public_name_is_the_one_that_its_stub_promises(root: Path) -> None:
    stub = ast.parse((root / "src" / "laptime" / "__init__.pyi").read_text())
    homes = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert {*homes, "__version__"} == set(PUBLIC)
    for name, home in homes.items():
        assert getattr(laptime, str(name)) is getattr(importlib.import_module(str(home)), str(name))


def test_a_name_that_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'tran'"):
        laptime.tran  # noqa: B018 - the access is what raises


def test_the_version_is_that_of_the_project(root: Path) -> None:
    assert f'version = "{laptime.__version__}"' in (root / "pyproject.toml").read_text()
    assert f"## [{laptime.__version__}]" in (root / "CHANGELOG.md").read_text()
