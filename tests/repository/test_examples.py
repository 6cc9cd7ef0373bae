from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import laptime
from laptime.cli.main import VERBS, app
from laptime.settings import build_settings
from laptime.training.job import build_job


@pytest.fixture
def written(blocks: list[re.Match[str]], tmp_path: Path, monkeypatch: Any) -> Path:
    """Write the files of all documents into the current directory."""
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        if block["kind"] == "file":
            (tmp_path / block["name"]).write_text(block["body"])
    return tmp_path


def test_every_example_command_is_one_that_laptime_takes(
    blocks: list[re.Match[str]], load: Callable[[str], ModuleType]
) -> None:
    commands = load("docs/refresh_examples.py").commands
    examples = [
        c for block in blocks if block["kind"] == "example" for c in commands(block["body"])
    ]
    ours = [re.split(r"[|;]|2>", line)[0] for line in examples if line.startswith("laptime ")]

    assert len(ours) > 10
    for line in ours:
        verb, *arguments = shlex.split(line)[1:]
        command = app.get_command(click.Context(app), verb)
        assert command is not None, line
        command.make_context(verb, arguments)  # raises for an option that is not there


def test_every_example_shows_an_output(blocks: list[re.Match[str]]) -> None:
    examples = [block["body"] for block in blocks if block["kind"] == "example"]

    assert all(re.search(r"^(?!\$ ).", body, re.MULTILINE) for body in examples)


def test_no_document_promises_a_command_that_is_not_there(documents: dict[str, str]) -> None:
    fenced = re.compile(r"```.*?```", re.DOTALL)
    named = {
        verb
        for text in documents.values()
        for part, start in ((" ".join(fenced.findall(text)), r"^(?:\$ )?"), (text, "`"))
        for verb in re.findall(rf"{start}laptime ([a-z]+)\b", part, re.MULTILINE)
    }

    assert named == set(VERBS)


@pytest.mark.parametrize("data", ["data", "both"])
def test_the_factories_of_the_readme_fit_each_other(written: Path, data: str) -> None:
    if data == "both":
        source = (written / "mydata.py").read_text()
        (written / "mydata.py").write_text(
            source + "\n\ndef both():\n    return build(), build()\n"
        )
    spec = "mydata.py:build" if data == "data" else "mydata.py:both"

    job = build_job(build_settings({"model": "mynet.py:build", "data": spec, "device": "cpu"}))

    assert job.loader.num_samples == 4000


def test_the_code_of_the_full_queue_runs(written: Path) -> None:
    done = subprocess.run(
        [sys.executable, "full_queue.py"], cwd=written, capture_output=True, text=True, check=True
    )

    assert re.fullmatch(
        r"time to load data: [\d,]+ us\nmaking one batch:  [\d,]+ us\n", done.stdout
    )


def test_the_code_of_the_last_batch_tells_it_from_the_epoch(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = written / "runs" / "a"
    run.mkdir(parents=True)
    rows = [(1, 3.0, 1, 100), (2, 2.0, 30, 100), (2, 1.0, 20, 50)]
    keys = ("epoch", "loss", "correct", "samples")
    lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
    (run / "steps.jsonl").write_text("\n".join(lines) + "\n")

    exec((written / "last_batch.py").read_text(), {})

    assert capsys.readouterr().out.splitlines() == [
        "last batch: loss 1.000, top-1 40.00% (20 of 50)",
        "best batch: loss 1.000, top-1 40.00% (20 of 50)",
        "epoch: loss 1.667, top-1 33.33% (50 of 150)",
    ]


def test_the_code_that_reads_the_columns_prints_an_epoch_a_line(
    written: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    epoch = {"epoch": 1, "loading_s": 0.5, "training_s": 1.5, "total_s": 2.0}
    monkeypatch.setattr("sys.stdin.read", lambda: json.dumps({"epochs": [epoch]}), raising=False)

    exec((written / "columns.py").read_text(), {})

    assert capsys.readouterr().out == "1 0.5 1.5 2.0\n"


def test_the_example_of_the_package_runs_as_it_stands(
    tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert laptime.__doc__ is not None
    example = laptime.__doc__.split("::\n", 1)[1].split("\n\nA run", 1)[0]

    exec(textwrap.dedent(example), {})

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]
    assert laptime.find_run(Path("runs"), None).read_record().status == "completed"
