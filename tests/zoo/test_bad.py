"""Commands that end early, badly or elsewhere: under laptime as without it, and one honest line."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.zoo.harness import HERE, PYTHON, Ran, execute, execute_under_laptime

pytestmark = [pytest.mark.zoo, pytest.mark.timeout(900)]

FOLDER = HERE / "bad"

NOTHING_TRAINED = "nothing was recorded of .*no optimizer .*step"
OURS = ("--steps", "3", "--json", "--headroom", "--runs-dir", "elsewhere", "--", "--help")


@dataclass(frozen=True)
class Bad:
    """A script that gives a recorder trouble, and what laptime has to say about it."""

    name: str
    steps: int | None = None
    """What the recorder counts; None where there is nothing to count."""
    arguments: tuple[str, ...] = ()
    given: str = ""
    status: int = 0
    says: str = ""
    """A pattern of laptime's words, on standard error after the script's own."""


CASES = (
    Bad("raises_at_import", status=1, says=NOTHING_TRAINED),
    Bad("raises_in_step_5", 4, status=1, says="exit status 1"),
    Bad("no_step", says=NOTHING_TRAINED),
    Bad("by_hand", says=NOTHING_TRAINED),
    Bad("reads_stdin", 16, given="2\nhello\na b\nc"),
    Bad("forks", 16),
    Bad("os_exit", 16, status=7, says="exit status 7"),
    Bad("changes_directory", 16),
    Bad("argparse_error", status=2, says=NOTHING_TRAINED),
    Bad("options_like_ours", 16, arguments=OURS),
    Bad("catches_exit", 24),
    Bad("subprocess_trains", 16),
    Bad("exits_3", 16, status=3, says="exit status 3"),
    Bad("prints_itself", 16, arguments=("a", "-x")),
    Bad("own_traceback", 8),
    Bad("killed", status=-15, says="SIGTERM"),
)


@dataclass(frozen=True)
class Pair:
    """A command without laptime and under it, at the same time: nothing here is timed."""

    plain: Ran
    under: Ran
    directories: tuple[Path, Path] = field(default=(Path(), Path()))

    @property
    def ours(self) -> str:
        """What laptime added to standard error; fails where the script's own is not as before."""
        assert self.under.stderr.startswith(self.plain.stderr)
        return self.under.stderr.removeprefix(self.plain.stderr)


def run_pair(
    command: list[str], path: Path, *, given: str = "", options: tuple[str, ...] = ()
) -> Pair:
    """Run a command twice, each in a directory of its own of the same name."""
    places = (path / "plain" / "here", path / "under" / "here")
    for place in places:
        place.mkdir(parents=True)
    with ThreadPoolExecutor(2) as pool:
        plain = pool.submit(execute, command, places[0], given)
        under = pool.submit(
            execute_under_laptime, command, places[1], path / "runs", given, options=options
        )
        return Pair(plain.result(), under.result(), places)


def script(name: str, *arguments: str) -> list[str]:
    return [PYTHON, str(FOLDER / f"{name}.py"), *arguments]


def counted(ran: Ran) -> tuple[int, int]:
    """Return the steps that the recorder counted, and those that it wrote."""
    return ran.read("recorder.json")["steps"], len(ran.read("steps.jsonl"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_script_behaves_as_without_us_and_is_told_of(case: Bad, tmp_path: Path) -> None:
    pair = run_pair(script(case.name, *case.arguments), tmp_path, given=case.given)

    assert pair.under.status == pair.plain.status == case.status
    assert pair.under.stdout.replace("/under/", "/plain/") == pair.plain.stdout
    assert pair.ours.strip()
    assert re.search(case.says, pair.ours)
    if case.steps is not None:
        assert counted(pair.under) == (case.steps, case.steps)


def test_files_that_a_script_writes_are_the_same_bytes(tmp_path: Path) -> None:
    pair = run_pair(script("writes_files"), tmp_path)

    plain, under = (
        {path.name: path.read_bytes() for path in directory.iterdir()}
        for directory in pair.directories
    )
    assert sorted(plain) == ["log.txt", "model.pt"]
    assert under == plain


def test_each_of_two_training_processes_has_a_record_of_its_own(tmp_path: Path) -> None:
    pair = run_pair(script("many_processes"), tmp_path)
    assert pair.under.directory is not None
    others = sorted((pair.under.directory / "processes").iterdir())
    second = json.loads((others[0] / "recorder.json").read_text())

    assert pair.under.stdout == pair.plain.stdout
    assert len(others) == 1
    assert sorted([pair.under.read("recorder.json")["steps"], second["steps"]]) == [8, 16]


def test_a_shell_script_around_a_training_is_followed(tmp_path: Path) -> None:
    pair = run_pair(["sh", str(FOLDER / "train.sh"), "--steps", "2"], tmp_path)

    assert pair.under.status == pair.plain.status == 4
    assert pair.under.stdout == pair.plain.stdout
    assert counted(pair.under) == (16, 16)
    assert "exit status 4" in pair.ours


@pytest.mark.parametrize("name", ["exits_3", "catches_exit"])
def test_steps_stop_a_script_wherever_it_is(name: str, tmp_path: Path) -> None:
    pair = run_pair(script(name), tmp_path, options=("--steps", "5"))

    assert pair.under.status == 0
    assert counted(pair.under) == (5, 5)
    assert pair.under.read("recorder.json")["ended"] == "steps"
    assert pair.under.read("script.json")["status"] == "stopped"
    assert "epoch 2" not in pair.under.stdout


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["echo", "hello"], "no Python process"),
        ([PYTHON, "-c", "print('hello')"], "none of its Python processes imported torch"),
        ([PYTHON, "-I", "-c", "import torch"], "python -I lets no recorder in"),
        ([PYTHON, "-S", "-c", "print('hello')"], "python -S lets no recorder in"),
    ],
    ids=["not Python", "no torch", "isolated", "without site"],
)
def test_a_command_that_cannot_be_entered_runs_and_is_told_of(
    command: list[str], says: str, tmp_path: Path
) -> None:
    pair = run_pair(command, tmp_path)

    assert (pair.under.status, pair.under.stdout) == (pair.plain.status, pair.plain.stdout)
    assert len(pair.ours.strip().splitlines()) == 1
    assert says in pair.ours


@pytest.mark.parametrize("command", [[], ["no-such-command"], ["no_such_script.py"]])
def test_a_command_that_is_not_there_is_refused_before_anything_is_written(
    command: list[str], tmp_path: Path
) -> None:
    ran = execute_under_laptime(command, tmp_path, tmp_path / "runs")

    assert ran.status == 2
    assert ran.stdout == ""
    assert len(ran.stderr.strip().splitlines()) == 1
    assert ran.directory is None


def test_a_sitecustomize_of_the_users_own_is_loaded_as_before(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys\nsys.mark = __name__, __file__\n")
    command = [PYTHON, "-c", "import sitecustomize, sys; print(sys.mark, sitecustomize, sys.path)"]
    variables = {"PYTHONPATH": os.fspath(own)}

    plain = execute(command, tmp_path, variables=variables)
    under = execute_under_laptime(command, tmp_path, tmp_path / "runs", variables=variables)

    assert plain.stdout.startswith("('sitecustomize'")
    assert under.stdout == plain.stdout
